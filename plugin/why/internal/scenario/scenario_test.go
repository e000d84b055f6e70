package scenario

import (
	"math"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/event"
)

func TestScenario_IsReproducible(t *testing.T) {
	for seed := range uint64(20) {
		a, b := Generate(seed), Generate(seed)
		if a.Label != b.Label || len(a.Events) != len(b.Events) || len(a.Events) == 0 {
			t.Fatalf("seed %d: %q with %d events, %q with %d", seed, a.Label, len(a.Events), b.Label, len(b.Events))
		}
		for i := range a.Events {
			if !proto.Equal(a.Events[i], b.Events[i]) {
				t.Fatalf("seed %d: event %d is %v and %v", seed, i, a.Events[i], b.Events[i])
			}
		}
	}
}

func TestScenario_CoversCausesAndMixtures(t *testing.T) {
	var dominates [Causes]int
	mixed, n := 0, 0
	for seed := range uint64(600) {
		for _, p := range Generate(seed).Pods {
			sum := 0.0
			for _, v := range p.Truth {
				sum += v
			}
			if math.Abs(sum-1) > 1e-9 {
				t.Fatalf("seed %d: the truth of %s is %v, together %v", seed, p.Name, p.Truth, sum)
			}
			first, next, _ := p.Truth.Dominant()
			dominates[first]++
			n++
			if p.Truth[next] > 0.2 {
				mixed++
			}
		}
	}
	for c, count := range dominates {
		if count < 15 {
			t.Errorf("%s dominates %d of %d pods", event.GpuCause(c).Word(), count, n)
		}
	}
	if mixed < n/4 {
		t.Errorf("of %d pods, %d have a second cause of a fifth of the time or more", n, mixed)
	}
	t.Logf("%d pods, %d mixed: %v", n, mixed, dominates)
}

func TestScenario_OrderedEventsAndCounters(t *testing.T) {
	for seed := range uint64(60) {
		s := Generate(seed)
		last := uint64(0)
		launches, cpu := map[uint32]uint64{}, map[string]uint64{}
		for _, ev := range s.Events {
			if ev.GetTime() < last || ev.GetTime() < s.Start || ev.GetTime() > s.End {
				t.Fatalf("seed %d: an event of %d after one of %d", seed, ev.GetTime(), last)
			}
			last = ev.GetTime()
			if c := ev.GetGpu().GetCalls(); c != nil {
				pid := ev.GetGpu().GetProc().GetPid()
				if c.GetLaunches() < launches[pid] {
					t.Fatalf("seed %d: launches of %d go back", seed, pid)
				}
				launches[pid] = c.GetLaunches()
			}
			if r := ev.GetResources(); r != nil {
				if r.GetCpu().GetMicros() < cpu[r.GetId()] {
					t.Fatalf("seed %d: CPU time goes back", seed)
				}
				cpu[r.GetId()] = r.GetCpu().GetMicros()
			}
		}
	}
}
