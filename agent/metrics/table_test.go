package metrics

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/session"
)

// kit is a Table with a clock.
type kit struct {
	testing.TB
	*Table
	clock    time.Time
	registry *prometheus.Registry
	status   Status
}

func newKit(tb testing.TB, o Options) *kit {
	k := &kit{TB: tb, clock: time.Unix(1_800_000_000, 0), Table: NewTable(o)}
	k.now = func() time.Time { return k.clock }
	k.registry = prometheus.NewPedanticRegistry()
	k.registry.MustRegister(NewCollector(k.Table, func() Status { return k.status }, nil))
	return k
}

// workload is a pod of a Deployment of its own.
func workload(n int) *event.Event {
	return &event.Event{Node: "n", Namespace: "shop", Pod: fmt.Sprintf("web-%d-x", n), PodUid: fmt.Sprintf("uid-%d", n),
		Workload: fmt.Sprintf("deploy/web-%d", n)}
}

func encode(tb testing.TB, ev *event.Event) []byte {
	tb.Helper()
	b, err := proto.Marshal(ev)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func (k *kit) observe(events ...*event.Event) {
	k.Helper()
	var all [][]byte
	for _, ev := range events {
		all = append(all, encode(k, ev))
	}
	k.Observe(all)
}

func (k *kit) pods(complete bool, pods ...*event.Event) {
	update := &session.PodUpdate{Complete: complete}
	for _, p := range pods {
		update.Upsert = append(update.Upsert, &session.Pod{Uid: p.PodUid, Namespace: p.Namespace, Name: p.Pod,
			Workload: p.Workload})
	}
	k.ApplyPods(update)
}

// scrape returns all samples as Prometheus sees them, by name and labels; of histograms the count.
func (k *kit) scrape() map[string]float64 {
	k.Helper()
	gathered, err := k.registry.Gather()
	if err != nil {
		k.Fatal(err)
	}
	all := map[string]float64{}
	for _, f := range gathered {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			all[f.GetName()+"{"+strings.Join(labels, ",")+"}"] = m.GetCounter().GetValue() + m.GetGauge().GetValue() +
				float64(m.GetHistogram().GetSampleCount())
		}
	}
	return all
}

// sum adds up a metric.
func sum(all map[string]float64, name string) (total float64) {
	for key, v := range all {
		if strings.HasPrefix(key, name+"{") {
			total += v
		}
	}
	return total
}

// flowEvent is a half of a flow, as an agent has it.
type flowEvent struct {
	cookie, start  uint64
	phase          event.Phase
	protocol       event.Protocol
	server         bool
	peer           string
	sent, received uint64
	srtt           uint32
	port           uint32
}

func (f flowEvent) of(pod *event.Event) *event.Event {
	c := &event.Counters{BytesSent: f.sent, BytesReceived: f.received, PacketsSent: f.sent / 100,
		PacketsReceived: f.received / 100}
	if f.srtt > 0 {
		c.SrttMicros = &f.srtt
	}
	if f.protocol == 0 {
		f.protocol = event.Protocol_PROTOCOL_TCP
	}
	peer := []byte{10, 0, 0, 9}
	if f.peer != "" {
		peer = []byte(f.peer)
	}
	local, remote := &event.Endpoint{Address: []byte{10, 0, 0, 1}, Port: 40000 + f.port}, &event.Endpoint{Address: peer,
		Port: 80}
	half := &event.Flow{Protocol: f.protocol, Phase: f.phase, SocketCookie: f.cookie, StartTime: f.start,
		Observed: event.Side_SIDE_SRC, Src: local, Dst: remote, SrcCounters: c}
	if f.server {
		half.Observed, half.Src, half.Dst, half.SrcCounters, half.DstCounters = event.Side_SIDE_DST, remote, local,
			nil, c
	}
	ev := proto.Clone(pod).(*event.Event)
	ev.Time, ev.Kind = 1_800_000_000e9, &event.Event_Flow{Flow: half}
	return ev
}

