// Package resources turns the observed use of CPU and memory into requests and limits of containers.
package resources

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/plugin/advise/manifest"
)

// maxContainers bounds what tracers can fill: containers of pods.
const maxContainers = 1 << 14

// Observed is the use of resources by containers, as events report it.
type Observed struct {
	containers map[key]*container
	pods       int
	// refused is how many events had no usable name, or were of one container too many.
	refused int
}

type key struct {
	owner manifest.Owner
	name  string
}

// container is a container of a workload, in all of its pods.
type container struct {
	key
	pods map[string]*use
}

// use is that of the container of one pod.
type use struct {
	samples     uint64
	first, last uint64 // times of events, ns
	cpu         histogram
	// cpuLimit and memoryLimit are the newest limits; nil: there is none, or it is not known.
	cpuLimit, memoryLimit *uint64
	// periods and throttled are enforcement periods while it was observed.
	periods, throttled counter
	// working, charged and peak are the largest amounts of memory in bytes, killed is the number of OOM kills since the
	// container began.
	working, charged, peak, killed *uint64
}

// counter is a cumulative amount, of which the growth counts. It begins anew with each container of the pod.
type counter struct {
	sum, last uint64
	id        string
	seen      bool
}

func (c *counter) add(id string, n *uint64) {
	switch {
	case n == nil:
		return
	case !c.seen: // what was before the observation does not count
	case c.id != id || *n < c.last:
		c.sum += *n
	default:
		c.sum += *n - c.last
	}
	if c.id != id {
		c.id = strings.Clone(id)
	}
	c.last, c.seen = *n, true
}

// NewObserved returns an observation without events.
func NewObserved() *Observed { return &Observed{containers: map[key]*container{}} }

// Refused is how many events had no usable name.
func (o *Observed) Refused() int { return o.refused }

// Add takes an event. It does not keep it.
func (o *Observed) Add(ev *event.Event) {
	r := ev.GetResources()
	if r == nil {
		return
	}
	u := o.use(ev)
	if u == nil {
		return
	}
	u.samples++
	if u.first == 0 {
		u.first = ev.GetTime()
	}
	u.last = max(u.last, ev.GetTime())
	if cpu := r.GetCpu(); cpu != nil {
		if cpu.Millis != nil {
			u.cpu.add(min(*cpu.Millis, maxAmount))
		}
		u.cpuLimit = clone(cpu.LimitMillis)
		u.periods.add(r.GetId(), cpu.Periods)
		u.throttled.add(r.GetId(), cpu.ThrottledPeriods)
	}
	if m := r.GetMemory(); m != nil {
		u.memoryLimit = clone(m.LimitBytes)
		u.working = larger(u.working, m.WorkingSetBytes)
		u.charged = larger(u.charged, m.Bytes)
		u.peak = larger(u.peak, m.PeakBytes)
		u.killed = larger(u.killed, m.OomKills)
	}
}

// maxAmount bounds amounts, so that the arithmetic of advice does not overflow: 1 PiB, 2^50 thousandths of a CPU.
const maxAmount = 1 << 50

func clone(n *uint64) *uint64 {
	if n == nil {
		return nil
	}
	v := min(*n, maxAmount)
	return &v
}

// larger is the larger of two numbers that may be unknown.
func larger(a, b *uint64) *uint64 {
	if b == nil || a != nil && *a >= *b {
		return a
	}
	return clone(b)
}

// use is that of the container of an event; nil: the event is refused.
func (o *Observed) use(ev *event.Event) *use {
	k := key{owner: manifest.OwnerOf(ev), name: ev.GetContainer()}
	c := o.containers[k]
	if c != nil && c.pods[ev.GetPod()] != nil {
		return c.pods[ev.GetPod()]
	}
	if !k.owner.Valid() || !manifest.ValidName(k.name) || o.pods >= maxContainers {
		o.refused++
		return nil
	}
	if c == nil {
		c = &container{key: k, pods: map[string]*use{}}
		o.containers[k] = c
	}
	o.pods++
	u := &use{}
	c.pods[ev.GetPod()] = u
	return u
}

func (o *Observed) sorted() []*container {
	return slices.SortedFunc(maps.Values(o.containers), func(a, b *container) int {
		return cmp.Or(a.owner.Compare(b.owner), cmp.Compare(a.name, b.name))
	})
}

// histogram counts values: exactly below 1,024, and within 1/64 of a value above, so that its memory is bounded.
type histogram struct {
	counts map[uint64]uint64
	total  uint64
	max    uint64
}

func (h *histogram) add(v uint64) {
	if h.counts == nil {
		h.counts = map[uint64]uint64{}
	}
	h.counts[bucket(v)]++
	h.total++
	h.max = max(h.max, v)
}

// bucket is the largest value that is counted together with v.
func bucket(v uint64) uint64 {
	step := uint64(1)
	for v/step >= 1024 {
		step *= 2
	}
	if step > 1 {
		step *= 8
	}
	return v | (step - 1)
}

// quantile is the value that q percent of the values do not exceed. There is at least one value.
func (h *histogram) quantile(q uint64) uint64 {
	rank := max((h.total*q+99)/100, 1)
	for _, v := range slices.Sorted(maps.Keys(h.counts)) {
		n := h.counts[v]
		if rank <= n {
			return min(v, h.max)
		}
		rank -= n
	}
	return h.max
}

// Owners are the workloads of the containers.
func (o *Observed) Owners() (owners []manifest.Owner) {
	for _, c := range o.sorted() {
		owners = append(owners, c.owner)
	}
	return owners
}
