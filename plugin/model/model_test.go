package model

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
)

var start = time.Unix(1_700_000_000, 0)

func at(seconds float64) time.Time { return start.Add(time.Duration(seconds * float64(time.Second))) }

// end is one end of a flow on a pod; a name with a dot is an address outside.
func end(pod string, port uint32) *event.Endpoint {
	if pod[0] >= '0' && pod[0] <= '9' {
		return &event.Endpoint{Address: []byte{192, 0, 2, pod[0] - '0'}, Port: port}
	}
	return &event.Endpoint{
		Namespace: "shop", Pod: pod + "-1", Container: "main", Workload: "deploy/" + pod, Node: "node-" + pod,
		Comm: pod, Port: port, Address: []byte{10, 0, 0, pod[0]},
	}
}

type flowOf struct {
	id             string
	src, dst       string
	sent, received uint64
	phase          event.Phase
	preexisting    bool // opened before the trace
	both           bool // ends were observed
	onlyDst        bool
	rtt            uint32
	retransmits    uint64
	serviceOf      string
}

func (f flowOf) event() *event.Event {
	src, dst := end(f.src, 40000), end(f.dst, 80)
	if f.serviceOf != "" {
		dst.Service, dst.ServiceNamespace, dst.ServicePort = f.serviceOf, "shop", 8080
	}
	flow := &event.Flow{
		Id: f.id, Protocol: event.Protocol_PROTOCOL_TCP, Phase: f.phase, Src: src, Dst: dst,
		Observed: event.Side_SIDE_SRC,
	}
	if !f.preexisting {
		flow.StartTime = uint64(start.UnixNano())
	}
	if !f.onlyDst {
		flow.SrcCounters = &event.Counters{BytesSent: f.sent, BytesReceived: f.received, Retransmits: &f.retransmits}
		if f.rtt != 0 {
			flow.SrcCounters.SrttMicros = &f.rtt
		}
	}
	if f.both || f.onlyDst {
		flow.DstCounters = &event.Counters{BytesSent: f.received, BytesReceived: f.sent}
	}
	return &event.Event{
		Node: src.GetNode(), Namespace: src.GetNamespace(), Pod: src.GetPod(), Kind: &event.Event_Flow{Flow: flow},
	}
}

const (
	opening = event.Phase_PHASE_NEW
	going   = event.Phase_PHASE_UPDATE
	closing = event.Phase_PHASE_CLOSED
)

func network(t *testing.T) *Model {
	t.Helper()
	return New(TopicByName("network"), Options{Started: start})
}

func rowsBy(t *testing.T, m *Model, group string, window time.Duration, now time.Time) map[string]*event.NetworkTop {
	t.Helper()
	all := map[string]*event.NetworkTop{}
	for _, r := range m.Rows(Query{Group: m.Topic().GroupByName(group), Window: window}, now).Rows {
		n := r.Event.GetNetworkTop()
		if all[n.GetName()] != nil {
			t.Errorf("two rows are called %q", n.GetName())
		}
		all[n.GetName()] = n
	}
	return all
}

