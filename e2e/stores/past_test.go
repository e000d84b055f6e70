package stores

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/eventtest"
	"github.com/orb8-dev/kubectl-orb8/internal/exportconfig"
	"github.com/orb8-dev/kubectl-orb8/server/past"
)

// TestPast exports events of all kinds to a store, alone and as a cluster of two, and compares what is read back.
func TestPast(t *testing.T) {
	if os.Getenv("ORB8_E2E_STORES") == "" {
		t.Skip("it builds a store: make test-stores")
	}
	t.Run("single", func(t *testing.T) { readBack(t, startStore(t)) })
	t.Run("cluster", func(t *testing.T) {
		one, two := startStore(t), startStore(t)
		front := &store{FreeAddress(t, loopback)}
		VictoriaLogs.Start(t, root, "-httpListenAddr="+front.address, "-storageNode="+one.address+","+two.address)
		readBack(t, front)
	})
}

// recordedKinds are those that agents can export.
var recordedKinds = []string{"flow", "tcp", "dns", "drop", "resources", "gpu", "exec", "signal", "syscall",
	"syscallSummary"}

// generated are events of all kinds from now on, a millisecond apart, that a round trip does not change.
func generated(now time.Time) (all []*event.Event) {
	r := rand.New(rand.NewPCG(5, 6))
	for len(all) < 3000 {
		in := []byte{byte(r.UintN(256)), 0, byte(r.UintN(256)), 0}
		for _, ev := range eventtest.Events(in, now) {
			k := event.KindOf(ev)
			if k == nil || k.Row {
				continue
			}
			if f := ev.GetFlow(); f != nil {
				f.Id, f.DstCounters, f.Observed = "", nil, event.Side_SIDE_SRC
				if f.SrcIsn, f.DstIsn = 1, 2; !f.IsnValid {
					f.SrcIsn, f.DstIsn = 0, 0
				}
				f.SocketCookie = uint64(len(all) + 1)
			}
			ev.Node, ev.Namespace = "node-1", []string{"shop", "bank"}[len(all)%2]
			ev.Time = uint64(now.UnixNano()) + uint64(len(all))*uint64(time.Millisecond) + 7
			all = append(all, ev)
		}
	}
	return all
}

func readBack(t *testing.T, s *store) {
	t.Helper()
	awaitReady(t, s)
	now := time.Now().Add(-time.Minute)
	events := generated(now)
	exportAll(t, s, events)
	reader, err := past.Open(past.Options{URL: "http://" + s.address})
	if err != nil {
		t.Fatal(err)
	}
	sel := &past.Selection{Since: uint64(now.UnixNano()), Until: uint64(now.Add(time.Minute).UnixNano()),
		Kinds: recordedKinds}
	want := map[uint64]*event.Event{}
	for _, ev := range events {
		want[ev.GetTime()] = ev
	}
	// What was sent is found after a while.
	var got []*event.Event
	for deadline := time.Now().Add(time.Minute); len(got) < len(events) && time.Now().Before(deadline); {
		got = readAll(t, reader, sel)
	}
	if len(got) != len(events) {
		t.Fatalf("%d events, want %d", len(got), len(events))
	}
	same := map[string]int{}
	var last uint64
	for _, ev := range got {
		kind := event.KindOf(ev).Name
		if ev.GetTime() < last {
			t.Fatalf("%v comes after %d", ev, last)
		}
		last = ev.GetTime()
		// Messages without content are the only difference: eventtest makes some.
		if a, b := columnsOf(ev), columnsOf(want[ev.GetTime()]); a != b {
			t.Fatalf("%s\ngot  %s\nwant %s", kind, a, b)
		}
		if proto.Equal(ev, want[ev.GetTime()]) {
			same[kind]++
		}
	}
	for _, kind := range recordedKinds {
		if same[kind] < 50 {
			t.Errorf("%s: %d events are equal", kind, same[kind])
		}
	}
	conditions(t, reader, sel, got)
}

