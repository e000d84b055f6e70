package model

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/orb8-dev/kubectl-orb8/event"
)

func n32(n uint32) *uint32     { return &n }
func n64(n uint64) *uint64     { return &n }
func float(f float64) *float64 { return &f }

// look is one look at a GPU, a second after the one before.
func gpuLook(node, uuid string, index uint32, percent *uint32, sm *float64, own uint32, users string) *event.Event {
	return &event.Event{Node: node, Kind: &event.Event_Gpu{Gpu: &event.Gpu{
		What: event.GpuWhat_GPU_WHAT_DEVICE, Gpu: &event.GpuDevice{Uuid: uuid, Index: &index, Name: "H100"}, PeriodMicros: n64(1e6),
		Memory:    &event.GpuMemory{TotalBytes: n64(80), UsedBytes: n64(uint64(10 * own))},
		Activity:  &event.GpuActivity{GpuPercent: percent, SmPercent: sm},
		Health:    &event.GpuHealth{PowerMilliwatts: n32(100), TemperatureCelsius: n32(40 + index), Throttle: "power-cap"},
		Processes: n32(own), OwnProcesses: n32(own), UsedBy: users,
	}}}
}

func TestGPUsAreMeansAndSumsAndWhatIsNotKnownIsNull(t *testing.T) {
	start := time.Unix(1000, 0)
	m := New(TopicByName("gpu"), Options{Started: start})
	for second := range 10 {
		at := start.Add(time.Duration(second) * time.Second)
		m.Add(gpuLook("a", "0", 0, n32(uint32(second%2*100)), float(20), 1, "ml/train/main"), at)
		m.Add(&event.Event{Node: "a", Namespace: "ml", Pod: "train", Workload: "job/train", Kind: &event.Event_Gpu{Gpu: &event.Gpu{
			What: event.GpuWhat_GPU_WHAT_PROCESS, Gpu: &event.GpuDevice{Uuid: "0"}, Proc: &event.GpuProcess{Pid: 1},
		}}}, at)
		m.Add(gpuLook("a", "1", 1, n32(0), nil, 1, "ml/train/main"), at)
		m.Add(gpuLook("b", "2", 0, nil, nil, 0, ""), at)
	}
	m.Add(&event.Event{Node: "b", Kind: &event.Event_Gpu{Gpu: &event.Gpu{What: event.GpuWhat_GPU_WHAT_UNAVAILABLE}}}, start)
	now := start.Add(9500 * time.Millisecond)
	rows := func(group string) (list []*event.GpuTop) {
		t.Helper()
		table := m.Rows(Query{Group: m.Topic().GroupByName(group), Window: 10 * time.Second, Sort: m.Topic().Row.Column("gpuPercent"), Descending: true}, now)
		for _, r := range table.Rows {
			r.Event.GetGpuTop().WindowMicros = 0
			list = append(list, r.Event.GetGpuTop())
		}
		return list
	}
	one := &event.GpuTop{
		Group: "gpu", Name: "a/0", Workload: "job/train", Uuid: "0", Model: "H100", UsedBy: "ml/train/main", Gpus: 1, Processes: n64(1), OwnProcesses: n64(1),
		GpuPercent: float(50), SmPercent: float(20), MemoryUsedBytes: n64(10), MemoryTotalBytes: n64(80), PowerMilliwatts: n64(100), TemperatureCelsius: n64(40), Throttle: "power-cap",
	}
	idle := &event.GpuTop{
		Group: "gpu", Name: "a/1", Workload: "job/train", Uuid: "1", Model: "H100", UsedBy: "ml/train/main", Gpus: 1, Processes: n64(1), OwnProcesses: n64(1),
		GpuPercent: float(0), MemoryUsedBytes: n64(10), MemoryTotalBytes: n64(80), PowerMilliwatts: n64(100), TemperatureCelsius: n64(41), Throttle: "power-cap", IdleMicros: n64(9.5e6),
	}
	free := &event.GpuTop{
		Group: "gpu", Name: "b/0", Uuid: "2", Workload: freeGPU, Model: "H100", Gpus: 1, Processes: n64(0), OwnProcesses: n64(0),
		MemoryUsedBytes: n64(0), MemoryTotalBytes: n64(80), PowerMilliwatts: n64(100), TemperatureCelsius: n64(40), Throttle: "power-cap",
	}
	if diff := cmp.Diff([]*event.GpuTop{one, idle, free}, rows("gpu"), protocmp.Transform(), cmpopts.EquateApprox(0, 1e-3)); diff != "" {
		t.Errorf("by gpu, -want +got:\n%s", diff)
	}
	both := &event.GpuTop{
		Group: "workload", Name: "job/train", Workload: "job/train", Model: "H100", UsedBy: "ml/train/main", Gpus: 2, Processes: n64(2), OwnProcesses: n64(2),
		GpuPercent: float(25), SmPercent: float(20), MemoryUsedBytes: n64(20), MemoryTotalBytes: n64(160), PowerMilliwatts: n64(200), TemperatureCelsius: n64(41), Throttle: "power-cap", IdleMicros: n64(9.5e6),
	}
	free.Group, free.Name = "workload", freeGPU
	if diff := cmp.Diff([]*event.GpuTop{both, free}, rows("workload"), protocmp.Transform(), cmpopts.EquateApprox(0, 1e-3)); diff != "" {
		t.Errorf("by workload, -want +got:\n%s", diff)
	}
	// The driver loses one: it is no row any more once the window has gone by.
	m.Add(&event.Event{Node: "b", Kind: &event.Event_Gpu{Gpu: &event.Gpu{What: event.GpuWhat_GPU_WHAT_LOST, Gpu: &event.GpuDevice{Uuid: "2"}}}}, now)
	if got := rows("node"); len(got) != 1 || got[0].GetName() != "a" || got[0].GetMemoryTotalBytes() != 160 {
		t.Errorf("%v", got)
	}
}