func TestRows_SumTheirFlows(t *testing.T) {
	m := network(t)
	m.Add(flowOf{
		id: "a", src: "web", dst: "db", phase: opening, sent: 1000, received: 5000, both: true, rtt: 100,
	}.event(), at(1))
	m.Add(flowOf{
		id: "b", src: "web", dst: "db", phase: opening, sent: 10, received: 20, both: true, rtt: 300,
	}.event(), at(2))
	m.Add(flowOf{
		id: "a", src: "web", dst: "db", phase: going, sent: 3000, received: 5000, both: true, rtt: 100, retransmits: 2,
	}.event(), at(3))
	m.Add(flowOf{id: "c", src: "web", dst: "8", phase: opening, sent: 7, received: 9}.event(), at(3))
	for group, want := range map[string]map[string][4]uint64{ // sent, received, flows, opened
		"pod":       {"web-1": {3017, 5029, 3, 3}, "db-1": {5020, 3010, 2, 2}},
		"workload":  {"deploy/web": {3017, 5029, 3, 3}, "deploy/db": {5020, 3010, 2, 2}},
		"container": {"web-1/main": {3017, 5029, 3, 3}, "db-1/main": {5020, 3010, 2, 2}},
		"namespace": {"shop": {8037, 8039, 5, 5}}, // as each pod sees it
		"node":      {"node-web": {3017, 5029, 3, 3}, "node-db": {5020, 3010, 2, 2}},
		"peer": {
			"shop/deploy/db:80": {3010, 5020, 2, 2}, "shop/deploy/web": {5020, 3010, 2, 2},
			"192.0.2.8:80": {7, 9, 1, 1},
		},
		"process": {"web": {3017, 5029, 3, 3}, "db": {5020, 3010, 2, 2}},
	} {
		got := rowsBy(t, m, group, time.Minute, at(4))
		if len(got) != len(want) {
			t.Errorf("by %s there are %d rows: %v", group, len(got), got)
		}
		for name, w := range want {
			n := got[name]
			if g := [4]uint64{n.GetBytesSent(), n.GetBytesReceived(), n.GetFlows(), n.GetOpened()}; g != w {
				t.Errorf("by %s, %s has %v, want %v", group, name, g, w)
			}
		}
	}
	web := rowsBy(t, m, "pod", time.Minute, at(4))["web-1"]
	if web.GetSrttMicros() != 200 || web.GetRetransmits() != 2 || web.GetWorkload() != "deploy/web" ||
		web.GetPeer() != "" || web.GetSentPerSecond() != 3017/4 {
		t.Errorf("web-1: %v", web)
	}
	total := m.Rows(Query{Window: time.Minute}, at(4)).Total.Event.GetNetworkTop()
	if total.GetBytesSent() != 3017 || total.GetBytesReceived() != 5029 || total.GetFlows() != 3 {
		t.Errorf("in all: %v", total)
	}
}

func TestWindow_DropsExpiredSlots(t *testing.T) {
	m := network(t)
	m.Add(flowOf{id: "a", src: "web", dst: "db", phase: opening, sent: 1000}.event(), at(1))
	for _, c := range []struct {
		window time.Duration
		now    float64
		sent   uint64
	}{
		{10 * time.Second, 1, 1000}, {10 * time.Second, 10.9, 1000}, {10 * time.Second, 12, 0},
		{10 * time.Second, 30.5, 500},
		{time.Minute, 31, 1500}, {time.Minute, 61, 500}, {time.Minute, 95, 0}, {5 * time.Minute, 95, 1500},
		{5 * time.Minute, 400, 0}, {0, 4000, 1500},
	} {
		if c.now >= 30 {
			m.Add(flowOf{id: "a", src: "web", dst: "db", phase: going, sent: 1500}.event(), at(30))
		}
		n := rowsBy(t, m, "pod", c.window, at(c.now))["web-1"]
		if n.GetBytesSent() != c.sent || n.GetFlows() != 1 {
			t.Errorf("after %v s, of %v: %v, want %d sent", c.now, c.window, n, c.sent)
		}
	}
}

func TestWindow_OmitsBytesBeforeTheStream(t *testing.T) {
	m := network(t)
	m.Add(flowOf{id: "a", src: "web", dst: "db", phase: opening, preexisting: true, sent: 1_000_000}.event(), at(1))
	m.Add(flowOf{id: "a", src: "web", dst: "db", phase: going, preexisting: true, sent: 1_000_100}.event(), at(2))
	if n := rowsBy(t, m, "pod", 0, at(3))["web-1"]; n.GetBytesSent() != 100 || n.GetOpened() != 0 || n.GetFlows() != 1 {
		t.Errorf("%v", n)
	}
}