// raw encodes a flow of workload 1 that has only sent. It is much faster than of.
func (f flowEvent) raw() []byte {
	bytes := func(b []byte, field protowire.Number, v string) []byte {
		return protowire.AppendString(protowire.AppendTag(b, field, protowire.BytesType), v)
	}
	number := func(b []byte, field protowire.Number, v uint64) []byte {
		return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), v)
	}
	half := number(number(nil, flowProtocol, 1), flowPhase, uint64(f.phase))
	half = bytes(half, flowDst, string(bytes(nil, endAddress, f.peer)))
	half = number(number(half, flowObserved, 1), flowCookie, f.cookie)
	half = bytes(half, flowSrcCounters, string(number(nil, counterBytesSent, f.sent)))
	half = protowire.AppendFixed64(protowire.AppendTag(half, flowStartTime, protowire.Fixed64Type), f.start)
	ev := bytes(nil, eventFlow, string(half))
	ev = bytes(bytes(ev, eventNamespace, "shop"), eventPod, "web-1-x")
	return bytes(bytes(ev, eventPodUID, "uid-1"), eventWorkload, "deploy/web-1")
}

const (
	opened  = event.Phase_PHASE_NEW
	updated = event.Phase_PHASE_UPDATE
	ended   = event.Phase_PHASE_CLOSED
)

func TestTable_CountsFlowsByDifferences(t *testing.T) {
	k := newKit(t, Options{})
	pod := workload(1)
	k.pods(true, pod)
	udp := event.Protocol_PROTOCOL_UDP
	k.observe(
		flowEvent{cookie: 1, start: 1, phase: opened}.of(pod),
		flowEvent{cookie: 1, start: 1, phase: updated, sent: 1000, received: 100, srtt: 500}.of(pod),
		flowEvent{cookie: 1, start: 1, phase: updated, sent: 1500, received: 100, srtt: 700}.of(pod),
		flowEvent{cookie: 1, start: 1, phase: ended, sent: 2000, received: 300}.of(pod),
		// An update that comes late counts nothing twice.
		flowEvent{cookie: 1, start: 1, phase: updated, sent: 1500, received: 100}.of(pod),
		// Over when it was first seen.
		flowEvent{cookie: 2, start: 2, phase: ended, sent: 10}.of(pod),
		// Older than the agent: what was before does not count.
		flowEvent{cookie: 3, phase: updated, sent: 1e9, received: 1e9}.of(pod),
		flowEvent{cookie: 3, phase: updated, sent: 1e9 + 7, received: 1e9}.of(pod),
		// One UDP socket with two peers, of which one begins anew.
		flowEvent{cookie: 4, start: 1, phase: opened, protocol: udp, sent: 100}.of(pod),
		flowEvent{cookie: 4, start: 1, phase: opened, protocol: udp, sent: 200, peer: "\x08\x08\x08\x08"}.of(pod),
		flowEvent{cookie: 4, start: 1, phase: ended, protocol: udp, sent: 100}.of(pod),
		flowEvent{cookie: 4, start: 9, phase: opened, protocol: udp, sent: 50}.of(pod),
		// The kernel subtracts what it drops late.
		flowEvent{cookie: 4, start: 9, phase: updated, protocol: udp, sent: 40}.of(pod),
		flowEvent{cookie: 4, start: 9, phase: updated, protocol: udp, sent: 60}.of(pod),
	)
	got := k.scrape()
	const public = "namespace=shop,peer=public,protocol=udp,role=client,workload=deploy/web-1"
	const rtt = "namespace=shop,role=client,workload=deploy/web-1"
	const tcp, labels = "namespace=shop,peer=private,protocol=tcp,role=client,workload=deploy/web-1",
		"namespace=shop,peer=private,protocol=udp,role=client,workload=deploy/web-1"
	for key, want := range map[string]float64{
		"orb8_network_sent_bytes_total{" + tcp + "}":      2000 + 10 + 7,
		"orb8_network_received_bytes_total{" + tcp + "}":  300,
		"orb8_network_flows_opened_total{" + tcp + "}":    2,
		"orb8_network_flows_closed_total{" + tcp + "}":    2,
		"orb8_network_flows_open{" + tcp + "}":            1,
		"orb8_network_sent_bytes_total{" + labels + "}":   160,
		"orb8_network_flows_opened_total{" + labels + "}": 2,
		"orb8_network_flows_open{" + labels + "}":         1,
		"orb8_events_total{kind=flow}":                    14,
		"orb8_tcp_rtt_seconds{" + rtt + "}":               2,
		"orb8_network_sent_bytes_total{" + public + "}":   200,
	} {
		if v, ok := got[key]; !ok || v != want {
			t.Errorf("%s is %v (%v), want %v", key, v, ok, want)
		}
	}
}

