package model

import (
	"fmt"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// timed is an event of a flow with the response times of its ends, µs, since it began.
func timed(f flowOf, client, server []uint64) *event.Event {
	ev := f.event()
	of := func(c *event.Counters, all []uint64) {
		if c == nil || len(all) == 0 {
			return
		}
		c.Responses = &event.ResponseTimes{}
		for _, micros := range all {
			one := event.AppendResponses(nil, event.ResponseBucket(micros), 1)
			c.Responses.Histogram = event.MergeResponses(nil, c.Responses.Histogram, one)
			c.Responses.MaxMicros = max(c.Responses.MaxMicros, micros)
		}
	}
	of(ev.GetFlow().GetSrcCounters(), client)
	of(ev.GetFlow().GetDstCounters(), server)
	return ev
}

// timesOf shows the columns of response times, those of clients and of servers; times to 10 %.
func timesOf(n *event.NetworkTop) string {
	show := func(count, p50, longest *uint64) string {
		if count == nil {
			return "-"
		}
		return fmt.Sprintf("%d p50=%.1e max=%.1e", *count, float64(*p50), float64(*longest))
	}
	return show(n.Responses, n.ResponseP50Micros, n.ResponseMaxMicros) + ", " +
		show(n.Served, n.ServedP50Micros, n.ServedMaxMicros)
}

func expectTimes(t *testing.T, what string, n *event.NetworkTop, want string) {
	t.Helper()
	if got := timesOf(n); got != want {
		t.Errorf("%s: %s, want %s", what, got, want)
	}
}

func TestResponses_ByGroup(t *testing.T) {
	m := network(t)
	web := flowOf{id: "a", src: "web", dst: "db", phase: opening, both: true}
	m.Add(timed(web, []uint64{5000}, []uint64{4000}), at(1))
	web.phase = going
	m.Add(timed(web, []uint64{5000, 5000, 90000}, []uint64{4000, 4000, 80000}), at(2))
	m.Add(timed(flowOf{id: "b", src: "web", dst: "cart", phase: opening}, []uint64{200}, nil), at(2))
	m.Add(flowOf{id: "c", src: "idle", dst: "db", phase: opening, both: true}.event(), at(2))
	for group, want := range map[string]map[string]string{
		"pod": {
			"web-1": "4 p50=5.1e+03 max=9.0e+04, -", "db-1": "-, 3 p50=3.9e+03 max=8.0e+04", "idle-1": "-, -",
		},
		"peer": {
			"shop/deploy/db:80": "3 p50=5.1e+03 max=9.0e+04, -", "shop/deploy/cart:80": "1 p50=2.0e+02 max=2.0e+02, -",
			"shop/deploy/web": "-, 3 p50=3.9e+03 max=8.0e+04", "shop/deploy/idle": "-, -",
		},
		"namespace": {"shop": "4 p50=5.1e+03 max=9.0e+04, 3 p50=3.9e+03 max=8.0e+04"},
	} {
		rows := rowsBy(t, m, group, time.Minute, at(3))
		for name, w := range want {
			expectTimes(t, group+" "+name, rows[name], w)
		}
	}
	q := Query{Group: m.Topic().GroupByName("flow"), Window: time.Minute, Sort: m.Topic().Row.Column("responses"),
		Descending: true, Limit: 1}
	table := m.Rows(q, at(3))
	expectTimes(t, "flow", table.Rows[0].Event.GetNetworkTop(), "3 p50=5.1e+03 max=9.0e+04, 3 p50=3.9e+03 max=8.0e+04")
	expectTimes(t, "others", table.Others.Event.GetNetworkTop(), "1 p50=2.1e+02 max=2.2e+02, -")
	expectTimes(t, "total", table.Total.Event.GetNetworkTop(), "4 p50=5.1e+03 max=9.0e+04, 3 p50=3.9e+03 max=8.0e+04")
}

func TestResponses_InWindow(t *testing.T) {
	m := network(t)
	f := flowOf{id: "a", src: "web", dst: "db", phase: opening, preexisting: true}
	expect := func(window time.Duration, now float64, want string) {
		t.Helper()
		total := m.Rows(Query{Window: window}, at(now)).Total.Event.GetNetworkTop()
		expectTimes(t, fmt.Sprintf("after %v s, of %v", now, window), total, want)
	}
	m.Add(timed(f, []uint64{700_000}, nil), at(0)) // before the trace
	m.Add(timed(f, []uint64{700_000, 100}, nil), at(1))
	expect(10*time.Second, 1, "1 p50=1.0e+02 max=1.1e+02, -")
	expect(10*time.Second, 20, "-, -")
	f.phase = closing
	m.Add(timed(f, []uint64{700_000, 100, 3000, 3000, 3000}, nil), at(30))
	expect(10*time.Second, 31, "3 p50=3.0e+03 max=3.2e+03, -")
	expect(time.Minute, 31, "4 p50=3.0e+03 max=3.2e+03, -")
	expect(time.Minute, 200, "-, -")
	expect(5*time.Minute, 200, "4 p50=3.0e+03 max=3.2e+03, -")
	expect(0, 4000, "4 p50=3.0e+03 max=3.2e+03, -")
	m.Mark(at(4000))
	expect(0, 4001, "-, -")
}

func TestResponses_OfEdges(t *testing.T) {
	times := func(micros uint64) []uint64 { return []uint64{micros, micros} }
	for name, c := range map[string]struct {
		flow           flowOf
		client, server []uint64
		want           string
	}{
		"both ends":    {flowOf{both: true}, times(9000), times(5000), "9e+03"},
		"client alone": {flowOf{}, times(9000), nil, "9e+03"},
		"server alone": {flowOf{onlyDst: true}, nil, times(5000), "5e+03"},
		"none":         {flowOf{both: true}, nil, nil, "none"},
	} {
		t.Run(name, func(t *testing.T) {
			m := network(t)
			f := c.flow
			f.id, f.src, f.dst, f.phase, f.sent = "a", "web", "db", opening, 100
			m.Add(timed(f, c.client, c.server), at(1))
			got, edges := "none", m.Edges(time.Minute, at(2))
			if len(edges) != 1 {
				t.Fatalf("%+v", edges)
			}
			if p99 := edges[0].ResponseP99Micros; p99 != nil {
				got = fmt.Sprintf("%.0e", float64(*p99))
			}
			if got != c.want {
				t.Errorf("p99 %s, want %s", got, c.want)
			}
		})
	}
}
