package syscalls

import (
	"fmt"
	"sync"
	"time"

	"github.com/cilium/ebpf"

	"github.com/orb8-dev/kubectl-orb8/bpf/scope"
)

// settleTime is when the generation changes for a second time: for some ns a CPU may have read the new generation and
// still the old scope, where it reorders loads.
const settleTime = 10 * time.Millisecond

// follow has the programs forget which cgroups are out of scope each time that the scope has grown, until stop.
func follow(s *scope.Scope, generation *ebpf.Variable) (stop func() error) {
	var mu sync.Mutex
	var n uint64
	ended := false
	forget := func() {
		mu.Lock()
		defer mu.Unlock()
		if ended {
			return
		}
		n++
		if err := generation.Set(n); err != nil {
			panic(fmt.Sprintf("set the generation: %v", err)) // the variable is of another type than this
		}
	}
	unwatch := s.OnGrown(func() {
		forget()
		time.AfterFunc(settleTime, forget)
	})
	return func() error {
		unwatch()
		mu.Lock()
		defer mu.Unlock()
		ended = true
		return nil
	}
}