// After the probes were attached anew, all but TCP counts from zero.
func TestTable_CountsOnInAnotherObservation(t *testing.T) {
	k := newKit(t, Options{})
	pod := workload(1)
	k.pods(true, pod)
	udp := event.Protocol_PROTOCOL_UDP
	drop := func(packets uint64) *event.Event {
		ev := proto.Clone(pod).(*event.Event)
		ev.Kind = &event.Event_Drop{Drop: &event.Drop{Id: "d", Packets: packets, Reason: "NO_SOCKET"}}
		return ev
	}
	k.observe(flowEvent{cookie: 1, start: 1, sent: 1000, phase: updated}.of(pod),
		flowEvent{cookie: 2, start: 1, sent: 1000, phase: updated, protocol: udp}.of(pod), drop(5), drop(7))
	k.observe(&event.Event{Kind: &event.Event_NodeStatus{NodeStatus: &event.NodeStatus{
		State: event.NodeState_NODE_STATE_RECONNECTING}}})
	k.observe(flowEvent{cookie: 1, sent: 1700, phase: updated}.of(pod),
		flowEvent{cookie: 2, start: 5, sent: 3000, phase: updated, protocol: udp}.of(pod), drop(9))
	got := k.scrape()
	if v := sum(got, "orb8_network_sent_bytes_total"); v != 1700+4000 {
		t.Errorf("%v bytes sent, want 5700", v)
	}
	if v := sum(got, "orb8_drops_packets_total"); v != 7+9 {
		t.Errorf("%v packets dropped, want 16", v)
	}
}

// The sums over two nodes are the ground truth, whatever happens at each.
func TestTable_SumsAreGroundTruth(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	nodes := [2]*kit{newKit(t, Options{}), newKit(t, Options{PeerAddresses: true, TopPeers: 3})}
	pods := [2]*event.Event{workload(1), workload(2)}
	for i, k := range nodes {
		k.pods(true, pods[i])
	}
	var truth [2]uint64 // that each has sent
	type conn struct {
		cookie uint64
		sent   [2]uint64
	}
	var open []*conn
	for step := range 5_000 {
		phase := updated
		var c *conn
		if len(open) == 0 || random.IntN(10) == 0 {
			c = &conn{cookie: uint64(step + 1)}
			open, phase = append(open, c), opened
		} else {
			i := random.IntN(len(open))
			c = open[i]
			for side := range c.sent {
				n := random.Uint64N(10_000)
				c.sent[side] += n
				truth[side] += n
			}
			if random.IntN(10) == 0 {
				open, phase = append(open[:i], open[i+1:]...), ended
			}
		}
		for i, k := range nodes {
			if phase == updated && random.IntN(3) == 0 {
				continue // the next event has it
			}
			peer := string([]byte{10, 1, 0, byte(c.cookie)})
			k.observe(flowEvent{cookie: c.cookie, start: c.cookie, phase: phase, server: i == 1, peer: peer,
				sent: c.sent[i], received: c.sent[1-i]}.of(pods[i]))
		}
	}
	for _, c := range open {
		for i, k := range nodes {
			k.observe(flowEvent{cookie: c.cookie, start: c.cookie, phase: ended, server: i == 1, sent: c.sent[i],
				received: c.sent[1-i]}.of(pods[i]))
		}
	}
	var sent, received float64
	for i, k := range nodes {
		got := k.scrape()
		sent += sum(got, "orb8_network_sent_bytes_total")
		received += sum(got, "orb8_network_received_bytes_total")
		if v := sum(got, "orb8_network_sent_bytes_total"); v != float64(truth[i]) {
			t.Errorf("node %d has sent %v, want %d", i, v, truth[i])
		}
		if v := sum(got, "orb8_network_flows_open"); v != 0 {
			t.Errorf("%v flows are open, want none", v)
		}
	}
	if want := float64(truth[0] + truth[1]); sent != want || received != want {
		t.Errorf("sent %v, received %v, want %v", sent, received, want)
	}
}