func TestRows_KeepTotalsOfClosedFlows(t *testing.T) {
	m := network(t)
	for i := range 50 {
		m.Add(flowOf{id: fmt.Sprint(i), src: "web", dst: "db", phase: opening, sent: 10}.event(), at(float64(i)/10))
		m.Add(flowOf{
			id: fmt.Sprint(i), src: "web", dst: "db", phase: closing, sent: 100, received: 3, rtt: uint32(50 + i),
		}.event(), at(float64(i)/10))
	}
	m.Add(flowOf{id: "alive", src: "web", dst: "db", phase: opening, sent: 1}.event(), at(5))
	if n := rowsBy(
		t, m, "pod", 10*time.Second, at(5),
	)["web-1"]; n.GetBytesSent() != 5001 || n.GetBytesReceived() != 150 || n.GetOpened() != 51 || n.GetFlows() != 1 ||
		n.GetSrttMicros() != 75 {
		t.Errorf("%v", n)
	}
	rows := m.Rows(Query{
		Group: m.Topic().GroupByName("flow"), Sort: m.Topic().Row.Column("bytesSent"), Descending: true,
	}, at(5)).Rows
	if len(rows) != 2 || rows[0].Event.GetNetworkTop().GetId() != "" ||
		rows[0].Event.GetNetworkTop().GetOpened() != 51 || rows[1].Event.GetNetworkTop().GetId() != "alive" {
		t.Errorf("%v", rows)
	}
	if s := m.Status(at(5)); s.Series != 2 || s.Events != 101 {
		t.Errorf("%+v", s)
	}
}

func TestRows_CountFailedConnectionsOnce(t *testing.T) {
	m := network(t)
	failed := func(side event.Side, src, dst *event.Endpoint, observed *event.Endpoint) *event.Event {
		return &event.Event{
			Node: observed.Node, Namespace: observed.Namespace, Pod: observed.Pod, Container: observed.Container,
			Workload: observed.Workload,
			Kind: &event.Event_Tcp{
				Tcp: &event.Tcp{Outcome: event.TCPOutcome_TCP_OUTCOME_RESET, Src: src, Dst: dst, Observed: side},
			},
		}
	}
	src, dst := end("web", 40000), end("db", 80)
	m.Add(failed(event.Side_SIDE_SRC, src, dst, src), at(1))
	m.Add(failed(event.Side_SIDE_DST, src, dst, dst), at(1))
	outside := end("7", 999)
	m.Add(failed(event.Side_SIDE_DST, outside, dst, dst), at(1))
	m.Add(&event.Event{
		Kind: &event.Event_Tcp{
			Tcp: &event.Tcp{
				Outcome: event.TCPOutcome_TCP_OUTCOME_CLOSED, Src: src, Dst: dst, Observed: event.Side_SIDE_SRC,
			},
		},
	}, at(1))
	rows := rowsBy(t, m, "pod", time.Minute, at(2))
	if rows["web-1"].GetFailed() != 1 || rows["db-1"].GetFailed() != 2 {
		t.Errorf("%v", rows)
	}
	if n := m.Rows(Query{}, at(2)).Total.Event.GetNetworkTop().GetFailed(); n != 2 {
		t.Errorf("%d in all, want 2", n)
	}
	edges := m.Edges(time.Minute, at(2))
	if len(edges) != 2 || edges[0].Failed+edges[1].Failed != 2 {
		t.Errorf("%+v", edges)
	}
}

func TestEdges_SeparatePortsOfAService(t *testing.T) {
	for _, seen := range []string{"by the client", "by the server", "by both"} {
		t.Run(seen, func(t *testing.T) {
			m := network(t)
			for i, port := range []uint32{8080, 9090} {
				ev := flowOf{
					id: fmt.Sprint(port), src: "web", dst: "db", phase: opening, sent: uint64(100 * (i + 1)),
					serviceOf: "db",
					onlyDst:   seen == "by the server", both: seen == "by both",
				}.event()
				ev.GetFlow().Dst.ServicePort = port
				m.Add(ev, at(1))
			}
			edges := m.Edges(time.Minute, at(2))
			if len(edges) != 2 || edges[0].To.Port != 9090 || edges[1].To.Port != 8080 ||
				edges[0].To.Name != "shop/db" {
				t.Errorf("%+v", edges)
			}
			if rows := rowsBy(t, m, "workload", time.Minute, at(2)); len(rows) == 0 || len(rows) > 2 {
				t.Errorf("ports split rows of workloads: %v", rows)
			}
		})
	}
}

