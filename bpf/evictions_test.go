package bpf

import (
	"testing"

	"github.com/orb8-dev/kubectl-orb8/event"
)

func TestEvictions_AreBoundedAndCounted(t *testing.T) {
	var e Evictions
	for i := range uint64(2 * maxEvictors) {
		e.Add(i + 1)
	}
	e.Add(1)
	var sum uint64
	for _, l := range e.Lost(event.LossStage_LOSS_STAGE_DECODE) {
		sum += l.Count
		if l.Cgroup == 1 && l.Count != 2 || l.Cgroup != l.Cause {
			t.Errorf("%+v", l)
		}
	}
	if sum != 2*maxEvictors+1 || len(e.of) > maxEvictors+1 {
		t.Errorf("%d of %d counted, of %d cgroups", sum, 2*maxEvictors+1, len(e.of))
	}
}
