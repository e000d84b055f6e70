package syscalls

import (
	"fmt"
	"sync"
	"time"

	"github.com/cilium/ebpf"

	"github.com/orb8-dev/kubectl-orb8/bpf/scope"
)

// settle is when a change of the scope is told to the programs for a second time: a processor may have read the new generation
// and still the old scope, for some ns, where it puts loads into another order.
const settle = 10 * time.Millisecond

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
		time.AfterFunc(settle, forget)
	})
	return func() error {
		unwatch()
		mu.Lock()
		defer mu.Unlock()
		ended = true
		return nil
	}
}