// conditions reads parts, and compares their numbers with those of all events.
func conditions(t *testing.T, reader *past.Store, all *past.Selection, got []*event.Event) {
	t.Helper()
	middle := got[len(got)/2].GetTime()
	for name, c := range map[string]struct {
		change func(*past.Selection)
		want   func(*event.Event) bool
	}{
		"a namespace": {func(s *past.Selection) { s.Namespaces = []string{"shop", `bank") or *`} },
			func(ev *event.Event) bool { return ev.GetNamespace() == "shop" }},
		"a pod": {func(s *past.Selection) { s.Pods, s.Workloads = []string{"web"}, []string{"db"} },
			func(ev *event.Event) bool { return ev.GetPod() == "web" || ev.GetWorkload() == "db" }},
		"another node": {func(s *past.Selection) { s.Node = "node-2" }, func(*event.Event) bool { return false }},
		"a cut": {func(s *past.Selection) { s.Cuts = map[string]uint64{"node-1": middle} },
			func(ev *event.Event) bool { return ev.GetTime() < middle }},
		"an excluded node": {func(s *past.Selection) {
			s.Cuts = map[string]uint64{"node-1": all.Since, "node-3": middle}
		}, func(*event.Event) bool { return false }},
		"a container": {func(s *past.Selection) { s.Container = `"x"` },
			func(ev *event.Event) bool { return ev.GetContainer() == `"x"` }},
		"no start": {func(s *past.Selection) { s.Since = 0 }, func(*event.Event) bool { return true }},
	} {
		sel, want := *all, 0
		c.change(&sel)
		for _, ev := range got {
			if c.want(ev) {
				want++
			}
		}
		if n := len(readAll(t, reader, &sel)); n != want {
			t.Errorf("%s: %d events, want %d", name, n, want)
		}
	}
	sel := *all
	sel.Newest = 100
	if newest := readAll(t, reader, &sel); len(newest) != 100 || newest[0].GetTime() != got[len(got)-100].GetTime() {
		t.Errorf("the newest 100 are %d", len(newest))
	}
}

func readAll(t *testing.T, reader *past.Store, sel *past.Selection) (all []*event.Event) {
	t.Helper()
	report, err := reader.Read(t.Context(), sel, func(ev *event.Event) error {
		all = append(all, ev)
		return nil
	})
	if err != nil || report.Bad+report.Foreign > 0 {
		t.Fatalf("%+v %v", report, err)
	}
	return all
}

// columnsOf is all that outputs show of an event.
func columnsOf(ev *event.Event) string {
	text := ""
	for i := range event.KindOf(ev).Columns {
		c := &event.KindOf(ev).Columns[i]
		if c.Outputs&event.InJSON == 0 || c.Name == "id" && ev.GetFlow() != nil {
			continue
		}
		if v := c.Get(ev); !v.IsNull() {
			text += fmt.Sprintf(" %s=%q", c.Name, v.String())
		}
	}
	return text
}

// awaitReady waits until a store answers.
func awaitReady(t *testing.T, s *store) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if _, err := s.query(t.Context(), "* | limit 1"); err == nil {
			return
		} else if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// exportAll sends events to the store's own receiver.
func exportAll(t *testing.T, s *store, events []*event.Event) {
	t.Helper()
	e, stop := runExporter(t, &exportconfig.Config{Protocol: exportconfig.ProtocolHTTP,
		Endpoint: "http://" + s.address + "/insert/opentelemetry", Kinds: recordedKinds,
		Updates: exportconfig.UpdatesAll}, recordedKinds)
	defer stop()
	deadline := time.After(3 * time.Minute)
	await := func(done func() bool) {
		for tick := time.NewTicker(5 * time.Millisecond); !done(); {
			select {
			case <-tick.C:
			case <-deadline:
				t.Fatalf("%+v", e.Status())
			}
		}
	}
	for i, ev := range events {
		observe(t, e, ev)
		if i%500 == 0 { // the queue is bounded
			await(func() bool { return e.Status().Pending < 2000 })
		}
	}
	await(func() bool { return e.Status().Sent == uint64(len(events)) })
}