func TestDrillDown_ShowsOnlyFlowsOfTheRow(t *testing.T) {
	m := network(t)
	m.Add(flowOf{id: "a", src: "web", dst: "db", phase: opening, sent: 100, both: true}.event(), at(1))
	m.Add(flowOf{id: "b", src: "web", dst: "cache", phase: opening, sent: 30}.event(), at(1))
	m.Add(flowOf{id: "c", src: "cron", dst: "db", phase: opening, sent: 5}.event(), at(1))
	pods := m.Topic().GroupByName("pod")
	var web Key
	for _, r := range m.Rows(Query{Group: pods}, at(2)).Rows {
		if r.Event.GetPod() == "web-1" {
			web = r.Key
		}
	}
	q := Query{
		Group: m.Topic().GroupByName("peer"), Within: []Within{{pods, web}}, Sort: m.Topic().Row.Column("bytesSent"),
		Descending: true,
	}
	table := m.Rows(q, at(2))
	var names []string
	for _, r := range table.Rows {
		names = append(names, r.Event.GetNetworkTop().GetName())
	}
	if !slices.Equal(names, []string{
		"shop/deploy/db:80", "shop/deploy/cache:80",
	}) || table.Total.Event.GetNetworkTop().GetBytesSent() != 130 {
		t.Errorf("%v, %v", names, table.Total.Event)
	}
	q.Within = append(q.Within, Within{q.Group, table.Rows[0].Key})
	d := m.Detail(q, at(3))
	if n := d.Row.Event.GetNetworkTop(); n.GetName() != "shop/deploy/db:80" || n.GetBytesSent() != 100 ||
		n.GetFlows() != 1 {
		t.Errorf("%v", n)
	}
	if len(d.Series) != len(m.Topic().Lines) || !slices.Equal(d.Series[0], []float64{0, 100, 0}) {
		t.Errorf("%v", d.Series)
	}
}

func TestDrillDown_OrderOfGroups(t *testing.T) {
	for topic, ways := range map[string][]string{
		"network": {
			"namespace workload pod peer flow", "node pod peer flow", "peer pod flow", "process pod peer flow", "flow",
		},
		"dns":      {"workload pod question", "question pod", "server pod question"},
		"syscalls": {"syscall pod", "container pod syscall"},
	} {
		for _, way := range ways {
			names := strings.Fields(way)
			g := TopicByName(topic).GroupByName(names[0])
			var used []Within
			for _, want := range names[1:] {
				next := TopicByName(topic).Inner(g, used)
				if next == nil || next.Name != want {
					t.Fatalf("%s, %s: from %s to %v, want %s", topic, way, g.Name, next, want)
				}
				used = append(used, Within{Group: g})
				g = next
			}
			if next := TopicByName(topic).Inner(g, used); next != nil {
				t.Errorf("%s, %s: goes on to %s", topic, way, next.Name)
			}
		}
	}
}

func TestRows_SortAndLimit(t *testing.T) {
	m := network(t)
	for i := range 100 {
		m.Add(flowOf{
			id: fmt.Sprint(i), src: fmt.Sprintf("p%02d", i), dst: "db", phase: opening, sent: uint64(i),
		}.event(), at(1))
	}
	q := Query{
		Group: m.Topic().GroupByName("pod"), Sort: m.Topic().Row.Column("bytesSent"), Descending: true, Offset: 10,
		Limit: 5,
		Match: func(ev *event.Event) (bool, error) {
			if ev.GetPod() == "p50-1" {
				return false, fmt.Errorf("no")
			}
			return ev.GetNetworkTop().GetBytesSent()%2 == 0, nil
		},
	}
	table := m.Rows(q, at(2))
	var got []uint64
	for _, r := range table.Rows {
		got = append(got, r.Event.GetNetworkTop().GetBytesSent())
	}
	if !slices.Equal(
		got, []uint64{78, 76, 74, 72, 70},
	) || table.Matching != 49 || table.All != 100 || table.Err == nil {
		t.Errorf("%v of %d of %d, %v", got, table.Matching, table.All, table.Err)
	}
	// 0+2+…+98 without the 50 that failed, less what is shown.
	if n := table.Others.Event.GetNetworkTop(); n.GetName() != event.Others || n.GetBytesSent() != 2450-50-370 ||
		n.GetFlows() != 44 {
		t.Errorf("the others: %v", n)
	}
}

