package why

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/plugin/why/engine"
)

// with makes signals of a GPU that is idle for a share of the time: those given, and healthy ones.
func with(idle float64, signals map[signal]float64) signalVector {
	v := unknownVector()
	for _, none := range []signal{
		sigUnderused, sigSmall, sigGaps, sigMostGaps, sigSeveral, sigHidden, sigShared, sigCopyTime, sigBus, sigCPUHeld,
		sigCPUPressure, sigLoaders, sigIOPressure, sigStalled, sigReceived, sigThrottled, sigSync,
	} {
		v[none] = 0
	}
	v[sigIdle], v[sigBusy], v[sigWork] = idle, 1-idle, 1-idle
	v[sigCounted], v[sigMeasured], v[sigGPM], v[sigDRAM], v[sigTensor] = 1, 1, 1, 0.2, 0.5
	for s, x := range signals {
		v[s] = x
	}
	return v
}

// split divides a slot by rules.
func split(rules []rule, v *signalVector) []float64 {
	shares := make([]float64, causeCount)
	newRuleTable(rules).Split(v[:], shares)
	return shares
}

// TestRules_HoldWithinTheirThresholds checks each rule at both ends of each of its thresholds.
func TestRules_HoldWithinTheirThresholds(t *testing.T) {
	for i := range rules {
		r := &rules[i]
		t.Run(fmt.Sprintf("%d %s of %s", i, r.Cause.Word(), partNames[r.Part]), func(t *testing.T) {
			if r.Part == ofWindow {
				if r.When == "" || r.Conditions != nil {
					t.Error("a rule of the whole window has a text and no conditions")
				}
				return
			}
			m := unknownVector()
			for _, c := range r.Conditions {
				m[c.Signal] = c.To
			}
			if got := r.Share(m[:]); got < 0.999 {
				t.Errorf("with all conditions it takes %v", got)
			}
			any := 0
			for _, c := range r.Conditions {
				if c.Any {
					any++
				}
			}
			for _, c := range r.Conditions {
				n := m
				n[c.Signal] = c.From
				got := r.Share(n[:])
				if c.Any && any > 1 {
					if got < 0.999 {
						t.Errorf("without %s, where another will do, it takes %v", signalDocs[c.Signal].name, got)
					}
					continue
				}
				if got > 0.001 {
					t.Errorf("without %s it takes %v", signalDocs[c.Signal].name, got)
				}
			}
			for _, c := range r.Conditions {
				if c.Any {
					m[c.Signal] = c.From
				}
			}
			if got := r.Share(m[:]); any > 0 && got > 0.001 {
				t.Errorf("with none of those of which one would do, it takes %v", got)
			}
		})
	}
}

