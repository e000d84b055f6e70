//go:build linux

package gpu

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/tracer/pods"
)

const (
	// settleTime is how long an id may match no device before that is reported: the device plugin or the driver may be
	// about to change.
	settleTime = 5 * time.Second
	// maxUnknown limits the ids without a device that are remembered and reported one by one.
	maxUnknown = 16
	// maxMissed is the number of its GPU's samples in which a MIG device may be missing. After that it is removed.
	maxMissed = 2
)

// notAll is the reason before the first sample of every device: an id may be of a device that is not known yet.
const notAll = "not all devices have been read yet"

// sharing is the part of a watch that attributes devices to containers.
type sharing struct {
	// allocations returns the kubelet's newest answer, or nil and the reason why there is none. isTarget reports
	// whether a container is a target.
	allocations func() (*allocation, string)
	isTarget    func(namespace, pod, name string) bool

	// complete: every device was sampled once.
	complete bool
	// stale: device ids have changed since shares was computed from made.
	stale  bool
	made   *allocation
	shares map[*device]*share
	// vague is the reason why the allocation of every device is unknown; empty if it is known.
	vague string
	// unknown are ids without a device, and since when; the zero time: it was reported.
	unknown map[string]time.Time
}

func newSharing() sharing {
	return sharing{
		allocations: func() (*allocation, string) { return nil, notYet },
		isTarget:    func(string, string, string) bool { return false },
		unknown:     map[string]time.Time{},
	}
}

// share is the set of containers to which one device is allocated.
type share struct {
	containers map[container]bool
	// vague is the reason why containers is incomplete.
	vague string
}

// round updates the set of existing devices when one is sampled: samples come one after the other, MIG devices after
// their GPU.
func (w *watch) round(d *device) {
	w.complete = w.complete || d.sampled
	d.missed = 0
	for uuid, part := range w.devices {
		if !part.partOf(d) {
			continue
		}
		if part.missed++; part.missed > maxMissed {
			w.changed(part, nil)
			delete(w.devices, uuid)
			w.stale = true
		}
	}
}

// share sets the allocation and the use in a device's event.
func (w *watch) share(d *device, g *event.Gpu) {
	a, reason := w.allocations()
	if a != nil && !w.complete {
		a, reason = nil, notAll
	}
	var of *share
	if a != nil {
		if of, reason = w.of(a, d); of == nil || reason != "" {
			of = nil
		}
	}
	if of == nil {
		g.Unavailable = join(g.GetUnavailable(), "allocation: "+reason)
	} else {
		n := uint32(len(of.containers))
		g.Allocated = &n
		var list []string
		for c := range of.containers {
			if w.isTarget(c.namespace, c.pod, c.name) {
				list = append(list, c.String())
			}
		}
		slices.Sort(list)
		g.AllocatedTo = strings.Join(list, ",")
	}
	bypass := w.bypass(a, of, d)
	if g.Use = w.use(d, g, len(bypass) > 0); len(bypass) > 0 {
		g.Message = "used by " + strings.Join(bypass, ",") + " without having been given it"
	}
	d.use = g.GetUse()
}

// of returns the share of a device, or the reason why it is unknown.
func (w *watch) of(a *allocation, d *device) (*share, string) {
	if a != w.made || w.stale {
		w.divide(a)
	}
	if w.vague != "" {
		return nil, w.vague
	}
	s := w.shares[d]
	if s == nil {
		return &share{}, ""
	}
	return s, s.vague
}

// divide matches the ids of an answer with devices.
func (w *watch) divide(a *allocation) {
	w.made, w.stale = a, false
	w.shares, w.vague = map[*device]*share{}, a.vague
	unknown := map[string]time.Time{}
	for i := range a.given {
		g := &a.given[i]
		switch found := g.parsed.find(w.devices); {
		case len(found) == 1:
			w.give(found[0], g.container)
		case len(found) > 1:
			for _, d := range found {
				w.shareOf(d).vague = fmt.Sprintf("the kubelet has allocated %s %q, which may be any of several MIG "+
					"devices of that GPU", g.resource, clip(g.id))
			}
			if gpu := w.devices[found[0].id.GetParent()]; gpu != nil {
				w.shareOf(gpu).containers[g.container] = true // all candidates are parts of it
			}
		case !g.sure:
		case g.parsed.form == noForm:
			w.vague = fmt.Sprintf("the kubelet has allocated %s %q, which may be any device", g.resource, clip(g.id))
		default:
			to := "a pod that is not a target"
			if w.isTarget(g.container.namespace, g.container.pod, g.container.name) {
				to = g.container.String()
			}
			key := fmt.Sprintf("%s %q to %s", g.resource, clip(g.id), to)
			if len(unknown) >= maxUnknown {
				key = "more GPUs to others"
			}
			if _, done := unknown[key]; done {
				continue
			}
			since, ok := w.unknown[key]
			if !ok {
				since = w.now()
			} else if !since.IsZero() && w.now().Sub(since) >= settleTime {
				since = time.Time{}
				w.warn(event.GpuWarning + "the kubelet has allocated " + key + ", but the driver has no such device")
			}
			unknown[key] = since
		}
	}
	w.sharing.unknown = unknown
}

