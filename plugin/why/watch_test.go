package why_test

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/plugin/why"
	"github.com/orb8-dev/kubectl-orb8/plugin/why/internal/scenario"
)

const begin = uint64(1_790_000_000_000_000_000)

func resources(at uint64, pod, id string, r *event.Resources) *event.Event {
	r.Id = id
	return &event.Event{
		Time:      at,
		Node:      "n",
		Namespace: "a",
		Pod:       pod,
		Container: "c",
		Kind:      &event.Event_Resources{Resources: r},
	}
}

func process(at uint64, pod string, pid uint32, uuid string) *event.Event {
	return &event.Event{
		Time:      at,
		Node:      "n",
		Namespace: "a",
		Pod:       pod,
		Container: "c",
		Kind: &event.Event_Gpu{Gpu: &event.Gpu{
			Type:         event.GpuEventType_GPU_EVENT_TYPE_PROCESS,
			Gpu:          &event.GpuDevice{Uuid: uuid},
			Proc:         &event.GpuProcess{Pid: pid, MemoryBytes: proto.Uint64(1000)},
			PeriodMicros: proto.Uint64(1e6),
		}},
	}
}

// device is a sample of the GPU "G".
func device(at uint64, util float64) *event.Event {
	return &event.Event{Time: at, Node: "n", Kind: &event.Event_Gpu{Gpu: &event.Gpu{
		Type:         event.GpuEventType_GPU_EVENT_TYPE_DEVICE,
		Gpu:          &event.GpuDevice{Uuid: "G"},
		Activity:     &event.GpuActivity{GpuPercent: proto.Uint32(uint32(100 * util))},
		PeriodMicros: proto.Uint64(1e6),
	}}}
}

func flowOf(at uint64, id string, received, started uint64, phase event.Phase) *event.Event {
	return &event.Event{Time: at, Node: "n", Namespace: "a", Pod: "p", Kind: &event.Event_Flow{Flow: &event.Flow{
		Id:          id,
		Phase:       phase,
		StartTime:   started,
		Src:         &event.Endpoint{Namespace: "a", Pod: "p"},
		Dst:         &event.Endpoint{Address: []byte{1, 2, 3, 4}},
		SrcCounters: &event.Counters{BytesReceived: received},
	}}}
}

func only(t *testing.T, w *why.Watch) *event.GpuVerdict {
	t.Helper()
	rows := w.Verdicts()
	if len(rows) != 1 {
		t.Fatalf("%d verdicts, want one", len(rows))
	}
	return rows[0].GetGpuVerdict()
}

func near(got *float64, want float64) bool {
	return got != nil && math.Abs(*got-want) <= 0.02*want+1e-9
}

func TestWatch_RatesCoverOnlyTheWindow(t *testing.T) {
	const s = uint64(1e9)
	w := why.New(10e9)
	// What came before the window: counters that stand at something.
	w.Add(flowOf(begin-s, "old", 1e9, 0, event.Phase_PHASE_UPDATE))
	for i := range uint64(11) {
		at := begin + i*s
		w.Add(process(at, "p", 7, "G"))
		w.Add(device(at, 0.5))
		w.Add(flowOf(at, "old", 1e9+i*1000, 0, event.Phase_PHASE_UPDATE))
		if i > 0 { // one that is new, and closed, each second
			w.Add(flowOf(at, fmt.Sprint(i), 5000, at-s/2, event.Phase_PHASE_CLOSED))
		}
		w.Add(
			resources(
				at,
				"p",
				"x",
				&event.Resources{
					IntervalMicros: proto.Uint64(1e6),
					Cpu:            &event.ResourcesCPU{Millis: proto.Uint64(250)},
					RunQueue:       &event.ResourcesRunQueue{DelayMicros: proto.Uint64(i * 500_000)},
				},
			),
		)
	}
	w.Restart()
	for i := uint64(11); i < 21; i++ {
		at := begin + i*s
		w.Add(process(at, "p", 7, "G"))
		w.Add(device(at, 0.5))
		w.Add(flowOf(at, "old", 1e9+i*1000, 0, event.Phase_PHASE_UPDATE))
		w.Add(flowOf(at, fmt.Sprint(i), 5000, at-s/2, event.Phase_PHASE_CLOSED))
		w.Add(
			resources(
				at,
				"p",
				"x",
				&event.Resources{
					IntervalMicros: proto.Uint64(1e6),
					Cpu:            &event.ResourcesCPU{Millis: proto.Uint64(250)},
					RunQueue:       &event.ResourcesRunQueue{DelayMicros: proto.Uint64(i * 500_000)},
				},
			),
		)
	}
	e := only(t, w).GetEvidence()
	if !near(e.NetworkReceivedPerSecond, 6000) || !near(e.CpuMillis, 250) || !near(e.RunQueue, 0.5) ||
		!near(e.GpuPercent, 50) ||
		e.LaunchesPerSecond != nil ||
		e.SmPercent != nil {
		t.Errorf("%v", e)
	}
}