// TestRules_CauseOfTypicalSignals checks the cause of the signals that the rules' words describe.
func TestRules_CauseOfTypicalSignals(t *testing.T) {
	for name, test := range map[string]struct {
		m      signalVector
		first  event.GpuCause
		second event.GpuCause
	}{
		"bytes come and CPUs rest": {
			with(0.7, map[signal]float64{sigReceived: 80e6}), network, compute,
		},
		"tasks stall on a disk": {
			with(0.7, map[signal]float64{sigIOPressure: 0.9, sigStalled: 0.7}), storage, compute,
		},
		"a CPU limit is used up": {
			with(0.7, map[signal]float64{sigCPUHeld: 0.9, sigReceived: 80e6}), cpu, compute,
		},
		"loaders keep CPUs busy": {
			with(0.7, map[signal]float64{sigLoaders: 3}), cpu, compute,
		},
		"tasks queue for CPUs": {
			with(0.7, map[signal]float64{sigCPUPressure: 0.8}), cpu, compute,
		},
		"copies take the time": {
			with(0.7, map[signal]float64{sigCopyTime: 0.95, sigBus: 20e9}), copying, compute,
		},
		"no cause is seen": {with(0.7, nil), unknown, compute},
		"small kernels with gaps": {
			with(0.5, map[signal]float64{
				sigWork: 0.05, sigUnderused: 0.45, sigSmall: 1, sigGaps: 0.99, sigMostGaps: 1,
			}),
			launching,
			compute,
		},
		"kernels that run on few SMs, of several GPUs": {
			with(0, map[signal]float64{sigWork: 0.1, sigUnderused: 0.9, sigSeveral: 1}), collective, compute,
		},
		"kernels that run on few SMs, of one GPU, and no launches": {
			with(0, map[signal]float64{sigWork: 0.4, sigUnderused: 0.6}), compute, unknown,
		},
		"threads in synchronisation, of several MIG devices": {
			with(0.9, map[signal]float64{sigHidden: 1, sigSeveral: 1, sigSync: 0.95, sigMeasured: nan}), collective,
			compute,
		},
		"clocks that are kept down": {
			with(0, map[signal]float64{sigThrottled: 1}), throttle, unknown,
		},
		"memory that is busy": {
			with(0, map[signal]float64{sigDRAM: 0.85, sigTensor: 0.05}), memory, unknown,
		},
		"tensor cores that are busy": {with(0, nil), compute, unknown},
		"input that waits, then half of the time work": {
			with(0.5, map[signal]float64{sigReceived: 80e6}), network, compute,
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := split(rules, &test.m)
			sum := 0.0
			for _, x := range s {
				sum += x
			}
			order := engine.Rank[event.GpuCause](s)
			if order[0] != test.first && s[order[0]] > s[test.first] || sum < 0.999 || sum > 1.001 {
				t.Errorf("%v, want %s first; together %v", s, test.first.Word(), sum)
			}
			if test.second != unknown && order[1] != test.second && s[order[0]] < 0.999 &&
				s[order[1]] > s[test.second]+1e-9 {
				t.Errorf("%v, want %s second", s, test.second.Word())
			}
		})
	}
}

// TestRuleTable_HasNoLimit adds rules beyond the table's: none of them takes time from the others, or gets lost.
func TestRuleTable_HasNoLimit(t *testing.T) {
	many := slices.Clone(rules)
	for range 40 {
		many = append(many, rule{
			Cause: storage, Part: ofIdle, Turn: 9, Conditions: []condition{{Signal: sigIdle, To: 1}},
		})
	}
	v := with(1, nil)
	first, all := split(rules, &v), split(many, &v)
	if !slices.Equal(first, all) || first[unknown] < 0.999 {
		t.Errorf("with 40 rules more that find nothing left: %v, want %v", all, first)
	}
	all = split(many[len(rules):], &v)
	if math.Abs(all[storage]-1) > 1e-9 {
		t.Errorf("40 rules share the time of one: %v", all)
	}
}

func TestRules_CoverEveryCause(t *testing.T) {
	if causeCount != len(event.GpuCause_name) {
		t.Errorf("%d causes have shares, of %d", causeCount, len(event.GpuCause_name))
	}
	for c := range event.GpuCause(causeCount) {
		if words(c) == "" || !slices.ContainsFunc(rules, func(r rule) bool { return r.Cause == c }) {
			t.Errorf("%s has no words or no rule", c.Word())
		}
	}
	for i, s := range signalDocs {
		if s.name == "" || s.doc == "" || s.source == "" || s.unit == "" {
			t.Errorf("signal %d is not described: %+v", i, s)
		}
	}
}

