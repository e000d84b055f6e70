package live

import (
	"context"
	"net/netip"
	"testing"

	"github.com/orb8-dev/kubectl-orb8/collect"
	"github.com/orb8-dev/kubectl-orb8/event"
)

type namer struct{ collect.Namer }

func (namer) Name(addr netip.Addr, _ uint16, _ event.Protocol) collect.Name {
	if addr.IsLoopback() {
		return collect.Name{}
	}
	return collect.Name{Pod: "web-0"}
}

func TestResolver_QueriesUnnamedOnly(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r := newResolver(ctx, namer{})
	if n := r.Name(
		netip.MustParseAddr("10.0.0.1"),
		1,
		event.Protocol_PROTOCOL_TCP,
	); n.Pod != "web-0" ||
		len(r.hosts) != 0 {
		t.Errorf("a pod's address was looked up: %+v", n)
	}
	r.Name(netip.MustParseAddr("127.0.0.1"), 1, event.Protocol_PROTOCOL_TCP)
	r.wait() // localhost stands in every hosts file
	if n := r.Name(netip.MustParseAddr("127.0.0.1"), 1, event.Protocol_PROTOCOL_TCP); n.Host != "localhost" {
		t.Errorf("127.0.0.1 is %q", n.Host)
	}
	cancel()
	r.Name(netip.MustParseAddr("::1"), 1, event.Protocol_PROTOCOL_TCP)
	r.wait()
	if _, asked := r.hosts[netip.MustParseAddr("::1")]; asked {
		t.Error("a session that is over still asks")
	}
}