// 5,000 pods come and go, some 30 at a time: series, objects and heap stay as they are.
func TestTable_ChurnLeavesNothing(t *testing.T) {
	k := newKit(t, Options{Pods: true, PeerAddresses: true})
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	type size struct {
		series, flows, tracked, pods, owners int
		heap                                 uint64
	}
	sizes := map[int]size{}
	const lives = 30
	for n := range 5000 {
		pod := workload(n)
		k.pods(false, pod)
		for i := range uint64(20) {
			cookie := uint64(n)*100 + i
			k.observe(flowEvent{cookie: cookie, start: cookie, phase: opened, srtt: 100, sent: 1000,
				peer: string([]byte{10, byte(n >> 8), byte(n), byte(i)})}.of(pod))
			if i%2 == 0 {
				k.observe(flowEvent{cookie: cookie, start: cookie, phase: ended, sent: 2000}.of(pod))
			}
		}
		usage := proto.Clone(pod).(*event.Event)
		usage.Kind = &event.Event_Resources{Resources: &event.Resources{Id: pod.PodUid,
			Memory: &event.ResourcesMemory{Bytes: new(uint64(1000))}}}
		k.observe(usage)
		if n >= lives {
			k.ApplyPods(&session.PodUpdate{DeleteUids: []string{fmt.Sprintf("uid-%d", n-lives)}})
		}
		k.clock = k.clock.Add(2 * time.Second)
		if n == 999 || n == 4999 {
			k.scrape()
			sizes[n] = size{k.series, len(k.flows.all), len(k.Table.tracked), len(k.Table.pods.byUID),
				len(k.Table.pods.owners),
				heap()}
		}
	}
	before, after := sizes[999], sizes[4999]
	t.Logf("after 1,000 pods %+v, after 5,000 %+v", before, after)
	near := func(what string, a, b, slack int) {
		if b > a+slack {
			t.Errorf("%s: %d, then %d", what, a, b)
		}
	}
	near("series", before.series, after.series, before.series/10)
	near("flows", before.flows, after.flows, before.flows/10)
	near("tracked", before.tracked, after.tracked, before.tracked/10)
	near("pods", before.pods, after.pods, 0)
	near("owners", before.owners, after.owners, before.owners/10)
	near("heap", int(before.heap), int(after.heap), 1<<20)
	k.ApplyPods(&session.PodUpdate{Complete: true})
	k.clock = k.clock.Add(3 * time.Minute)
	got := k.scrape()
	if n := sum(got, "orb8_network_sent_bytes_total"); n != 0 && k.of[famNetwork].rows > 1 {
		t.Errorf("series stay after their pods: %d rows", k.of[famNetwork].rows)
	}
	if len(k.flows.all) != 0 || len(k.Table.tracked) != 0 || len(k.Table.pods.owners) != 0 {
		t.Errorf("%d flows, %d objects, %d owners are left", len(k.flows.all), len(k.Table.tracked),
			len(k.Table.pods.owners))
	}
}

