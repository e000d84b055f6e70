package history

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// traffic makes the flow events of a node: an update of each flow every second, with counters that grow, and flows that
// end and begin.
type traffic struct {
	random  *rand.Rand
	pods    []*event.Event
	flows   []*event.Event
	second  uint64
	replace float64 // of the flows, those that end in a second
}

const trafficStart = 1_790_000_000_000_000_000

func newTraffic(pods, flows int, replace float64) *traffic {
	t := &traffic{random: rand.New(rand.NewPCG(1, 2)), replace: replace}
	namespaces := []string{"shop", "payments", "kube-system", "monitoring", "ingress-nginx", "team-a-staging"}
	apps := []string{"web-frontend", "checkout", "cart-service", "redis-leader", "prometheus-server", "coredns", "api"}
	for i := range pods {
		app := apps[i%len(apps)]
		t.pods = append(t.pods, &event.Event{
			Node: "ip-10-0-17-42.eu-central-1.compute.internal", Namespace: namespaces[i%len(namespaces)],
			Pod: fmt.Sprintf("%s-%08x%02x-%05x", app, t.random.Uint32(), i, t.random.IntN(1<<20)),
			PodUid: fmt.Sprintf("%08x-%04x-4%03x-a%03x-%012x", t.random.Uint32(), t.random.IntN(1<<16),
				t.random.IntN(1<<12), t.random.IntN(1<<12), t.random.Int64N(1<<48)),
			Container: app, Workload: "deploy/" + app,
		})
	}
	for range flows {
		t.flows = append(t.flows, t.flow())
	}
	return t
}

func (t *traffic) flow() *event.Event {
	ev := proto.CloneOf(t.pods[t.random.IntN(len(t.pods))])
	at := trafficStart + t.second*1e9 - t.random.Uint64N(1e9)
	local := &event.Endpoint{Address: []byte{10, 0, 17, byte(len(ev.Pod) + int(ev.PodUid[0]))},
		Port: uint32(32768 + t.random.IntN(28232)), Pid: uint32(1000 + t.random.IntN(64)), Comm: ev.Container}
	remote := &event.Endpoint{Address: []byte{10, 0, byte(t.random.IntN(20)), byte(t.random.IntN(100))},
		Port: []uint32{443, 80, 8080, 5432, 6379}[t.random.IntN(5)]}
	srtt, retransmits := uint32(0), uint64(0)
	f := &event.Flow{
		Protocol: event.Protocol_PROTOCOL_TCP, Phase: event.Phase_PHASE_NEW,
		State: event.TCPState_TCP_STATE_ESTABLISHED, Src: local, Dst: remote, Observed: event.Side_SIDE_SRC,
		StartTime: at, LastTime: at,
		SrcIsn: t.random.Uint32(), DstIsn: t.random.Uint32(), IsnValid: true, RoleKnown: true,
		SocketCookie: t.random.Uint64N(1 << 22),
	}
	c := &event.Counters{SrttMicros: &srtt, Retransmits: &retransmits}
	if f.SrcCounters = c; t.random.IntN(2) == 0 {
		f.Src, f.Dst, f.Observed = remote, local, event.Side_SIDE_DST
		f.SrcCounters, f.DstCounters = nil, c
	}
	ev.Kind = &event.Event_Flow{Flow: f}
	return ev
}

// round returns the encoded events of a second.
func (t *traffic) round(tb testing.TB) (events [][]byte) {
	t.second++
	now := trafficStart + t.second*1e9
	for i, ev := range t.flows {
		now += 1000 + t.random.Uint64N(3000)
		f := ev.GetFlow()
		c := f.GetSrcCounters()
		if c == nil {
			c = f.GetDstCounters()
		}
		requests := 1 + t.random.Uint64N(20)
		c.BytesSent += requests * (100 + t.random.Uint64N(400))
		c.BytesReceived += requests * (200 + t.random.Uint64N(4000))
		c.PacketsSent += requests * 2
		c.PacketsReceived += requests*2 + t.random.Uint64N(3)
		*c.SrttMicros = uint32(200 + t.random.IntN(300))
		if t.random.IntN(50) == 0 {
			*c.Retransmits++
		}
		ev.Time = now
		f.LastTime = (now - t.random.Uint64N(1e9)) / 4e6 * 4e6 // of a clock with ticks
		end := t.random.Float64() < t.replace
		if end {
			f.Phase, f.State = event.Phase_PHASE_CLOSED, event.TCPState_TCP_STATE_CLOSE
		}
		b, err := proto.Marshal(ev)
		if err != nil {
			tb.Fatal(err)
		}
		events = append(events, b)
		if f.Phase = event.Phase_PHASE_UPDATE; end {
			t.flows[i] = t.flow()
		}
	}
	return events
}

// BenchmarkRolling_Append appends the flow events of a node. The time is that of appending and sealing.
func BenchmarkRolling_Append(b *testing.B) {
	for _, test := range []struct {
		name        string
		flows, pods int
		replace     float64
	}{
		{"500 flows", 500, 30, 0.02}, {"5000 flows", 5000, 100, 0.02}, {"5000 short flows", 5000, 100, 0.5},
	} {
		b.Run(test.name, func(b *testing.B) {
			t := newTraffic(test.pods, test.flows, test.replace)
			var batches [][][]byte
			var events, raw int
			for events < 120_000 {
				batch := t.round(b)
				batches = append(batches, batch)
				for _, ev := range batch {
					raw += len(ev)
				}
				events += len(batch)
			}
			r, err := OpenRolling(RollingOptions{})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			n, used := 0, cpuTime(b)
			for b.Loop() {
				if n == len(batches) {
					n = 0
				}
				r.Append(batches[n])
				n++
			}
			b.StopTimer()
			s := r.Status()
			per := float64(events) / float64(len(batches))
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/per, "ns/event")
			b.ReportMetric(float64((cpuTime(b)-used).Nanoseconds())/float64(b.N)/per, "cpu-ns/event")
			b.ReportMetric(float64(s.Bytes)/float64(s.Events), "B/event")
			b.ReportMetric(float64(raw)/float64(events), "protobuf-B/event")
			if err := r.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// BenchmarkRolling_Query queries a history that is full of flow events.
func BenchmarkRolling_Query(b *testing.B) {
	t := newTraffic(100, 5000, 0.02)
	r, err := OpenRolling(RollingOptions{})
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := r.Close(); err != nil {
			b.Error(err)
		}
	}()
	for range 60 {
		r.Append(t.round(b))
	}
	pod := t.pods[7].Pod
	for _, test := range []struct {
		name string
		s    Selection
	}{
		{"newest 1000", Selection{Newest: 1000}},
		{"10 s of a pod", Selection{Since: trafficStart + 30e9, Until: trafficStart + 40e9,
			Match: func(n Names) bool { return string(n.Pod) == pod }}},
		{"all", Selection{}},
		{"last states", Selection{LastStates: true}},
		{"no such pod", Selection{Match: func(n Names) bool { return string(n.Pod) == "x" }}},
	} {
		b.Run(test.name, func(b *testing.B) {
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				n = 0
				if _, err := r.Query(b.Context(), test.s, func([]byte) error { n++; return nil }); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(n), "events")
			if n > 0 {
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/event")
			}
		})
	}
}