func TestAGPUThatIsSplitIsCountedByItsParts(t *testing.T) {
	start := time.Unix(1000, 0)
	m := New(TopicByName("gpu"), Options{Started: start})
	whole := gpuLook("a", "0", 0, n32(0), nil, 0, "")
	part := gpuLook("a", "MIG", 3, nil, float(50), 1, "ml/train/main")
	part.GetGpu().GetGpu().Parent, part.GetGpu().GetGpu().ParentIndex = "0", n32(0)
	part.GetGpu().Memory.TotalBytes = n64(30)
	for range 2 {
		m.Add(whole, start)
		m.Add(part, start)
	}
	at := start.Add(time.Second)
	byNode := m.Rows(Query{Group: m.Topic().GroupByName("node"), Window: 10 * time.Second}, at).Rows
	if g := byNode[0].Event.GetGpuTop(); len(byNode) != 1 || g.GetMemoryTotalBytes() != 30 || g.GetGpus() != 1 {
		t.Errorf("%v", byNode[0].Event)
	}
	for _, r := range m.Rows(Query{Window: 10 * time.Second}, at).Rows {
		want := map[string]uint64{"a/0": 80, "a/0.3": 30}[r.Event.GetGpuTop().GetName()]
		if r.Event.GetGpuTop().GetMemoryTotalBytes() != want {
			t.Errorf("%v, want %d", r.Event, want)
		}
	}
}

// TestACourseOfGPUsCountsEachOnceHoweverItsLooksFall has looks that fall beside the seconds, and looks that are seconds apart.
func TestACourseOfGPUsCountsEachOnceHoweverItsLooksFall(t *testing.T) {
	start := time.Unix(2000, 0)
	for name, test := range map[string]struct {
		period time.Duration
		at     []time.Duration
	}{
		"beside the seconds":  {1100 * time.Millisecond, []time.Duration{900 * time.Millisecond, 2050 * time.Millisecond, 2990 * time.Millisecond, 4100 * time.Millisecond, 5 * time.Second, 6 * time.Second, 7 * time.Second}},
		"three seconds apart": {3 * time.Second, []time.Duration{2500 * time.Millisecond, 5500 * time.Millisecond}},
	} {
		m := New(TopicByName("gpu"), Options{Started: start})
		for _, at := range test.at {
			for _, uuid := range []string{"0", "1"} {
				ev := gpuLook("a", uuid, 0, n32(50), nil, 0, "")
				ev.GetGpu().PeriodMicros = n64(uint64(test.period.Microseconds()))
				m.Add(ev, start.Add(at))
			}
		}
		series := m.Detail(Query{Group: m.Topic().GroupByName("gpu")}, start.Add(6*time.Second)).Series
		if want := []float64{1, 1, 1, 1, 1, 1}; !slices.Equal(series[0], want) {
			t.Errorf("%s: two GPUs, half busy, %v, want %v", name, series[0], want)
		}
		for _, p := range series[1] {
			if !math.IsNaN(p) {
				t.Errorf("%s: SM was never known, and is %v", name, series[1])
				break
			}
		}
		if late := m.Detail(Query{Group: m.Topic().GroupByName("gpu")}, start.Add(12*time.Second)).Series[0]; len(late) != 12 || !math.IsNaN(late[11]) {
			t.Errorf("%s: nothing is known of the last seconds, and it is %v", name, late)
		}
	}
}