func TestTable_SeriesLiveAsLongAsTheirPod(t *testing.T) {
	k := newKit(t, Options{})
	pod := workload(1)
	k.pods(true, pod)
	k.observe(flowEvent{cookie: 1, start: 1, phase: ended, sent: 1000}.of(pod))
	k.clock = k.clock.Add(time.Hour)
	if v := sum(k.scrape(), "orb8_network_sent_bytes_total"); v != 1000 {
		t.Errorf("%v bytes after an hour without traffic, want 1000", v)
	}
	k.pods(true)
	k.clock = k.clock.Add(50 * time.Second)
	if v := sum(k.scrape(), "orb8_network_sent_bytes_total"); v != 1000 {
		t.Errorf("%v bytes 50 s after the pod, want 1000", v)
	}
	k.clock = k.clock.Add(20 * time.Second)
	if v := sum(k.scrape(), "orb8_network_sent_bytes_total"); v != 0 {
		t.Errorf("%v bytes 70 s after the pod, want none", v)
	}
}

// created returns when the counters and histograms with a name began.
func (k *kit) created(name string) (all []time.Time) {
	k.Helper()
	gathered, err := k.registry.Gather()
	if err != nil {
		k.Fatal(err)
	}
	for _, f := range gathered {
		for _, m := range f.GetMetric() {
			began := m.GetCounter().GetCreatedTimestamp()
			if m.GetHistogram() != nil {
				began = m.GetHistogram().GetCreatedTimestamp()
			}
			if f.GetName() == name {
				all = append(all, began.AsTime())
			}
		}
	}
	return all
}

// TestTable_CreationTimes holds that a series which ends and comes again begins anew.
func TestTable_CreationTimes(t *testing.T) {
	k := newKit(t, Options{})
	k.status = Status{Started: uint64(time.Unix(7, 0).UnixNano()), ProgramsLoaded: uint64(time.Unix(8, 0).UnixNano()),
		ProgramsTimed: true, Programs: []Program{{Probe: "dns", Name: "egress", Runs: 1}}}
	query := workload(1)
	query.Kind = &event.Event_Dns{Dns: &event.Dns{Outcome: event.DnsOutcome_DNS_OUTCOME_ANSWERED,
		LatencyMicros: new(uint64(9))}}
	k.pods(true, query)
	began := k.clock
	k.observe(query)
	k.clock = k.clock.Add(30 * time.Second)
	k.observe(query)
	for name, want := range map[string]time.Time{"orb8_dns_queries_total": began, "orb8_dns_latency_seconds": began,
		"process_cpu_seconds_total": time.Unix(7, 0), "orb8_bpf_program_runs_total": time.Unix(8, 0)} {
		if got := k.created(name); len(got) != 1 || !got[0].Equal(want) {
			t.Errorf("%s began %v, want %v", name, got, want)
		}
	}
	k.pods(true)
	k.clock = k.clock.Add(2 * seriesLife)
	if got := k.created("orb8_dns_queries_total"); len(got) != 0 {
		t.Fatalf("the series lives: %v", got)
	}
	k.observe(query)
	if got := k.created("orb8_dns_queries_total"); len(got) != 1 || !got[0].Equal(k.clock) {
		t.Errorf("the new series began %v, want %v", got, k.clock)
	}
}

// 100 K distinct peers take as many series as the options allow, and each byte is counted.
func TestTable_BoundsPeers(t *testing.T) {
	k := newKit(t, Options{PeerAddresses: true, MaxSeries: 2000})
	pod := workload(1)
	k.pods(true, pod)
	for n := range 100_000 {
		k.Observe([][]byte{flowEvent{cookie: uint64(n + 1), start: uint64(n + 1), phase: ended, sent: 10,
			peer: string([]byte{11, byte(n >> 16), byte(n >> 8), byte(n)})}.raw()})
	}
	got := k.scrape()
	if n := k.of[famNetwork].rows; n > DefaultTopPeers+1 {
		t.Errorf("%d rows, want %d peers and the others", n, DefaultTopPeers)
	}
	if v := sum(got, "orb8_network_sent_bytes_total"); v != 1_000_000 {
		t.Errorf("%v bytes, want all", v)
	}
	if v := sum(got, "orb8_metrics_folded_total"); v != 100_000-DefaultTopPeers {
		t.Errorf("%v events folded, want %d", v, 100_000-DefaultTopPeers)
	}
	if v := k.series; v > 2000 {
		t.Errorf("%d series, want at most 2000", v)
	}
}