func TestWatch_IgnoresImpossibleValues(t *testing.T) {
	const s = uint64(1e9)
	w := why.New(10e9)
	calls := func(at, launches, since uint64) *event.Event {
		ev := process(at, "p", 7, "G")
		ev.Kind = &event.Event_Gpu{
			Gpu: &event.Gpu{
				Type:  event.GpuEventType_GPU_EVENT_TYPE_CALLS,
				Proc:  &event.GpuProcess{Pid: 7},
				Calls: &event.GpuCalls{Launches: &launches, Since: since},
			},
		}
		return ev
	}
	nan, inf, huge := math.NaN(), math.Inf(1), uint64(math.MaxUint64)
	for i := range uint64(10) {
		at := begin + i*s
		w.Add(process(at, "p", 7, "G"))
		w.Add(device(at, 1))
		w.Add(&event.Event{Time: at, Node: "n", Kind: &event.Event_Gpu{Gpu: &event.Gpu{
			Type:         event.GpuEventType_GPU_EVENT_TYPE_DEVICE,
			Gpu:          &event.GpuDevice{Uuid: "G"},
			PeriodMicros: &huge,
			Activity: &event.GpuActivity{
				SmPercent:         &nan,
				TensorPercent:     &inf,
				DramPercent:       proto.Float64(-5),
				PcieSentPerSecond: &huge,
			},
		}}})
		w.Add(calls(at, 1000*i, 1))
		w.Add(calls(at-5*s, 1, 1))        // time goes back
		w.Add(calls(at+s/2, 0, 1))        // the counter goes back
		w.Add(calls(at+s/2+1, huge, i+2)) // another counting begins
		w.Add(
			resources(
				at,
				"p",
				"x",
				&event.Resources{
					IntervalMicros: &huge,
					Cpu:            &event.ResourcesCPU{Millis: &huge, LimitMillis: &huge},
					RunQueue:       &event.ResourcesRunQueue{DelayMicros: &huge},
				},
			),
		)
		w.Add(flowOf(huge, "f", huge, 1, event.Phase_PHASE_UPDATE))
	}
	ev := w.Verdicts()[0]
	e := ev.GetGpuVerdict().GetEvidence()
	if e.SmPercent != nil || e.TensorPercent != nil || e.DramPercent != nil || e.PcieSentPerSecond != nil {
		t.Errorf("%v", e)
	}
	check(t, ev)
}

func TestWatch_ReportsZeroReceivedBytes(t *testing.T) {
	for _, traced := range []bool{false, true} {
		w := why.New(10e9)
		if traced {
			w.Observe("flow")
		}
		for i := range uint64(10) {
			w.Add(process(begin+i*1e9, "p", 7, "G"))
			w.Add(device(begin+i*1e9, 0.5))
		}
		if got := only(t, w).GetEvidence().NetworkReceivedPerSecond; traced != (got != nil) || got != nil && *got != 0 {
			t.Errorf("flows traced: %v, received: %v", traced, got)
		}
	}
}

func TestMemoryIsBounded(t *testing.T) {
	w := why.New(time.Hour)
	for i := range 20_000 {
		name := fmt.Sprint(i)
		w.Add(process(begin, "p"+name, uint32(i+1), "G"+name))
		w.Add(resources(begin, "p"+name, name, &event.Resources{}))
		w.Add(flowOf(begin, name, 1, 0, event.Phase_PHASE_UPDATE))
	}
	if !w.Full() {
		t.Error("20,000 pods with a GPU each are no more than there is room for")
	}
	if n := len(w.Verdicts()); n == 0 || n > 2048 {
		t.Errorf("%d verdicts", n)
	}
}

func TestWatch_AbandonsUnusedAllocation(t *testing.T) {
	w := why.New(10e9)
	for i := range uint64(10) {
		ev := device(begin+i*1e9, 0)
		ev.GetGpu().Allocated, ev.GetGpu().AllocatedTo = proto.Uint32(1), "a/waster/c"
		w.Add(ev)
		w.Add(resources(begin+i*1e9, "plain", "y", &event.Resources{}))
	}
	if v := only(t, w); v.GetVerdict() != event.GpuCause_GPU_CAUSE_ABANDONED || v.GetGpus() != 1 {
		t.Errorf("%v", v)
	}
	if got := w.Without(); len(got) != 1 || got[0] != "a/plain" {
		t.Errorf("without a GPU are %v", got)
	}
	if got := w.Nodes(); len(got) != 1 || got[0].Devices != 1 {
		t.Errorf("%v", got)
	}
}

