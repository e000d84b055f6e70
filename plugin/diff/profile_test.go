package diff

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// things are the names of all things of a profile, with their workloads and events.
func things(p *Profile) (all []string) {
	for _, o := range p.owners {
		for k, t := range o.things {
			if n := t.count(); n > 0 {
				all = append(all, fmt.Sprintf("%s/%s/%s %s %s %d", o.key.namespace, o.key.workload, o.key.container,
					k.topic.Word(), k.name, n))
			}
		}
	}
	slices.Sort(all)
	return all
}

func TestProfile_NamesEnds(t *testing.T) {
	pod := &event.Endpoint{Namespace: "shop", Pod: "web-2", Workload: "deploy/web", Container: "app"}
	bare := &event.Endpoint{Namespace: "shop", Pod: "debug", Container: "sh", Address: []byte{10, 0, 0, 3}, Port: 80}
	withNode := &event.Endpoint{Node: "n7", Address: []byte{10, 0, 0, 9}, Port: 10250}
	far := &event.Endpoint{Address: []byte{192, 0, 2, 1}, Port: 443}
	hidden := &event.Endpoint{Redacted: true, Address: []byte{10, 0, 0, 4}, Port: 5432}
	for _, test := range []struct {
		name     string
		src, dst *event.Endpoint
		atDst    bool
		want     string
	}{
		{"a Service", pod, service("db", 5432), false, "shop/deploy/web/app peer shop/db:5432 1"},
		{"a pod without a workload", pod, bare, false, "shop/deploy/web/app peer shop/pod/debug:80 1"},
		{"from one", bare, service("db", 5432), false, "shop/pod/debug/sh peer shop/db:5432 1"},
		{"a node", pod, withNode, false, "shop/deploy/web/app peer node:10250 1"},
		{"an address", pod, far, false, "shop/deploy/web/app peer 192.0.2.1:443 1"},
		{"a port of clients, maybe", pod, &event.Endpoint{Namespace: "shop", Workload: "deploy/db", Port: 40000}, false,
			"shop/deploy/web/app peer shop/deploy/db 1"},
		{"withheld", pod, hidden, false, "shop/deploy/web/app peer redacted:5432 1"},
		{"from a node", withNode, pod, true, "shop/deploy/web/app client node 1"},
		{"from an address", far, pod, true, "shop/deploy/web/app client outside the cluster 1"},
		{"no pod at all", far, withNode, true, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newStream(1)
			s.flow(time.Second, test.src, test.dst, 10)
			if f := s.events[len(s.events)-1].GetFlow(); test.atDst {
				f.SrcCounters, f.DstCounters, f.Observed = nil, f.SrcCounters, event.Side_SIDE_DST
			}
			p := s.profile(t)
			if got := strings.Join(things(p), "; "); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if (p.unnamed == 1) != (test.want == "") {
				t.Errorf("%d events of no known pod", p.unnamed)
			}
		})
	}
}

// TestProfile_CountsGrowth follows a flow that is older than the recording, gets its names late and lasts.
func TestProfile_CountsGrowth(t *testing.T) {
	s := newStream(1)
	f := &event.Flow{Id: "f", Protocol: event.Protocol_PROTOCOL_TCP, Phase: event.Phase_PHASE_NEW,
		Src: web(), Dst: &event.Endpoint{Address: []byte{10, 0, 0, 2}, Port: 80}}
	for i := range 60 {
		f.SrcCounters = &event.Counters{BytesSent: uint64(1_000_000 + 100*i), Retransmits: proto.Uint64(uint64(7 + i))}
		if i == 2 {
			f.Dst = service("db", 80)
		}
		s.add(time.Duration(i)*time.Second, of(&event.Event{Kind: &event.Event_Flow{Flow: proto.CloneOf(f)}}))
		f.Phase = event.Phase_PHASE_UPDATE
	}
	p := s.profile(t)
	if got, want := things(p), []string{"shop/deploy/web/app peer shop/db:80 60"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	db := p.owners[ownerKey{"shop", "deploy/web", "app"}].things[thingKey{topicPeer, "shop/db:80",
		event.Protocol_PROTOCOL_TCP}]
	if n, r, c := db.total(sent), db.total(retransmits), db.total(connections); n != 5900 || r != 59 || c != 0 {
		t.Errorf("sent %v, retransmits %v, connections %v; want 5900, 59, 0", n, r, c)
	}
	for i, n := range db.amount[sent].parts[:14] {
		if n < 300 || n > 500 {
			t.Errorf("part %d of 4 s has %v bytes, want around 400", i, n)
		}
	}
}

func TestProfile_CountsCounters(t *testing.T) {
	s := newStream(1)
	for i := range 10 {
		at := time.Duration(i) * time.Second
		d := &event.Drop{Id: "d", Reason: "NETFILTER_DROP", Packets: uint64(3 * (i + 1)), Src: web(),
			Dst: service("db", 80), Observed: event.Side_SIDE_SRC, FirstTime: uint64(began.UnixNano())}
		s.add(at, of(&event.Event{Kind: &event.Event_Drop{Drop: d}}))
		k := &event.SyscallSummary{Id: "s", Name: "openat", Calls: uint64(100 * (i + 1)), Errors: uint64(i)}
		s.add(at, of(&event.Event{Kind: &event.Event_SyscallSummary{SyscallSummary: k}}))
	}
	p := s.profile(t)
	want := []string{"shop/deploy/web/app drop NETFILTER_DROP ->shop/deploy/db 10",
		"shop/deploy/web/app syscall openat 1000"}
	if got := things(p); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	o := p.owners[ownerKey{"shop", "deploy/web", "app"}]
	if n := o.things[thingKey{topic: topicDrop, name: "NETFILTER_DROP ->shop/deploy/db"}].total(packets); n != 30 {
		t.Errorf("%v packets, want 30", n)
	}
	if n := o.things[thingKey{topic: topicSyscall, name: "openat"}].total(callErrors); n != 9 {
		t.Errorf("%v errors, want 9", n)
	}
}

func TestProfile_IsBounded(t *testing.T) {
	p := NewProfile(Kinds, Period{})
	name := strings.Repeat("x", 4000)
	at := uint64(began.UnixNano())
	for i := range 40_000 {
		n := fmt.Sprint(i)
		ev := &event.Event{Time: at, Node: n, Namespace: "shop", Pod: n, Kind: &event.Event_Exec{Exec: &event.Exec{
			Phase: event.ExecPhase_EXEC_PHASE_EXEC, Filename: []byte(n + name)}}}
		p.Add(ev)
		flow := &event.Flow{Id: n, Phase: event.Phase_PHASE_NEW, Src: web(), Dst: service(n, 80)}
		p.Add(&event.Event{Time: at, Kind: &event.Event_Flow{Flow: flow}})
		p.Add(&event.Event{Time: at, Kind: &event.Event_Flow{Flow: &event.Flow{Id: n + name}}})
	}
	if len(p.owners) != maxOwners || p.things > maxThings || p.names > maxNameBytes || len(p.services) != 0 ||
		!p.full || p.leftOut != 40_000 || len(p.flows) != 40_000 {
		t.Errorf("%d workloads, %d things, %d bytes of names, %d flows; left out %d", len(p.owners), p.things,
			p.names, len(p.flows), p.leftOut)
	}
}
