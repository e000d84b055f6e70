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

// deviceSample is a sample of a GPU that covers one second.
func deviceSample(
	node, uuid string, index uint32, percent *uint32, sm *float64, own uint32, users string,
) *event.Event {
	return &event.Event{Node: node, Kind: &event.Event_Gpu{Gpu: &event.Gpu{
		Type: event.GpuEventType_GPU_EVENT_TYPE_DEVICE, Gpu: &event.GpuDevice{Uuid: uuid, Index: &index, Name: "H100"},
		PeriodMicros: n64(1e6),
		Memory:       &event.GpuMemory{TotalBytes: n64(80), UsedBytes: n64(uint64(10 * own))},
		Activity:     &event.GpuActivity{GpuPercent: percent, SmPercent: sm},
		Health: &event.GpuHealth{
			PowerMilliwatts: n32(100), TemperatureCelsius: n32(40 + index), Throttle: "power-cap",
		},
		Processes: n32(own), OwnProcesses: n32(own), UsedBy: users,
	}}}
}

func TestGPURows_MeansSumsAndNulls(t *testing.T) {
	start := time.Unix(1000, 0)
	m := New(TopicByName("gpu"), Options{Started: start})
	for second := range 10 {
		at := start.Add(time.Duration(second) * time.Second)
		m.Add(deviceSample("a", "0", 0, n32(uint32(second%2*100)), float(20), 1, "ml/train/main"), at)
		m.Add(&event.Event{Node: "a", Namespace: "ml", Pod: "train", Workload: "job/train",
			Kind: &event.Event_Gpu{Gpu: &event.Gpu{
				Type: event.GpuEventType_GPU_EVENT_TYPE_PROCESS, Gpu: &event.GpuDevice{Uuid: "0"},
				Proc: &event.GpuProcess{Pid: 1},
			}}}, at)
		m.Add(deviceSample("a", "1", 1, n32(0), nil, 1, "ml/train/main"), at)
		m.Add(deviceSample("b", "2", 0, nil, nil, 0, ""), at)
	}
	m.Add(&event.Event{
		Node: "b", Kind: &event.Event_Gpu{Gpu: &event.Gpu{Type: event.GpuEventType_GPU_EVENT_TYPE_UNAVAILABLE}},
	}, start)
	now := start.Add(9500 * time.Millisecond)
	at := now
	rows := func(group string) (list []*event.GpuTop) {
		t.Helper()
		table := m.Rows(Query{
			Group: m.Topic().GroupByName(group), Window: 10 * time.Second, Sort: m.Topic().Row.Column("gpuPercent"),
			Descending: true,
		}, at)
		for _, r := range table.Rows {
			r.Event.GetGpuTop().WindowMicros = 0
			list = append(list, r.Event.GetGpuTop())
		}
		return list
	}
	one := &event.GpuTop{
		Group: "gpu", Name: "a/0", Workload: "job/train", Uuid: "0", Model: "H100", UsedBy: "ml/train/main", Gpus: 1,
		Processes: n64(1), OwnProcesses: n64(1),
		GpuPercent: float(50), SmPercent: float(20), MemoryUsedBytes: n64(10), MemoryTotalBytes: n64(80),
		PowerMilliwatts: n64(100), TemperatureCelsius: n64(40), Throttle: "power-cap",
	}
	idle := &event.GpuTop{
		Group: "gpu", Name: "a/1", Workload: "job/train", Uuid: "1", Model: "H100", UsedBy: "ml/train/main", Gpus: 1,
		Processes: n64(1), OwnProcesses: n64(1),
		GpuPercent: float(0), MemoryUsedBytes: n64(10), MemoryTotalBytes: n64(80), PowerMilliwatts: n64(100),
		TemperatureCelsius: n64(41), Throttle: "power-cap", IdleMicros: n64(9.5e6),
	}
	free := &event.GpuTop{
		Group: "gpu", Name: "b/0", Uuid: "2", Workload: freeGPU, Model: "H100", Gpus: 1, Processes: n64(0),
		OwnProcesses:    n64(0),
		MemoryUsedBytes: n64(0), MemoryTotalBytes: n64(80), PowerMilliwatts: n64(100), TemperatureCelsius: n64(40),
		Throttle: "power-cap",
	}
	if diff := cmp.Diff(
		[]*event.GpuTop{one, idle, free}, rows("gpu"), protocmp.Transform(), cmpopts.EquateApprox(0, 1e-3),
	); diff != "" {
		t.Errorf("by gpu, -want +got:\n%s", diff)
	}
	both := &event.GpuTop{
		Group: "workload", Name: "job/train", Workload: "job/train", Model: "H100", UsedBy: "ml/train/main", Gpus: 2,
		Processes: n64(2), OwnProcesses: n64(2),
		GpuPercent: float(25), SmPercent: float(20), MemoryUsedBytes: n64(20), MemoryTotalBytes: n64(160),
		PowerMilliwatts: n64(200), TemperatureCelsius: n64(41), Throttle: "power-cap", IdleMicros: n64(9.5e6),
	}
	free.Group, free.Name = "workload", freeGPU
	if diff := cmp.Diff(
		[]*event.GpuTop{both, free}, rows("workload"), protocmp.Transform(), cmpopts.EquateApprox(0, 1e-3),
	); diff != "" {
		t.Errorf("by workload, -want +got:\n%s", diff)
	}
	// The driver loses one: it is no row any more once the window has gone by.
	m.Add(&event.Event{
		Node: "b",
		Kind: &event.Event_Gpu{Gpu: &event.Gpu{Type: event.GpuEventType_GPU_EVENT_TYPE_LOST,
			Gpu: &event.GpuDevice{Uuid: "2"}}},
	}, now)
	at = now.Add(11 * time.Second)
	if got := rows("node"); len(got) != 1 || got[0].GetName() != "a" || got[0].GetMemoryTotalBytes() != 160 {
		t.Errorf("%v", got)
	}
}