func TestDNSRows_CountAnswersByOutcome(t *testing.T) {
	m := New(TopicByName("dns"), Options{Started: start})
	ask := func(name, rcode string, micros uint64, outcome event.DnsOutcome) {
		d := &event.Dns{
			Name: name, Type: "A", Rcode: rcode, Outcome: outcome, Src: end("web", 999), Dst: end("dns", 53),
		}
		if micros != 0 {
			d.LatencyMicros = &micros
		}
		m.Add(&event.Event{Kind: &event.Event_Dns{Dns: d}}, at(1))
	}
	for range 90 {
		ask("db.", "NOERROR", 100, event.DnsOutcome_DNS_OUTCOME_ANSWERED)
	}
	for range 10 {
		ask("db.", "NXDOMAIN", 50_000, event.DnsOutcome_DNS_OUTCOME_ANSWERED)
	}
	ask("slow.", "", 0, event.DnsOutcome_DNS_OUTCOME_TIMEOUT)
	ask("slow.", "SERVFAIL", 5, event.DnsOutcome_DNS_OUTCOME_ANSWERED)
	ask("slow.", "", 0, event.DnsOutcome_DNS_OUTCOME_PENDING)
	rows := m.Rows(Query{Sort: m.Topic().Row.Column("queries"), Descending: true}, at(2)).Rows
	db, slow := rows[0].Event.GetDnsTop(), rows[1].Event.GetDnsTop()
	if len(rows) != 2 || db.GetQueries() != 100 || db.GetNxdomain() != 10 || db.GetQueriesPerSecond() != 50 ||
		db.GetServer() != "shop/deploy/dns:53" {
		t.Errorf("%v", db)
	}
	// 100 µs lie in the bucket from 65.536 to 131.072 µs, 50 ms in that to 67 ms.
	if p := db.GetP50Micros(); p < 65 || p > 131 {
		t.Errorf("p50 is %d µs", p)
	}
	if p := db.GetP95Micros(); p < 33_554 || p > 67_109 {
		t.Errorf("p95 is %d µs", p)
	}
	if slow.GetQueries() != 2 || slow.GetFailed() != 1 || slow.GetTimeouts() != 1 || slow.P50Micros == nil {
		t.Errorf("%v", slow)
	}
}

func TestSyscallRows_UseKernelCounts(t *testing.T) {
	m := New(TopicByName("syscalls"), Options{Started: start})
	add := func(id, pod, name string, calls, nanos uint64, histogram []uint64, second float64) {
		m.Add(&event.Event{Namespace: "shop", Pod: pod, Container: "main",
			Kind: &event.Event_SyscallSummary{SyscallSummary: &event.SyscallSummary{
				Id: id, Name: name, Calls: calls, Errors: calls / 10, TotalNanos: &nanos, Histogram: histogram,
			}}}, at(second))
	}
	add("1", "web", "read", 100, 1e9, []uint64{0, 100}, 1)
	add("1", "web", "read", 300, 3e9, []uint64{0, 100, 0, 0, 200}, 2)
	add("2", "db", "read", 50, 1e9, []uint64{50}, 2)
	add("3", "db", "write", 1, 5, []uint64{1}, 2)
	rows := m.Rows(Query{Window: 10 * time.Second, Sort: m.Topic().Row.Column("calls"), Descending: true}, at(4)).Rows
	read := rows[0].Event.GetSyscallTop()
	if len(rows) != 2 || read.GetName() != "read" || read.GetCalls() != 350 || read.GetErrors() != 35 ||
		read.GetTotalNanos() != 4e9 || read.GetBusyPercent() != 100 {
		t.Errorf("%v", read)
	}
	if p := read.GetP99Nanos(); p < 1024 || p > 2048 {
		t.Errorf("p99 is %d ns", p)
	}
	if len(m.Detail(Query{Within: []Within{{m.Topic().Groups[0], rows[0].Key}}}, at(4)).Histogram) != 5 {
		t.Error("the histogram lacks buckets")
	}
}

