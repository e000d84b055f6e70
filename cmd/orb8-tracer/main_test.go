//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/orb8-dev/kubectl-orb8/bpf/bpftest"
	"github.com/orb8-dev/kubectl-orb8/event/session"
	"github.com/orb8-dev/kubectl-orb8/internal/version"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// A network namespace of its own: the session's port is fixed.
func TestMain(m *testing.M) { os.Exit(bpftest.Main(m)) }

func TestBadCallsGetOneClearLine(t *testing.T) {
	key := session.PublicKey{}.String()
	for _, test := range []struct {
		name string
		args []string
		env  map[string]string
		want string
	}{
		{"no command", nil, nil, usage},
		{"an unknown command", []string{"sesion"}, nil, usage},
		{"arguments", []string{"session", "-v"}, nil, usage},
		{"no key", []string{"session"}, nil,
			`ORB8_CLIENT_KEY: public key "": want 32 bytes in unpadded URL-safe base64`},
		{"no node", []string{"session"}, map[string]string{session.EnvClientKey: key}, "ORB8_NODE_NAME is not set"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out bytes.Buffer
			err := run(t.Context(), test.args, func(k string) string { return test.env[k] }, &out, io.Discard)
			if err == nil || err.Error() != test.want || out.Len() > 0 {
				t.Errorf("got %v, printed %q", err, &out)
			}
			if errors.Is(err, errUsage) != (test.want == usage) {
				t.Errorf("%v: usage error %v", err, errors.Is(err, errUsage))
			}
		})
	}
}

func TestVersionIsPrinted(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), []string{"version"}, nil, &out, io.Discard); err != nil ||
		out.String() != version.Version()+"\n" {
		t.Errorf("printed %q, %v", &out, err)
	}
}

func TestASessionIsAnnouncedAndServedOnLoopback(t *testing.T) {
	bpftest.Root(t)
	client, err := session.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	env := map[string]string{session.EnvClientKey: client.PublicKey().String(), session.EnvNodeName: "node-1"}
	ctx, stop := context.WithCancel(t.Context())
	stdout, output := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, []string{"session"}, func(k string) string { return env[k] }, output, t.Output())
		_ = output.Close() // returns nil
	}()
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("%v: %v", err, <-ended)
	}
	ready, key, ok, err := session.ParseReady(line)
	if !ok || err != nil || ready.Version != version.Version() || ready.Instance == 0 {
		t.Fatalf("ready line %q: %v", line, err)
	}
	for _, host := range []string{"127.0.0.1", "::1"} {
		conn, err := grpc.NewClient("passthrough:///"+net.JoinHostPort(host, strconv.Itoa(session.Port)),
			grpc.WithTransportCredentials(credentials.NewTLS(client.ClientTLS(key))))
		if err != nil {
			t.Fatal(err)
		}
		control, err := session.NewSessionClient(conn).Control(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		hello := &session.Hello{Protocol: session.Protocol, Version: "test"}
		if err := control.Send(
			&session.ClientMessage{Message: &session.ClientMessage_Hello{Hello: hello}}); err != nil {
			t.Fatal(err)
		}
		m, err := control.Recv()
		if err != nil {
			t.Fatal(err)
		}
		welcome := m.GetWelcome()
		if welcome.GetNode() != "node-1" || welcome.GetInstance() != ready.Instance ||
			!strings.Contains(welcome.GetKernel(), ".") {
			t.Errorf("on %s: %v", host, welcome)
		}
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
