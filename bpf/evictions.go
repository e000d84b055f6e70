package bpf

import (
	"sync"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// maxEvictors bounds the cgroups that are counted apart. Evictions of further ones have no known cgroup.
const maxEvictors = 4096

// Evictions counts the entries that a table in user space has evicted, by cgroup. Its zero value is ready. It is safe
// for concurrent use.
type Evictions struct {
	mu sync.Mutex
	of map[uint64]uint64
}

// Add counts one more of a cgroup.
func (e *Evictions) Add(cgroup uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.of == nil {
		e.of = make(map[uint64]uint64)
	}
	if _, ok := e.of[cgroup]; !ok && len(e.of) >= maxEvictors {
		cgroup = 0
	}
	e.of[cgroup]++
}

// Lost returns the counts as losses of a stage. Who holds most is evicted from, so each cgroup is its own cause.
func (e *Evictions) Lost(stage event.LossStage) (out []Loss) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for cgroup, n := range e.of {
		out = append(out, Loss{Stage: stage, Count: n, Cgroup: cgroup, Cause: cgroup})
	}
	return out
}
