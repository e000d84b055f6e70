package seccomp

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/calls"
	"github.com/orb8-dev/kubectl-orb8/plugin/advise/manifest"
)

// Kinds are the events that profiles are made of: counts by container and call, and single calls.
var Kinds = []string{"syscallSummary", "syscall"}

const (
	// maxContainers bounds what tracers can fill: containers of workloads, and series of counts of each of them.
	maxContainers, maxSeries = 4096, 1 << 16
	// maxUnnamed bounds the calls without a name that are listed.
	maxUnnamed = 16
)

// Observed are the system calls of containers, as events report them.
type Observed struct {
	containers map[containerKey]*container
	// refused is how many events had no usable name, or were of one container too many.
	refused int
}

type containerKey struct {
	owner manifest.Owner
	name  string
}

// container is a container of a workload, in all of its pods.
type container struct {
	containerKey
	pods  map[string]struct{}
	calls map[call]*count
	// unnamed are calls that have a number only.
	unnamed map[call]struct{}
	series  int
	// started: the runtime was seen to set up the container. entered: it was seen to join it, for kubectl exec or a
	// probe.
	started, entered bool
	// summaries, singles: counts were seen, single calls were.
	summaries, singles bool
	// ofRuntime is how many single calls the runtime made.
	ofRuntime uint64
}

// call is a system call of an instruction set.
type call struct{ name, abi string }

func compareCalls(a, b call) int {
	return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.abi, b.abi))
}

// count is how often a call was made.
type count struct {
	calls, errors uint64
	// noSuchCall is how many failed with ENOSYS. Only single calls have the error.
	noSuchCall uint64
	// last are the newest totals of each series.
	last map[string]totals
	args arguments
}

type totals struct{ calls, errors uint64 }

// NewObserved returns an observation without events.
func NewObserved() *Observed { return &Observed{containers: map[containerKey]*container{}} }

// Add takes an event. It does not keep it.
func (o *Observed) Add(ev *event.Event) {
	switch {
	case ev.GetSyscallSummary() != nil:
		if c := o.container(ev); c != nil {
			c.addSummary(ev.GetSyscallSummary())
		}
	case ev.GetSyscall() != nil:
		if c := o.container(ev); c != nil {
			c.addSingle(ev.GetSyscall())
		}
	}
}

// container is the one that an event was observed in; nil: the event is refused.
func (o *Observed) container(ev *event.Event) *container {
	key := containerKey{owner: manifest.OwnerOf(ev), name: ev.GetContainer()}
	c := o.containers[key]
	if c == nil {
		if !key.owner.Valid() || !manifest.ValidName(key.name) || len(o.containers) >= maxContainers {
			o.refused++
			return nil
		}
		c = &container{containerKey: key, pods: map[string]struct{}{}, calls: map[call]*count{},
			unnamed: map[call]struct{}{}}
		o.containers[key] = c
	}
	if len(c.pods) < maxSeries {
		c.pods[ev.GetPod()] = struct{}{}
	}
	return c
}

// named reports whether a call has a name that a profile can hold.
func named(c call) bool {
	abi, known := calls.Parse(c.abi)
	return known && abi.Has(c.name)
}

func (c *container) count(of call) *count {
	n := c.calls[of]
	if n == nil {
		if !named(of) {
			if len(c.unnamed) < maxUnnamed {
				c.unnamed[of] = struct{}{}
			}
			return nil
		}
		n = &count{last: map[string]totals{}}
		c.calls[of] = n
	}
	return n
}

// addSummary takes totals of one container of a pod, which grow.
func (c *container) addSummary(s *event.SyscallSummary) {
	c.summaries = true
	n := c.count(call{strings.Clone(s.GetName()), strings.Clone(s.GetAbi())})
	if n == nil || s.GetCalls() == 0 {
		return
	}
	switch s.GetName() {
	case "pivot_root":
		c.started = true
	case "keyctl", "setns":
		c.entered = true
	}
	n.args.unknown = true
	last, known := n.last[s.GetId()]
	if !known {
		if c.series >= maxSeries {
			return
		}
		c.series++
	}
	if s.GetCalls() < last.calls { // another session of tracers, with the same id
		last = totals{}
	}
	n.calls += s.GetCalls() - last.calls
	n.errors += s.GetErrors() - min(last.errors, s.GetErrors())
	n.last[strings.Clone(s.GetId())] = totals{s.GetCalls(), s.GetErrors()}
}

// runtimeComm is what runc names its processes before they execute the container's program.
const runtimeComm = "runc:["

// addSingle takes a call.
func (c *container) addSingle(s *event.Syscall) {
	c.singles = true
	if strings.HasPrefix(string(s.GetComm()), runtimeComm) {
		c.ofRuntime++
		c.started = c.started || s.GetName() == "pivot_root"
		return
	}
	n := c.count(call{strings.Clone(s.GetName()), strings.Clone(s.GetAbi())})
	if n == nil {
		return
	}
	n.args.add(s)
	if s.GetPhase() == event.SyscallPhase_SYSCALL_PHASE_RUNNING && n.calls > 0 {
		return // it is reported again
	}
	n.calls++
	if s.GetErrno() != "" {
		n.errors++
	}
	if s.GetErrno() == "ENOSYS" {
		n.noSuchCall++
	}
}

// sorted are the containers by name.
func (o *Observed) sorted() []*container {
	return slices.SortedFunc(maps.Values(o.containers), func(a, b *container) int {
		return cmp.Or(a.owner.Compare(b.owner), cmp.Compare(a.name, b.name))
	})
}

// fromRuntime reports whether a call is one that the runtime is known to have made, as far as counts show.
func (c *container) fromRuntime(name string) bool {
	return c.summaries && setup[name] && (c.started || c.entered && entry[name])
}

// abis are the instruction sets of the calls, sorted.
func (c *container) abis() []string {
	seen := map[string]struct{}{}
	for k := range c.calls {
		seen[k.abi] = struct{}{}
	}
	for k := range c.unnamed {
		seen[k.abi] = struct{}{}
	}
	return slices.Sorted(maps.Keys(seen))
}
