package diff

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// TestCompare_JoinsPodsAndContainers compares recordings in which a workload has other pods, and its container gets its
// name late.
func TestCompare_JoinsPodsAndContainers(t *testing.T) {
	a, b := both()
	for i, ev := range b.events {
		if f := ev.GetFlow(); f != nil {
			ev.Pod, f.Src.Pod, f.Dst.Pod = fmt.Sprint("web-", i), fmt.Sprint("web-", i), fmt.Sprint("db-", i)
			if i%2 == 0 {
				ev.Container, f.Src.Container = "", ""
			}
		}
	}
	if got := lines(rowsOf(t, a.profile(t), b.profile(t), false)); got != nil {
		t.Errorf("differences: %q", got)
	}
}

// TestCompare_NamesAddresses compares recordings in which a host outside of the cluster has other addresses.
func TestCompare_NamesAddresses(t *testing.T) {
	a, b := both()
	for i, s := range []*stream{a, b} {
		host := func(n int) *event.Endpoint {
			return &event.Endpoint{Address: []byte{192, 0, 2, byte(10*i + n)}, Port: 443}
		}
		s.lookup(time.Second, "api.example.", "NOERROR", 500)
		s.events[len(s.events)-1].GetDns().Answers = fmt.Sprintf("cdn.example.,192.0.2.%d,192.0.2.%d", 10*i, 10*i+1)
		s.every(60, func(at time.Duration) { s.flow(at, web(), host(0), 100) })
		s.every(60, func(at time.Duration) { s.flow(at, web(), host(1), 100) })
	}
	if got := lines(rowsOf(t, a.profile(t), b.profile(t), false)); got != nil {
		t.Errorf("differences: %q", got)
	}
	b.every(60, func(at time.Duration) {
		b.flow(at, web(), &event.Endpoint{Address: []byte{192, 0, 2, 99}, Port: 443}, 1)
	})
	want := []string{"appeared peer 192.0.2.99:443: connections 0 -> 1"}
	if got := lines(rowsOf(t, a.profile(t), b.profile(t), false)); !slices.Equal(got, want) {
		t.Errorf("differences: %q", got)
	}
}

// TestCompare_CountsObservedClientsOnce has both ends report that the server was reset.
func TestCompare_CountsObservedClientsOnce(t *testing.T) {
	a, b := both()
	b.every(60, func(at time.Duration) {
		b.outcome(at, service("db", 80), event.TCPOutcome_TCP_OUTCOME_RESET)
		tcp := &event.Tcp{Outcome: event.TCPOutcome_TCP_OUTCOME_RESET, Src: web(), Dst: service("db", 80),
			Observed: event.Side_SIDE_DST}
		b.add(at, &event.Event{Namespace: "shop", Pod: "db-0", Workload: "deploy/db",
			Kind: &event.Event_Tcp{Tcp: tcp}})
	})
	want := []string{"changed peer shop/db:80: reset 0 -> 1"}
	if got := lines(rowsOf(t, a.profile(t), b.profile(t), false)); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestCompare_DoesNotMissWhatWasLeftOut fills the profile of one recording with names.
func TestCompare_DoesNotMissWhatWasLeftOut(t *testing.T) {
	a, b := newStream(1), newStream(2)
	for i := range 2 * maxOwnThings {
		a.lookup(time.Second+time.Duration(i)*time.Millisecond, fmt.Sprintf("n%d.example.", i), "NOERROR", 500)
	}
	b.every(60, func(at time.Duration) { b.lookup(at, "db.shop.", "NOERROR", 500) })
	before, after := a.profile(t), b.profile(t)
	if got := lines(rowsOf(t, before, after, false)); slices.ContainsFunc(got, func(line string) bool {
		return strings.HasPrefix(line, "appeared")
	}) {
		t.Errorf("of a profile that is full: %q", got)
	}
	notes := strings.Join(before.Notes("before"), "\n")
	if !strings.Contains(notes, "not compared of shop/deploy/web (dns)") {
		t.Errorf("notes: %s", notes)
	}
}

func TestCommonKinds_NotesOthers(t *testing.T) {
	kinds, notes := CommonKinds(&Recording{Targets: "a", Kinds: []string{"tcp", "flow", "gpu", "flow", "gpu"}},
		&Recording{Targets: "b", Kinds: []string{"flow", "dns"}})
	got := strings.Join(notes, "\n")
	for _, want := range []string{"not compared: dns (only after), tcp (only before)", "not compared: gpu:",
		"different targets: a, and b"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if !slices.Equal(kinds, []string{"flow"}) {
		t.Errorf("kinds %v", kinds)
	}
}

func TestClusterNote_ComparesServices(t *testing.T) {
	called := func(addresses ...byte) *Profile {
		s := newStream(1)
		for i, last := range addresses {
			to := service(fmt.Sprint("s", i), 80)
			to.ServiceAddress = []byte{10, 96, 0, last}
			s.flow(time.Second, web(), to, 10)
		}
		return s.profile(t)
	}
	for _, test := range []struct {
		before, after []byte
		note          bool
	}{
		{[]byte{1, 2}, []byte{1, 2}, false}, {[]byte{1, 2}, []byte{9, 2}, false}, {[]byte{1, 2}, []byte{8, 9}, true},
		{nil, []byte{1}, false},
	} {
		if got := ClusterNote(called(test.before...), called(test.after...)); (got != "") != test.note {
			t.Errorf("%v and %v: %q", test.before, test.after, got)
		}
	}
}

// TestCompare_LeavesOutLoneAnswers has a pod receive the answers to lookups from before it was observed, and, as a
// contrast, more from a server than it asked for.
func TestCompare_LeavesOutLoneAnswers(t *testing.T) {
	for packets, want := range map[uint64]string{1: "", 9: "appeared client kube-system/deploy/coredns"} {
		a, b := both()
		b.every(60, func(at time.Duration) {
			b.flow(at, &event.Endpoint{Address: []byte{10, 0, 0, 53}, Port: 53, Namespace: "kube-system",
				Pod: "coredns-0", Workload: "deploy/coredns"}, web(), 100)
			f := b.events[len(b.events)-1].GetFlow()
			f.Protocol, f.Observed = event.Protocol_PROTOCOL_UDP, event.Side_SIDE_DST
			f.SrcCounters, f.DstCounters = nil, &event.Counters{PacketsReceived: packets, BytesReceived: 100 * packets}
		})
		got := strings.Join(lines(rowsOf(t, a.profile(t), b.profile(t), false)), "\n")
		if (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%d packets: %q, want %q", packets, got, want)
		}
	}
}