// The workloads with the most traffic have series of their own, also where they came last.
func TestTable_MostTrafficHasItsOwnSeries(t *testing.T) {
	k := newKit(t, Options{MaxSeries: 2 * 9 * 20})
	for n := range 100 {
		k.pods(false, workload(n))
	}
	total := 0.
	for round := range 60 {
		for n := range 100 {
			sent := uint64(1)
			if n >= 95 {
				sent = 1_000_000
			}
			cookie := uint64(n*1000 + round + 1)
			k.observe(flowEvent{cookie: cookie, start: cookie, phase: ended, sent: sent}.of(workload(n)))
			total += float64(sent)
		}
		k.clock = k.clock.Add(10 * time.Second)
	}
	got := k.scrape()
	for n := 95; n < 100; n++ {
		key := fmt.Sprintf("orb8_network_sent_bytes_total{namespace=shop,peer=private,protocol=tcp,role=client,"+
			"workload=deploy/web-%d}", n)
		if got[key] == 0 {
			t.Errorf("%s has no series of its own", key)
		}
	}
	if k.of[famNetwork].series > k.share()+9 {
		t.Errorf("%d series, want at most %d", k.of[famNetwork].series, k.share())
	}
}

func TestTable_HostileLabels(t *testing.T) {
	k := newKit(t, Options{Pods: true})
	for i, name := range []string{"\xff\xfe", "a\x00b", strings.Repeat("ä", 300), strings.Repeat("x", 100_000),
		"\"}\n", "__name__", "", strings.Repeat("\xff", 1000), "other"} {
		// protobuf refuses strings that are not UTF-8, so they are put in by hand.
		ev := encode(t, flowEvent{cookie: uint64(i + 1), start: 1, phase: ended, sent: 1}.of(&event.Event{PodUid: "u"}))
		for _, field := range []byte{eventNamespace, eventPod, eventWorkload} {
			ev = append(ev, field<<3|2)
			n := len(name)
			for n >= 0x80 {
				ev = append(ev, byte(n)|0x80)
				n >>= 7
			}
			ev = append(append(ev, byte(n)), name...)
		}
		k.Observe([][]byte{ev})
	}
	if v := sum(k.scrape(), "orb8_network_sent_bytes_total"); v != 9 {
		t.Errorf("%v bytes, want 9", v)
	}
	for key := range k.scrape() {
		if len(key) > 4*maxLabelBytes {
			t.Errorf("a label of %d bytes", len(key))
		}
	}
}

// No label is one that Prometheus reserves or sets itself.
func TestFamilies_NamesFollowConventions(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range families {
		for _, l := range f.labels {
			if strings.HasPrefix(l, "__") || l == "le" || l == "quantile" || l == "job" || l == "instance" {
				t.Errorf("%s has the reserved label %s", f.name, l)
			}
		}
		if f.name == "" || len(f.metrics) == 0 || len(f.metrics) > 64 {
			t.Errorf("%q: no name, no metric, or too many", f.name)
		}
		for _, m := range f.metrics {
			if seen[m.name] {
				t.Errorf("%s is there twice", m.name)
			}
			seen[m.name] = true
			if f.compat {
				continue
			}
			if total := strings.HasSuffix(m.name, "_total"); total != (m.kind == counter) {
				t.Errorf("%s is a %s", m.name, m.kind)
			}
			if m.help == "" || !strings.HasSuffix(m.help, ".") {
				t.Errorf("%s: help %q", m.name, m.help)
			}
		}
	}
}