// check holds an event against what every verdict must be.
func check(t *testing.T, ev *event.Event) {
	t.Helper()
	line := event.AppendJSON(nil, ev)
	if !json.Valid(line) {
		t.Fatalf("no JSON: %s", line)
	}
	why.AppendText(nil, ev, "a")
	s := ev.GetGpuVerdict().GetShares()
	if s == nil {
		return
	}
	sum := 0.0
	for c := range scenario.Causes {
		x := s.Of(event.GpuCause(c))
		if !(x >= 0 && x <= 100.01) {
			t.Fatalf("%s has %v%%: %s", event.GpuCause(c).Word(), x, line)
		}
		sum += x
	}
	if sum < 99.9 || sum > 100.1 {
		t.Fatalf("shares come to %v%%: %s", sum, line)
	}
}

func FuzzWatch(f *testing.F) {
	for seed := range uint64(12) {
		var in []byte
		events := scenario.Generate(seed).Events
		for i, ev := range events {
			if i < 8 || len(events)-i < 8 { // small ones are tried more often
				b, err := proto.Marshal(ev)
				if err != nil {
					f.Fatal(err)
				}
				in = append(binary.AppendUvarint(in, uint64(len(b))), b...)
			}
		}
		f.Add(in)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		w := why.New(30e9)
		for n := 0; len(in) > 0 && n < 2000; n++ {
			size, used := binary.Uvarint(in)
			if used <= 0 || size > uint64(len(in)-used) {
				break
			}
			ev := &event.Event{}
			if proto.Unmarshal(in[used:used+int(size)], ev) == nil {
				w.Add(ev)
			}
			in = in[used+int(size):]
			if n == 500 {
				w.Restart()
			}
		}
		for _, ev := range w.Verdicts() {
			check(t, ev)
		}
		w.Nodes()
		w.Without()
	})
}

func TestWatch_GrowingWindowEqualsFixed(t *testing.T) {
	const s = uint64(1e9)
	for _, length := range []uint64{30, 60, 61, 601, 7000} {
		fixed, grown := why.New(time.Duration(length*s)), why.New(0)
		for _, w := range []*why.Watch{fixed, grown} {
			for i := range length {
				at := begin + i*s
				share := 0.9
				if i > length/2 {
					share = 0.2
				}
				w.Add(process(at, "p", 7, "G"))
				w.Add(device(at, share))
				w.Add(flowOf(at, "f", i*5e6, 0, event.Phase_PHASE_UPDATE))
				w.Add(
					resources(
						at,
						"p",
						"x",
						&event.Resources{
							IntervalMicros: proto.Uint64(1e6),
							Cpu:            &event.ResourcesCPU{Millis: proto.Uint64(250)},
						},
					),
				)
			}
		}
		a, b := only(t, fixed), only(t, grown)
		if a.GetVerdict() != b.GetVerdict() || a.GetConfidence() != b.GetConfidence() ||
			a.GetWindowMicros() != b.GetWindowMicros() ||
			b.GetWindowMicros() != (length-1)*1e6 {
			t.Errorf("%d s: %v, %v", length, a, b)
		}
		for _, x := range [][2]*float64{
			{a.GetEvidence().GpuPercent, b.GetEvidence().GpuPercent},
			{a.GetEvidence().NetworkReceivedPerSecond, b.GetEvidence().NetworkReceivedPerSecond},
			{a.GetEvidence().CpuMillis, b.GetEvidence().CpuMillis},
			{&a.GetShares().Compute, &b.GetShares().Compute}, {&a.GetShares().Network, &b.GetShares().Network},
		} {
			// Slots are not of one length: what goes on at the borders differs.
			if x[0] == nil || x[1] == nil || math.Abs(*x[0]-*x[1]) > 0.05*max(*x[0], *x[1], 10) {
				t.Errorf("%d s: %v, %v", length, a, b)
				break
			}
		}
	}
	// A time that cannot be takes nothing away.
	w := why.New(0)
	for i := range uint64(20) {
		w.Add(process(begin+i*s, "p", 7, "G"))
		w.Add(device(begin+i*s, 0.9))
	}
	w.Add(device(begin+48*3600*s, 0.1))
	if v := only(t, w); v.GetShares().GetCompute() < 80 {
		t.Errorf("%v", v)
	}
}
