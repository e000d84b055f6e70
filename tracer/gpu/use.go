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
	// settleTime is how long an id may be that of no device before that is said: a device plugin or the driver may be
	// about to change.
	settleTime = 5 * time.Second
	// maxUnknown bounds the ids of no device that are remembered, and are said, one by one.
	maxUnknown = 16
	// taken is for how many looks at its GPU a MIG device may be missing: then it has been taken down.
	taken = 2
)

// notAll is said before all devices have been looked at once: until then an id may be of one that is not known yet.
const notAll = "not all devices have been looked at yet"

// sharing is what of a watch says whom the devices were given to.
type sharing struct {
	// allocations is what is known now, nil and why where nothing is; asked, whether a container is one that was asked
	// for.
	allocations func() (*allocation, string)
	asked       func(namespace, pod, name string) bool

	// complete: all devices have been looked at once.
	complete bool
	// stale: ids of devices have changed since shares were made. made is what they were made of.
	stale  bool
	made   *allocation
	shares map[*device]*share
	// vague says why it cannot be told of any device whether it was given to somebody; empty where it can.
	vague string
	// unknown are ids that are no device's, and since when; the zero time: that was said.
	unknown map[string]time.Time
}

func newSharing() sharing {
	return sharing{
		allocations: func() (*allocation, string) { return nil, notYet },
		asked:       func(string, string, string) bool { return false },
		unknown:     map[string]time.Time{},
	}
}

// share is whom one device was given to.
type share struct {
	containers map[container]bool
	// vague says why that is not all.
	vague string
}

// round keeps account of which devices there are when one is looked at: they come one after the other, MIG devices
// after their GPU.
func (w *watch) round(d *device) {
	w.complete = w.complete || d.looked
	d.missed = 0
	for uuid, part := range w.devices {
		if !part.partOf(d) {
			continue
		}
		if part.missed++; part.missed > taken {
			w.changed(part, nil)
			delete(w.devices, uuid)
			w.stale = true
		}
	}
}

// share says in the report of a device whom it was given to, and what its use is.
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
			if w.asked(c.namespace, c.pod, c.name) {
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

// of gives the share of a device, or why it is not known.
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

// divide finds the devices that the ids of an answer mean.
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
				w.shareOf(d).vague = fmt.Sprintf("the kubelet has given out %s %q, and which MIG device of that GPU "+
					"it is cannot be told", g.resource, clip(g.id))
			}
			if gpu := w.devices[found[0].id.GetParent()]; gpu != nil {
				w.shareOf(gpu).containers[g.container] = true // of this one, whichever it is
			}
		case !g.sure:
		case g.parsed.form == noForm:
			w.vague = fmt.Sprintf("the kubelet has given out %s %q, and which device that is cannot be told",
				g.resource, clip(g.id))
		default:
			to := "a pod that was not asked for"
			if w.asked(g.container.namespace, g.container.pod, g.container.name) {
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
				w.warn(event.GpuWarning + "the kubelet has given " + key + ", and the driver tells of no such device")
			}
			unknown[key] = since
		}
	}
	w.sharing.unknown = unknown
}

// clip bounds an id.
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

// give notes that a container was given a device: with a MIG device a part of its GPU, and with a GPU all its MIG
// devices.
func (w *watch) give(d *device, to container) {
	w.shareOf(d).containers[to] = true
	for _, other := range w.devices {
		if d.partOf(other) || other.partOf(d) {
			w.shareOf(other).containers[to] = true
		}
	}
}

// partOf says whether d is a MIG device of a GPU.
func (d *device) partOf(gpu *device) bool {
	return d.id.GetParent() != "" && d.id.GetParent() == gpu.id.GetUuid()
}

// warn says something of the node.
func (w *watch) warn(message string) {
	w.sink(pods.NodeLevel, &event.Event{Kind: &event.Event_NodeStatus{NodeStatus: &event.NodeStatus{
		State: event.NodeState_NODE_STATE_STREAMING, Message: strings.ToValidUTF8(message, "\uFFFD"),
	}}})
}

// bypass lists the traced containers with a process on a device that they were not given. That is known of those that
// the kubelet has told of, after the process had come.
func (w *watch) bypass(a *allocation, of *share, d *device) (list []string) {
	if of == nil {
		return nil
	}
	for _, u := range d.users {
		if a.listed[u.name] && !a.asked.Before(u.seen) && !slices.Contains(list, u.name) && !of.has(u.name) {
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

// use says what allocation and activity come to.
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

// useOfParts says what the uses of a GPU's MIG devices, as they were looked at last, come to; split: it has some.
func (w *watch) useOfParts(d *device) (use event.GpuUse, split bool) {
	// What one of them does says more than what another does not.
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
