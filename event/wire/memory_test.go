package wire

import (
	"runtime"
	"testing"
	"unsafe"

	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/event"
)

func TestDecoder_EventsShareNames(t *testing.T) {
	var d Decoder
	b := encode(t, flow())
	first, _ := d.Decode(b)
	second, err := d.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	if unsafe.StringData(first.Pod) != unsafe.StringData(second.Pod) {
		t.Error("each event has its own copy of the name of its pod")
	}
	if unsafe.StringData(first.GetFlow().Src.Comm) != unsafe.StringData(second.GetFlow().Src.Comm) {
		t.Error("each event has its own copy of a command")
	}
	if &first.GetFlow().Src.Address[0] == &second.GetFlow().Src.Address[0] {
		t.Error("two events share an address, which may be changed")
	}
}

func TestDecoder_Allocations(t *testing.T) {
	for _, k := range benchmarked() {
		limit := map[string]float64{"flow": 2, "dns": 4, "exec": 5, "resources": 4}[k.name]
		var d Decoder
		encoded := encode(t, k.ev)
		for range 2000 { // until the table of names is large enough
			_, _ = d.Decode(encoded)
		}
		if n := testing.AllocsPerRun(100, func() { _, _ = d.Decode(encoded) }); n > limit {
			t.Errorf("%s: %v allocations, want %v", k.name, n, limit)
		}
	}
}

// TestDecoder_HoldsLessThanProto compares the memory of decoded events that are kept.
func TestDecoder_HoldsLessThanProto(t *testing.T) {
	const events = 500
	for _, k := range benchmarked() {
		encoded := encode(t, k.ev)
		byProto := heldBy(events, func() *event.Event {
			ev := &event.Event{}
			_ = proto.Unmarshal(encoded, ev)
			return ev
		})
		var d Decoder
		held := heldBy(events, func() *event.Event {
			ev, _ := d.Decode(encoded)
			return ev
		})
		t.Logf("%s: %d bytes, by package proto %d", k.name, held, byProto)
		if held > byProto {
			t.Errorf("%s: %d bytes, by package proto %d", k.name, held, byProto)
		}
	}
}

// heldBy returns the memory of an event of n that are held, bytes.
func heldBy(n int, decode func() *event.Event) int {
	held := make([]*event.Event, n)
	before := heap()
	for i := range held {
		held[i] = decode()
	}
	after := heap()
	runtime.KeepAlive(held)
	return int(after-before) / n
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// benchmarked are events as tracers send them.
func benchmarked() []struct {
	name string
	ev   *event.Event
} {
	named := func(ev *event.Event) *event.Event {
		half := flow()
		ev.Time, ev.Node, ev.Namespace, ev.Pod = half.Time, half.Node, half.Namespace, half.Pod
		ev.Container, ev.PodUid, ev.Workload = half.Container, half.PodUid, half.Workload
		return ev
	}
	number := proto.Uint64
	return []struct {
		name string
		ev   *event.Event
	}{
		{"flow", flow()},
		{"dns", named(&event.Event{Kind: &event.Event_Dns{Dns: &event.Dns{
			Protocol: event.Protocol_PROTOCOL_UDP, Observed: event.Side_SIDE_SRC,
			Src:  &event.Endpoint{Address: []byte{10, 0, 0, 1}, Port: 40000, Comm: "curl", Pid: 4711},
			Dst:  &event.Endpoint{Address: []byte{10, 96, 0, 10}, Port: 53},
			Name: "db.demo.svc.cluster.local.", Type: "A", Outcome: event.DnsOutcome_DNS_OUTCOME_ANSWERED,
			Rcode: "NOERROR", Answers: "10.96.17.4", AnswerCount: proto.Uint32(1), LatencyMicros: number(700),
			Attempts: 1, Truncated: proto.Bool(false), QueryId: proto.Uint32(4711),
		}}})},
		{"exec", named(&event.Event{Kind: &event.Event_Exec{Exec: &event.Exec{
			Phase: event.ExecPhase_EXEC_PHASE_EXEC, Pid: 4711, ContainerPid: 12, Ppid: 4700, Uid: proto.Uint32(1000),
			Comm: []byte("curl"), ParentComm: []byte("sh"), Filename: []byte("/usr/bin/curl"),
			Args: []byte("curl\x00-s\x00http://db:8080/health\x00"), ArgsTruncated: proto.Bool(false),
			Cwd: []byte("/srv/app"),
		}}})},
		{"resources", named(&event.Event{Kind: &event.Event_Resources{Resources: &event.Resources{
			Id: "5ecc7d4e", IntervalMicros: number(1_000_000),
			Cpu: &event.ResourcesCPU{Micros: number(1 << 30), Millis: number(250), LimitMillis: number(500),
				Periods: number(1 << 20), ThrottledPeriods: number(77), ThrottledMicros: number(1 << 20),
				ThrottledPercent: number(3)},
			RunQueue: &event.ResourcesRunQueue{Runs: number(1 << 20), DelayMicros: number(1 << 30),
				P50Nanos: number(2000), P95Nanos: number(90_000), P99Nanos: number(1 << 20)},
			Locks: &event.ResourcesLocks{WaitedMicros: number(1 << 20), Waiters: proto.Float64(0.25)},
			Memory: &event.ResourcesMemory{Bytes: number(1 << 30), WorkingSetBytes: number(1 << 29),
				LimitBytes: number(1 << 31), Percent: number(25), PeakBytes: number(1 << 30), OomKills: number(0)},
			Pressure: &event.ResourcesPressure{CpuSomeMicros: number(1 << 20), CpuSomePercent: number(1),
				MemorySomeMicros: number(0), MemorySomePercent: number(0), MemoryFullMicros: number(0),
				MemoryFullPercent: number(0), IoSomeMicros: number(1 << 18), IoSomePercent: number(0),
				IoFullMicros: number(1 << 17), IoFullPercent: number(0)},
			Io: &event.ResourcesIO{ReadRequests: number(1 << 16), ReadBytes: number(1 << 31),
				WriteRequests: number(1 << 15), WriteBytes: number(1 << 30)},
		}}})},
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, k := range benchmarked() {
		encoded := encode(b, k.ev)
		b.Run(k.name+"/wire", func(b *testing.B) {
			var d Decoder
			b.ReportAllocs()
			for b.Loop() {
				if _, err := d.Decode(encoded); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(k.name+"/proto", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := proto.Unmarshal(encoded, &event.Event{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
