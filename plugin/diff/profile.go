// Package diff compares two recordings by workload: what it connects to, resolves, executes and calls, how much of it,
// and what fails. A Profile takes the events of a recording in bounded memory; Compare returns the differences as
// events of the kind difference, and what could not be compared as notes.
//
// Events come from strangers. A container can make up any number of names, so that what is kept of it has a bound. A
// thing that one of the recordings may have left out is never reported as missing there.
package diff

import (
	"net/netip"
	"slices"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// Kinds are the event kinds that are compared.
var Kinds = []string{"flow", "tcp", "dns", "drop", "exec", "signal", "syscall", "syscallSummary"}

// The bounds of a Profile.
const (
	maxOwners = 1 << 13
	// maxThings bounds the things of all workloads, maxOwnThings those of a topic of one workload.
	maxThings, maxOwnThings = 1 << 16, 1 << 11
	// maxNameBytes bounds the names of all things.
	maxNameBytes = 16 << 20
	// maxCounters bounds the flows, dropped packets and system calls whose last amounts are kept. maxID bounds the
	// length of their ids: an id of a tracer is shorter.
	maxCounters, maxID = 1 << 17, 256
	// maxServices bounds the Services whose addresses are kept.
	maxServices = 1 << 10
)

// Profile is what a recording holds of each workload.
type Profile struct {
	clock clock
	// kinds are compared.
	kinds  map[string]bool
	owners map[ownerKey]*owner
	// services are the addresses of Services, by namespace and name.
	services map[string]netip.Addr
	things   int
	names    int // bytes
	flows    map[string]*flow
	amounts  map[string]*counter
	// full: there are workloads that were left out.
	full bool
	// events counts the compared events, unnamed those of no known pod, leftOut those of flows beyond the bound.
	events, unnamed, leftOut uint64
}

// Period is the time of a recording, where it is known before the events: of a query. Zero times are not known.
type Period struct{ Start, End time.Time }

// NewProfile returns an empty profile. kinds are the kinds of events to compare: both recordings have to have them.
func NewProfile(kinds []string, p Period) *Profile {
	profile := &Profile{
		clock: newClock(nanos(p.Start), nanos(p.End)),
		kinds: map[string]bool{}, owners: map[ownerKey]*owner{}, services: map[string]netip.Addr{},
		flows: map[string]*flow{}, amounts: map[string]*counter{},
	}
	for _, kind := range kinds {
		profile.kinds[kind] = slices.Contains(Kinds, kind)
	}
	return profile
}

func nanos(t time.Time) uint64 {
	if t.IsZero() {
		return 0
	}
	return uint64(max(t.UnixNano(), 0))
}

// Add counts an event. It does not keep it.
func (p *Profile) Add(ev *event.Event) {
	if s := ev.GetNodeStatus(); s != nil && s.GetState() != event.NodeState_NODE_STATE_STREAMING && !p.clock.begun {
		return // a node starts: nothing is recorded yet
	}
	if ev.GetTime() != 0 {
		p.see(ev.GetTime())
	}
	kind := event.KindOf(ev)
	if kind == nil || !p.kinds[kind.Name] {
		return
	}
	p.events++
	switch k := ev.GetKind().(type) {
	case *event.Event_Flow:
		p.onFlow(ev, k.Flow)
	case *event.Event_Tcp:
		p.onTCP(ev, k.Tcp)
	case *event.Event_Dns:
		p.onDNS(ev, k.Dns)
	case *event.Event_Drop:
		p.onDrop(ev, k.Drop)
	case *event.Event_Exec:
		p.onExec(ev, k.Exec)
	case *event.Event_Signal:
		p.onSignal(ev, k.Signal)
	case *event.Event_Syscall:
		p.onSyscall(ev, k.Syscall)
	case *event.Event_SyscallSummary:
		p.onSummary(ev, k.SyscallSummary)
	}
}

// Events returns the number of events that were compared.
func (p *Profile) Events() uint64 { return p.events }

// Length returns how long the recording is; 0: it has no events.
func (p *Profile) Length() time.Duration {
	if !p.clock.begun {
		return 0
	}
	return time.Duration(min(p.clock.span(), 1<<62))
}

// see moves the clock on, and folds all series if the parts have become longer.
func (p *Profile) see(at uint64) {
	for range p.clock.see(at) {
		for _, o := range p.owners {
			for _, t := range o.things {
				t.fold()
			}
		}
	}
}

// ownerOf returns the workload of a pod; nil where no pod is known, or there are too many.
func (p *Profile) ownerOf(namespace, pod, workload, container string) *owner {
	if pod == "" && workload == "" {
		return nil
	}
	if workload == "" {
		workload = barePod + pod
	}
	key := ownerKey{namespace, workload, container}
	o := p.owners[key]
	if o != nil {
		return o
	}
	if len(p.owners) >= maxOwners {
		p.full = true
		return nil
	}
	o = &owner{key: key, things: map[thingKey]*thing{}}
	p.owners[key] = o
	return o
}

// barePod is what the workload of a pod without a controller begins with.
const barePod = "pod/"

// self returns the workload that an event is about. An event of no known pod is counted.
func (p *Profile) self(ev *event.Event) *owner {
	o := p.ownerOf(ev.GetNamespace(), ev.GetPod(), ev.GetWorkload(), ev.GetContainer())
	if o == nil {
		p.unnamed++
	}
	return o
}

// thing returns a thing of a workload; nil where there are too many, or the workload is not known.
func (p *Profile) thing(o *owner, key thingKey) *thing {
	if o == nil {
		return nil
	}
	t := o.things[key]
	if t != nil {
		return t
	}
	if o.count[key.topic] >= maxOwnThings || p.things >= maxThings || p.names+len(key.name) > maxNameBytes {
		o.full[key.topic] = true
		return nil
	}
	t = &thing{owner: o, key: key}
	o.things[key] = t
	o.count[key.topic]++
	p.things++
	p.names += len(key.name)
	return t
}

// count adds one event of a thing, and to one of its measures. A thing that is nil is left out.
func (p *Profile) count(t *thing, at uint64, m measure, amount float64) {
	if t == nil {
		return
	}
	t.seen.add(&p.clock, at, 1)
	t.series(m).add(&p.clock, at, amount)
}

// counter is the last amounts of cumulative counters with an id.
type counter struct {
	thing *thing
	last  [2]uint64
	at    uint64
}

// counterOf returns the counter of an id; nil where there are too many.
func (p *Profile) counterOf(kind byte, id string) (c *counter, made bool) {
	if id == "" || len(id) > maxID {
		p.leftOut++
		return nil, false
	}
	key := string(kind) + id
	if c = p.amounts[key]; c != nil {
		return c, false
	}
	if len(p.amounts) >= maxCounters {
		p.leftOut++
		return nil, false
	}
	c = &counter{}
	p.amounts[key] = c
	return c, true
}

// grown returns by how much a counter has grown.
func (c *counter) grown(i int, now uint64) uint64 {
	n := now - min(now, c.last[i])
	c.last[i] = max(now, c.last[i])
	return n
}