func TestModel_BoundsMemoryAndKeepsTotals(t *testing.T) {
	m := New(TopicByName("network"), Options{Started: start, MaxSeries: 100})
	var sent uint64
	for i := range 5000 {
		n := rand.Uint64N(1000)
		sent += n
		m.Add(flowOf{
			id: fmt.Sprint(i), src: fmt.Sprintf("p%d", i%700), dst: "db", phase: opening, sent: n,
		}.event(), at(float64(i)/1000))
		if s := m.Status(at(5)); s.Series > 202 {
			t.Fatalf("%d series after %d flows", s.Series, i)
		}
	}
	total := m.Rows(Query{}, at(5)).Total.Event.GetNetworkTop()
	if total.GetBytesSent() != sent || total.GetOpened() != 5000 {
		t.Errorf("%v, want %d sent", total, sent)
	}
	if m.Status(at(5)).Folded == 0 || rowsBy(t, m, "pod", 0, at(5))[event.Others].GetBytesSent() == 0 {
		t.Error("nothing was counted as others'")
	}
}

func TestModel_LostNodeEndsItsFlows(t *testing.T) {
	m := network(t)
	m.Add(flowOf{id: "a", src: "web", dst: "8", phase: opening, sent: 5}.event(), at(1))
	m.Add(flowOf{id: "b", src: "cron", dst: "8", phase: opening, sent: 5}.event(), at(1))
	m.Add(&event.Event{
		Node: "node-web",
		Kind: &event.Event_NodeStatus{
			NodeStatus: &event.NodeStatus{State: event.NodeState_NODE_STATE_FAILED, Message: "gone"},
		},
	}, at(2))
	m.Add(&event.Event{
		Node: "node-web", Kind: &event.Event_Lost{Lost: &event.Lost{Stage: event.LossStage_LOSS_STAGE_QUEUE, Count: 7}},
	}, at(2))
	rows := rowsBy(t, m, "pod", time.Minute, at(3))
	if rows["web-1"].GetFlows() != 0 || rows["web-1"].GetBytesSent() != 5 || rows["cron-1"].GetFlows() != 1 {
		t.Errorf("%v", rows)
	}
	if s := m.Status(at(3)); len(s.Nodes) != 1 || s.Nodes[0].Message != "gone" || len(s.Losses) != 1 ||
		s.Losses[0].Count != 7 || !slices.Equal(s.PerSecond, []float64{0, 2, 0}) {
		t.Errorf("%+v", s)
	}
}

// TestWindow_MatchesListOfSamples compares the rings with sums over every event.
func TestWindow_MatchesListOfSamples(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		m := network(t)
		type one struct {
			second float64
			sent   uint64
		}
		var list []one
		sum, now := uint64(0), 0.0
		for range 200 {
			now += random.ExpFloat64() * 3
			n := random.Uint64N(100)
			sum += n
			list = append(list, one{now, n})
			m.Add(flowOf{id: "a", src: "web", dst: "db", phase: opening, sent: sum}.event(), at(now))
		}
		now += random.Float64() * 20
		for w, window := range windows[:rings] {
			length := partOf[w]
			begin := (at(now).UnixNano()/length - slots + 1) * length
			var want uint64
			for _, o := range list {
				if at(o.second).UnixNano() >= begin {
					want += o.sent
				}
			}
			if got := rowsBy(t, m, "pod", window, at(now))["web-1"].GetBytesSent(); got != want {
				t.Errorf("of %v: %d, want %d", window, got, want)
			}
		}
	}
}