func TestGPURows_CountMIGDevices(t *testing.T) {
	start := time.Unix(1000, 0)
	m := New(TopicByName("gpu"), Options{Started: start})
	whole := deviceSample("a", "0", 0, n32(0), nil, 0, "")
	part := deviceSample("a", "MIG", 3, nil, float(50), 1, "ml/train/main")
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

// TestGPUSeries_CountsEachDeviceOnce has samples out of step with the seconds, and samples that are seconds apart.
func TestGPUSeries_CountsEachDeviceOnce(t *testing.T) {
	start := time.Unix(2000, 0)
	for name, test := range map[string]struct {
		period time.Duration
		at     []time.Duration
	}{
		"beside the seconds": {
			1100 * time.Millisecond,
			[]time.Duration{
				900 * time.Millisecond, 2050 * time.Millisecond, 2990 * time.Millisecond, 4100 * time.Millisecond,
				5 * time.Second, 6 * time.Second, 7 * time.Second,
			},
		},
		"three seconds apart": {3 * time.Second, []time.Duration{2500 * time.Millisecond, 5500 * time.Millisecond}},
	} {
		m := New(TopicByName("gpu"), Options{Started: start})
		for _, at := range test.at {
			for _, uuid := range []string{"0", "1"} {
				ev := deviceSample("a", uuid, 0, n32(50), nil, 0, "")
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
		if late := m.Detail(Query{
			Group: m.Topic().GroupByName("gpu"),
		}, start.Add(12*time.Second)).Series[0]; len(late) != 12 || !math.IsNaN(late[11]) {
			t.Errorf("%s: nothing is known of the last seconds, and it is %v", name, late)
		}
	}
}

// processSample is a sample of a process on a GPU that covers one second.
func processSample(pod string, pid uint32, gpu string, index uint32, memory *uint64, sm *uint32) *event.Event {
	return &event.Event{Node: "a", Namespace: "ml", Pod: pod, Container: "main", Workload: "job/" +
		pod, Kind: &event.Event_Gpu{Gpu: &event.Gpu{
		Type: event.GpuEventType_GPU_EVENT_TYPE_PROCESS, Gpu: &event.GpuDevice{Uuid: gpu, Index: &index, Name: "H100"},
		PeriodMicros: n64(1e6),
		Proc:         &event.GpuProcess{Pid: pid, Comm: []byte("python"), MemoryBytes: memory, SmPercent: sm},
	}}}
}

func callsSample(pod string, pid uint32, at, since time.Time, c *event.GpuCalls) *event.Event {
	c.Since = uint64(since.UnixNano())
	return &event.Event{Time: uint64(at.UnixNano()), Node: "a", Namespace: "ml", Pod: pod, Container: "main",
		Workload: "job/" + pod, Kind: &event.Event_Gpu{Gpu: &event.Gpu{
			Type: event.GpuEventType_GPU_EVENT_TYPE_CALLS, Proc: &event.GpuProcess{Pid: pid, Comm: []byte("python")},
			Calls: c,
		}}}
}

func TestGPUProcesses_AreRowsAndSharesOfGPUs(t *testing.T) {
	start := time.Unix(1000, 0)
	m := New(TopicByName("gpu"), Options{Started: start})
	at := start
	for second := range uint64(10) {
		at = start.Add(time.Duration(second+1) * time.Second)
		m.Add(deviceSample("a", "0", 0, n32(50), nil, 2, "ml/serve/main,ml/train/main"), at)
		m.Add(deviceSample("a", "1", 1, n32(50), nil, 1, "ml/train/main"), at)
		m.Add(processSample("train", 7, "0", 0, n64(100), n32(30)), at)
		m.Add(processSample("train", 7, "1", 1, n64(50), n32(50)), at)
		m.Add(processSample("serve", 8, "0", 0, nil, nil), at)
		m.Add(callsSample("train", 7, at, start, &event.GpuCalls{
			Launches: n64(500 * (second + 1)), GraphLaunches: n64(100 * (second + 1)),
			HostToDeviceBytes: n64(3000 * (second + 1)), OtherBytes: n64(1000 * (second + 1)),
			SyncMicros: n64(250_000 * (second + 1)),
		}), at)
		m.Add(callsSample("serve", 8, at, start, &event.GpuCalls{
			HostToDeviceBytes: n64(10 * (second + 1)), SyncMicros: n64(0),
		}), at)
	}
	rows := func(group string, at time.Time) map[string]*event.GpuTop {
		t.Helper()
		all := map[string]*event.GpuTop{}
		for _, r := range m.Rows(Query{Group: m.Topic().GroupByName(group), Window: 0}, at).Rows {
			all[r.Event.GetGpuTop().GetName()] = r.Event.GetGpuTop()
		}
		return all
	}
	want := map[string]*event.GpuTop{
		"python(7)": {
			Group: "process", Name: "python(7)", WindowMicros: 10e6, Workload: "job/train", Model: "H100", Gpus: 2,
			GpuPercent: float(40), MemoryUsedBytes: n64(150),
			LaunchesPerSecond: float(600), CopiedBytesPerSecond: float(4000), SyncPercent: float(25), Pid: 7,
			Comm: []byte("python"),
		},
		"python(8)": {
			Group: "process", Name: "python(8)", WindowMicros: 10e6, Workload: "job/serve", Model: "H100", Uuid: "0",
			Gpus:                 1,
			CopiedBytesPerSecond: float(10), SyncPercent: float(0), Pid: 8, Comm: []byte("python"),
		},
	}
	if diff := cmp.Diff(want, rows("process", at), protocmp.Transform(), cmpopts.EquateApprox(0, 1e-3)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	// What a process does on several GPUs is no one's of them; what launches of one are not known, all of a row are
	// not.
	gpus := rows("gpu", at)
	if g := gpus["a/0"]; g.LaunchesPerSecond != nil || g.GetCopiedBytesPerSecond() != 10 || g.GetGpus() != 1 {
		t.Errorf("%v", g)
	}
	if g := gpus["a/1"]; g.CopiedBytesPerSecond != nil || g.GetMemoryTotalBytes() != 80 {
		t.Errorf("%v", g)
	}
	if g := rows("workload", at)["job/train"]; g.GetLaunchesPerSecond() != 600 || g.GetGpus() != 1 {
		t.Errorf("%v", g)
	}
	// A process series one device, then the other, and another takes its number.
	ended := func(gpu string) {
		ev := processSample("train", 7, gpu, 0, nil, nil)
		ev.GetGpu().Type = event.GpuEventType_GPU_EVENT_TYPE_ENDED
		m.Add(ev, at)
	}
	ended("0")
	if p := rows("process", at)["python(7)"]; p.GetMemoryUsedBytes() != 50 || p.GetUuid() != "1" {
		t.Errorf("%v", p)
	}
	ended("1")
	m.Mark(at)
	if p := rows("process", at)["python(7)"]; p != nil {
		t.Errorf("it has ended, and is %v", p)
	}
	m.Add(callsSample("train", 7, at.Add(time.Second), at.Add(time.Microsecond), &event.GpuCalls{
		Launches: n64(40), SyncMicros: n64(1),
	}), at.Add(time.Second))
	if p := rows("process", at.Add(time.Second))["python(7)"]; p.GetLaunchesPerSecond() != 40 {
		t.Errorf("%v", p)
	}
	// Nothing is heard of the other one any more.
	if p := rows("process", at.Add(20*time.Second))["python(8)"]; p != nil {
		t.Errorf("it is silent for 20 s, and is %v", p)
	}
	if d := m.Detail(Query{
		Within: []Within{
			{
				Group: m.Topic().GroupByName("process"),
				Key:   m.Rows(Query{Group: m.Topic().GroupByName("process")}, at.Add(time.Second)).Rows[0].Key,
			},
		},
	}, at.Add(2*time.Second)); len(d.Series) != 4 {
		t.Errorf("a process has the lines %v", d.Series)
	}
}

func TestGPUSeries_KeepsUnits(t *testing.T) {
	start := time.Unix(1000, 0)
	m := New(TopicByName("gpu"), Options{Started: start})
	for second := range 6 {
		for _, uuid := range []string{"0", "1"} {
			ev := deviceSample("a", uuid, 0, n32(50), nil, 0, "")
			g := ev.GetGpu()
			g.Memory.UsedBytes, g.Health.PowerMilliwatts = n64(40<<30), n32(350_000)
			g.Activity.PcieSentPerSecond = n64(1 << 20)
			m.Add(ev, start.Add(time.Duration(second)*time.Second+500*time.Millisecond))
		}
	}
	series := m.Detail(Query{Group: m.Topic().GroupByName("gpu")}, start.Add(6*time.Second)).Series
	for i, line := range m.Topic().Lines {
		want, known := map[string]float64{"busy": 1, "memory": 80 << 30, "power": 700, "PCIe out": 2 << 20}[line.Name]
		last := series[i][len(series[i])-1]
		if known && math.Abs(last-want) > want/1e6 || !known && !math.IsNaN(last) {
			t.Errorf("%s is %v, want %v, %v", line.Name, last, want, known)
		}
	}
}