func TestTable_MoreFlowsThanItFollows(t *testing.T) {
	k := newKit(t, Options{})
	pod := workload(1)
	k.pods(true, pod)
	const extra = 1000
	for n := range uint64(maxFlows + extra) {
		k.Observe([][]byte{flowEvent{cookie: n + 1, start: n + 1, phase: opened, sent: 1}.raw()})
	}
	for n := range uint64(maxFlows + extra) {
		k.Observe([][]byte{flowEvent{cookie: n + 1, start: n + 1, phase: ended, sent: 10}.raw()})
	}
	got := k.scrape()
	if v := sum(got, "orb8_network_sent_bytes_total"); v != 10*(maxFlows+extra) {
		t.Errorf("%v bytes, want %d", v, 10*(maxFlows+extra))
	}
	if v := sum(got, "orb8_metrics_untracked_total"); v != extra {
		t.Errorf("%v events of flows that are not followed, want %d", v, extra)
	}
	if v := sum(got, "orb8_network_flows_open"); v != 0 {
		t.Errorf("%v flows open, want none", v)
	}
}

// batch is a second of traffic: updates of flows of some workloads.
func batch(tb testing.TB, flows, workloads int, sent uint64) (all [][]byte) {
	for n := range flows {
		all = append(all, encode(tb, flowEvent{cookie: uint64(n + 1), start: uint64(n + 1), phase: updated, srtt: 300,
			sent: sent + uint64(n), received: sent, server: n%2 == 0}.of(workload(n%workloads))))
	}
	return all
}

func BenchmarkTable_Observe(b *testing.B) {
	for _, flows := range []int{100, 10_000} {
		b.Run(fmt.Sprint(flows), func(b *testing.B) {
			k := newKit(b, Options{})
			batches := [][][]byte{batch(b, flows, 50, 1000), batch(b, flows, 50, 2000)}
			k.Observe(batches[0])
			b.ReportAllocs()
			b.ResetTimer()
			for i := 0; i < b.N; i += flows {
				k.Observe(batches[i/flows%2])
			}
		})
	}
}

// Counting allocates nothing where the flows are known.
func TestTable_ObserveAllocatesNothing(t *testing.T) {
	k := newKit(t, Options{})
	batches := [][][]byte{batch(t, 100, 10, 1000), batch(t, 100, 10, 2000)}
	k.Observe(batches[0])
	n := 0
	if allocated := testing.AllocsPerRun(100, func() { n++; k.Observe(batches[n%2]) }); allocated > 0 {
		t.Errorf("%v allocations for 100 events, want none", allocated)
	}
}

// BenchmarkScrape_10KSeries is a scrape as Prometheus makes it: the answer is encoded, and compressed.
func BenchmarkScrape_10KSeries(b *testing.B) {
	for name, accept := range map[string]string{
		"text":     "text/plain;version=0.0.4",
		"protobuf": "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
	} {
		b.Run(name, func(b *testing.B) {
			handler := promhttp.HandlerFor(tenThousand(b), promhttp.HandlerOpts{})
			r := httptest.NewRequestWithContext(b.Context(), http.MethodGet, "/metrics", nil)
			r.Header.Set("Accept", accept)
			r.Header.Set("Accept-Encoding", "gzip")
			bytes := 0
			b.ReportAllocs()
			for b.Loop() {
				w := httptest.NewRecorder()
				if handler.ServeHTTP(w, r); w.Code != http.StatusOK {
					b.Fatal(w.Code)
				}
				bytes = w.Body.Len()
			}
			b.ReportMetric(float64(bytes), "bytes")
		})
	}
}

// tenThousand gathers 10 K series.
func tenThousand(b *testing.B) prometheus.Gatherer {
	b.Helper()
	k := newKit(b, Options{MaxSeries: 30_000})
	for n := 0; k.series < 10_000; n++ {
		pod := workload(n)
		for i := range uint64(8) {
			k.observe(flowEvent{cookie: uint64(n)*8 + i + 1, start: 1, phase: updated, sent: 1000, received: 100,
				srtt:   300,
				server: i%2 == 0, protocol: event.Protocol(1 + i/4)}.of(pod))
		}
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(NewCollector(k.Table, func() Status { return Status{} }, nil))
	return registry
}

func BenchmarkCollector_10KSeries(b *testing.B) {
	registry := tenThousand(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := registry.Gather(); err != nil {
			b.Fatal(err)
		}
	}
}