func full(tb testing.TB, flows int) *Model {
	tb.Helper()
	m := New(TopicByName("network"), Options{Started: start})
	for i := range flows {
		m.Add(flowOf{
			id: fmt.Sprintf("%016x", i), src: fmt.Sprintf("p%03d", i%500), dst: "db", phase: opening, sent: uint64(i),
		}.event(), at(1))
	}
	return m
}

func BenchmarkAdd(b *testing.B) {
	m := full(b, 100_000)
	events := make([]*event.Event, 1000)
	for i := range events {
		events[i] = flowOf{
			id: fmt.Sprintf("%016x", i*100), src: fmt.Sprintf("p%03d", i*100%500), dst: "db", phase: going,
			sent: uint64(i),
		}.event()
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		ev := events[i%1000]
		ev.GetFlow().SrcCounters.BytesSent++
		m.Add(ev, at(2+float64(i)/20_000))
	}
}

func BenchmarkRowsOf100KFlows(b *testing.B) {
	m := full(b, 100_000)
	for _, group := range []string{"flow", "pod"} {
		b.Run(group, func(b *testing.B) {
			q := Query{
				Group: m.Topic().GroupByName(group), Window: time.Minute, Sort: m.Topic().Row.Column("sentPerSecond"),
				Descending: true, Limit: 50,
			}
			b.ReportAllocs()
			for b.Loop() {
				m.Rows(q, at(3))
			}
		})
	}
}

// TestPast_CountsWithinTheTimeOnly counts a part of a history: what counters had counted before does not count.
func TestPast_CountsWithinTheTimeOnly(t *testing.T) {
	past := func(topic string) *Model { return New(TopicByName(topic), Options{Started: at(10), Past: true}) }
	m := past("network")
	// web has called db since before the time, and cache from the 11th second on.
	for i := range 3 {
		old := flowOf{id: "old", src: "web", dst: "db", sent: uint64(5000 + 100*i)}
		m.Add(old.event(), at(float64(11+i)))
		fresh := flowOf{id: "new", src: "web", dst: "cache", sent: uint64(7 * (i + 1))}.event()
		fresh.GetFlow().StartTime = uint64(at(11).UnixNano())
		m.Add(fresh, at(float64(11+i)))
	}
	if n := rowsBy(t, m, "pod", 0, at(20))["web-1"]; n.GetBytesSent() != 221 || n.GetOpened() != 1 ||
		n.GetWindowMicros() != 10_000_000 {
		t.Errorf("%v", n)
	}

	m = past("syscalls")
	for i := range 2 {
		n := uint64(1000 + 5*i)
		m.Add(&event.Event{Namespace: "shop", Pod: "web-1", Kind: &event.Event_SyscallSummary{
			SyscallSummary: &event.SyscallSummary{Id: "x", Name: "read", Calls: n, TotalNanos: &n,
				Histogram: []uint64{0, n}}}}, at(float64(11+i)))
	}
	rows := m.Rows(Query{}, at(20)).Rows
	if len(rows) != 1 || rows[0].Event.GetSyscallTop().GetCalls() != 5 {
		t.Errorf("%v", rows)
	}

	m = past("gpu")
	for i := range 2 {
		n := uint64(1000 + 5*i)
		m.Add(&event.Event{Time: uint64(at(float64(11 + i)).UnixNano()), Node: "n1", Namespace: "ml", Pod: "train",
			Kind: &event.Event_Gpu{Gpu: &event.Gpu{Type: event.GpuEventType_GPU_EVENT_TYPE_CALLS,
				Proc:  &event.GpuProcess{Pid: 7},
				Calls: &event.GpuCalls{Since: uint64(at(1).UnixNano()), Launches: &n}}}}, at(float64(11+i)))
	}
	rows = m.Rows(Query{Group: m.Topic().GroupByName("process")}, at(15)).Rows
	if len(rows) != 1 || rows[0].Event.GetGpuTop().GetLaunchesPerSecond() != 1 {
		t.Errorf("%v", rows)
	}
}