// TestRules_OfWholeWindow covers the rules that judge the whole window: device errors, and a GPU without calls.
func TestRules_OfWholeWindow(t *testing.T) {
	const second = uint64(1e9)
	start := uint64(1_790_000_000) * second
	n32, n64 := func(n uint32) *uint32 { return &n }, func(n uint64) *uint64 { return &n }
	device := func(at uint64, util uint32, ecc uint64) *event.Event {
		return &event.Event{Time: at, Node: "n", Kind: &event.Event_Gpu{Gpu: &event.Gpu{
			Type: event.GpuEventType_GPU_EVENT_TYPE_DEVICE, Gpu: &event.GpuDevice{Uuid: "G"}, PeriodMicros: n64(1e6),
			UsedBy: "a/p/c", Processes: n32(1), OwnProcesses: n32(1),
			Activity: &event.GpuActivity{GpuPercent: n32(util)},
			Health:   &event.GpuHealth{Throttle: "none", EccUncorrected: n64(ecc)},
		}}}
	}
	of := func(at uint64, g *event.Gpu) *event.Event {
		return &event.Event{
			Time: at, Node: "n", Namespace: "a", Pod: "p", Container: "c", Kind: &event.Event_Gpu{Gpu: g},
		}
	}
	process := func(at uint64) *event.Event {
		return of(at, &event.Gpu{
			Type: event.GpuEventType_GPU_EVENT_TYPE_PROCESS, Gpu: &event.GpuDevice{Uuid: "G"},
			Proc: &event.GpuProcess{Pid: 7, MemoryBytes: n64(1 << 30)}, PeriodMicros: n64(1e6),
		})
	}
	calls := func(at, launches uint64) *event.Event {
		return of(at, &event.Gpu{
			Type: event.GpuEventType_GPU_EVENT_TYPE_CALLS, Proc: &event.GpuProcess{Pid: 7},
			Calls: &event.GpuCalls{
				Launches: &launches, Syncs: n64(3), SyncMicros: n64(3), CopyMicros: n64(0), Since: 1,
			},
		})
	}
	run := func(each func(w *Watch, i int, at uint64)) *event.GpuVerdict {
		w := New(10e9)
		for i := range 10 {
			at := start + uint64(i)*second
			w.Add(process(at))
			each(w, i, at)
		}
		rows := w.Verdicts()
		if len(rows) != 1 {
			t.Fatalf("%d verdicts", len(rows))
		}
		return rows[0].GetGpuVerdict()
	}
	for name, test := range map[string]struct {
		each func(w *Watch, i int, at uint64)
		want event.GpuCause
		sure event.Confidence
	}{
		"no calls at all": {func(w *Watch, _ int, at uint64) {
			w.Add(device(at, 0, 0))
			w.Add(calls(at, 1000))
		}, abandoned, event.Confidence_CONFIDENCE_HIGH},
		"one launch": {func(w *Watch, i int, at uint64) {
			w.Add(device(at, 0, 0))
			w.Add(calls(at, 1000+uint64(i/5)))
		}, unknown, event.Confidence_CONFIDENCE_LOW},
		"an XID of the hardware": {func(w *Watch, i int, at uint64) {
			w.Add(device(at, 100, 0))
			if i == 8 {
				w.Add(of(at, &event.Gpu{
					Type: event.GpuEventType_GPU_EVENT_TYPE_XID, Gpu: &event.GpuDevice{Uuid: "G"}, Xid: n32(94),
				}))
			}
		}, sick, event.Confidence_CONFIDENCE_HIGH},
		"an XID of a program": {func(w *Watch, i int, at uint64) {
			w.Add(device(at, 100, 0))
			w.Add(of(at, &event.Gpu{Type: event.GpuEventType_GPU_EVENT_TYPE_XID, Gpu: &event.GpuDevice{Uuid: "G"},
				Xid: n32(31)}))
		}, compute, event.Confidence_CONFIDENCE_MEDIUM},
		"errors that grow": {
			func(w *Watch, i int, at uint64) { w.Add(device(at, 100, 5+uint64(i))) }, sick,
			event.Confidence_CONFIDENCE_HIGH,
		},
		"errors of before": {
			func(w *Watch, _ int, at uint64) { w.Add(device(at, 100, 5)) }, compute,
			event.Confidence_CONFIDENCE_MEDIUM,
		},
		"a GPU that falls off the bus": {func(w *Watch, i int, at uint64) {
			if i < 5 {
				w.Add(device(at, 100, 0))
			} else if i == 5 {
				w.Add(of(at, &event.Gpu{Type: event.GpuEventType_GPU_EVENT_TYPE_LOST,
					Gpu: &event.GpuDevice{Uuid: "G"}}))
			}
		}, sick, event.Confidence_CONFIDENCE_HIGH},
	} {
		t.Run(name, func(t *testing.T) {
			if v := run(test.each); v.GetVerdict() != test.want || v.GetConfidence() != test.sure {
				t.Errorf(
					"%s with %s confidence, want %s with %s: %v", v.GetVerdict().Word(), v.GetConfidence().Word(),
					test.want.Word(), test.sure.Word(), v,
				)
			}
		})
	}
}