// clip limits the length of an id in a message.
func clip(id string) string {
	const most = 80
	if len(id) > most {
		return strings.ToValidUTF8(id[:most], "") + "…"
	}
	return id
}

func (w *watch) shareOf(d *device) *share {
	s := w.shares[d]
	if s == nil {
		s = &share{containers: map[container]bool{}}
		w.shares[d] = s
	}
	return s
}

// give records that a device is allocated to a container. A MIG device counts for its GPU, and a GPU for all its MIG
// devices.
func (w *watch) give(d *device, to container) {
	w.shareOf(d).containers[to] = true
	for _, other := range w.devices {
		if d.partOf(other) || other.partOf(d) {
			w.shareOf(other).containers[to] = true
		}
	}
}

// partOf reports whether d is a MIG device of a GPU.
func (d *device) partOf(gpu *device) bool {
	return d.id.GetParent() != "" && d.id.GetParent() == gpu.id.GetUuid()
}

// warn emits a NodeStatus event with a message.
func (w *watch) warn(message string) {
	w.sink(pods.NodeLevel, &event.Event{Kind: &event.Event_NodeStatus{NodeStatus: &event.NodeStatus{
		State: event.NodeState_NODE_STATE_STREAMING, Message: strings.ToValidUTF8(message, "\uFFFD"),
	}}})
}

// bypass lists the traced containers with a process on a device that is not allocated to them. It only lists containers
// in an answer of the kubelet that was requested after the process appeared.
func (w *watch) bypass(a *allocation, of *share, d *device) (list []string) {
	if of == nil {
		return nil
	}
	for _, u := range d.users {
		if a.listed[u.name] && !a.requested.Before(u.seen) && !slices.Contains(list, u.name) && !of.has(u.name) {
			list = append(list, u.name)
		}
	}
	slices.Sort(list)
	return list
}

func (s *share) has(name string) bool {
	for c := range s.containers {
		if c.String() == name {
			return true
		}
	}
	return false
}

// use returns the use of a device by its allocation and activity.
func (w *watch) use(d *device, g *event.Gpu, bypass bool) event.GpuUse {
	if use, split := w.useOfParts(d); split {
		return use
	}
	ran, known := g.Ran()
	given := g.Allocated != nil && g.GetAllocated() > 0
	switch {
	case bypass:
		return event.GpuUse_GPU_USE_BYPASS
	case ran:
		return event.GpuUse_GPU_USE_BUSY
	case g.Processes == nil:
	case g.GetProcesses() > 0 && known:
		return event.GpuUse_GPU_USE_IDLE
	case g.GetProcesses() > 0:
	case given:
		return event.GpuUse_GPU_USE_UNUSED
	case g.Allocated != nil:
		return event.GpuUse_GPU_USE_FREE
	}
	return event.GpuUse_GPU_USE_UNKNOWN
}

// useOfParts returns the use of a GPU by the last samples of its MIG devices; split reports whether it has any.
func (w *watch) useOfParts(d *device) (use event.GpuUse, split bool) {
	// The most active part decides.
	order := []event.GpuUse{
		event.GpuUse_GPU_USE_FREE, event.GpuUse_GPU_USE_UNUSED, event.GpuUse_GPU_USE_IDLE, event.GpuUse_GPU_USE_UNKNOWN,
		event.GpuUse_GPU_USE_BUSY, event.GpuUse_GPU_USE_BYPASS,
	}
	rank := -1
	for _, part := range w.devices {
		if part.partOf(d) {
			rank, split = max(rank, slices.Index(order, part.use)), true
		}
	}
	if !split {
		return event.GpuUse_GPU_USE_UNKNOWN, false
	}
	return order[rank], true
}
