//go:build linux

package gpu

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/tracer/pods"
)

// lingering is how long a process that has left a device may still be the cause of its error.
const lingering = 5 * time.Second

// watch makes of what is read of the devices what is reported: with names, and with what has changed.
type watch struct {
	owners *owners
	sink   Sink
	now    func() time.Time

	devices map[string]*device
	// processes are those of the device that is being read, which comes after them.
	processes []*event.Gpu
	// said is the last trouble reported: it is not repeated.
	said string

	sharing
}

// device is what is known of one from look to look.
type device struct {
	id *event.GpuDevice
	// looked: it was read before.
	looked bool
	// users are the processes on it now, by pid, gone those that have left and when.
	users map[uint32]user
	gone  map[user]time.Time
	// others: a process on it is of no traced container.
	others bool
	// slowed is what slowed it down at the last look.
	slowed string
	// use is what allocation and activity came to at the last look.
	use event.GpuUse
	// missed is how often its GPU was looked at since: a MIG device may have been taken down.
	missed int
}

// user is a process of a traced container.
type user struct {
	owner
	pid  uint32
	comm string
	kind string
	// seen is when it was first seen on the device.
	seen time.Time
}

func newWatch(owners *owners, sink Sink) *watch {
	return &watch{owners: owners, sink: sink, now: time.Now, devices: map[string]*device{}, sharing: newSharing()}
}

// take takes one event of what reads the driver; nil says only that it lives.
func (w *watch) take(g *event.Gpu) {
	switch g.GetType() {
	case event.GpuEventType_GPU_EVENT_TYPE_PROCESS:
		w.processes = append(w.processes, g)
	case event.GpuEventType_GPU_EVENT_TYPE_DEVICE:
		w.said = ""
		w.look(g)
	case event.GpuEventType_GPU_EVENT_TYPE_XID:
		w.xid(g)
	case event.GpuEventType_GPU_EVENT_TYPE_LOST:
		d := w.device(g.GetGpu())
		d.looked, d.users, d.others, d.use = false, nil, false, event.GpuUse_GPU_USE_UNKNOWN
		w.processes = nil
		w.report(pods.NodeLevel, g)
	case event.GpuEventType_GPU_EVENT_TYPE_UNAVAILABLE:
		w.unavailable(g.GetMessage())
	}
}

func (w *watch) report(cgroup uint64, g *event.Gpu) {
	w.sink(cgroup, &event.Event{Kind: &event.Event_Gpu{Gpu: g}})
}

// unavailable reports that nothing can be read, once for each reason.
func (w *watch) unavailable(message string) {
	w.processes = nil
	if message == w.said {
		return
	}
	w.said = message
	w.report(pods.NodeLevel, &event.Gpu{Type: event.GpuEventType_GPU_EVENT_TYPE_UNAVAILABLE,
		Message: strings.ToValidUTF8(message, "\uFFFD")})
}

func (w *watch) device(id *event.GpuDevice) *device {
	d := w.devices[id.GetUuid()]
	if d == nil {
		d = &device{gone: map[user]time.Time{}}
		w.devices[id.GetUuid()] = d
	}
	if !proto.Equal(d.id, id) {
		w.stale = true
	}
	d.id = id
	return d
}

// look reports a device that was read, with its processes.
func (w *watch) look(g *event.Gpu) {
	d := w.device(g.GetGpu())
	w.round(d)
	processes := w.processes
	w.processes = nil
	var pids []uint32
	for _, other := range w.devices {
		for pid := range other.users {
			pids = append(pids, pid)
		}
	}
	for _, p := range processes {
		pids = append(pids, p.GetProc().GetPid())
	}
	slices.Sort(pids)
	w.owners.update(slices.Compact(pids))

	users := map[uint32]user{}
	d.others = false
	var stale []string
	for _, p := range processes {
		pid := p.GetProc().GetPid()
		o, own := w.owners.of[pid]
		if !own {
			d.others = true
			if !w.owners.exists(pid) {
				stale = append(stale, fmt.Sprint(pid))
			}
			continue
		}
		comm := w.owners.comm(pid)
		p.Proc.Comm = comm
		u := user{o, pid, string(comm), p.GetProc().GetType(), w.now()}
		if was, ok := d.users[pid]; ok && was.started == u.started {
			u.seen = was.seen
		}
		users[pid] = u
	}
	w.changed(d, users)
	for _, p := range processes {
		if u, own := users[p.GetProc().GetPid()]; own {
			w.report(u.cgroup, p)
		}
	}
	if len(stale) > 0 {
		g.Unavailable = join(g.GetUnavailable(), "no such process, so whose it is cannot be told: "+
			strings.Join(stale, ", "))
	}
	if g.Processes != nil {
		own := uint32(len(users))
		g.OwnProcesses, g.UsedBy = &own, names(users)
	}
	w.share(d, g)
	w.report(pods.NodeLevel, g)
	w.throttle(d, g)
	d.looked = true
}

func join(list, one string) string {
	if list == "" {
		return one
	}
	return list + "; " + one
}

// changed reports the processes that have come and gone since the last look.
func (w *watch) changed(d *device, users map[uint32]user) {
	now := w.now()
	for u, at := range d.gone {
		if now.Sub(at) > lingering {
			delete(d.gone, u)
		}
	}
	for _, pid := range sorted(d.users) {
		was := d.users[pid]
		if is, ok := users[pid]; ok && is.started == was.started {
			continue
		}
		d.gone[was] = now
		w.report(was.cgroup, d.process(event.GpuEventType_GPU_EVENT_TYPE_ENDED, was))
	}
	for _, pid := range sorted(users) {
		is := users[pid]
		if was, ok := d.users[pid]; d.looked && (!ok || was.started != is.started) {
			w.report(is.cgroup, d.process(event.GpuEventType_GPU_EVENT_TYPE_STARTED, is))
		}
	}
	d.users = users
}

func (d *device) process(what event.GpuEventType, u user) *event.Gpu {
	return &event.Gpu{Type: what, Gpu: d.id, Proc: &event.GpuProcess{Pid: u.pid, Comm: []byte(u.comm), Type: u.kind}}
}

func sorted(users map[uint32]user) []uint32 {
	pids := make([]uint32, 0, len(users))
	for pid := range users {
		pids = append(pids, pid)
	}
	slices.Sort(pids)
	return pids
}

// names are the containers of processes, each once.
func names(users map[uint32]user) string {
	var list []string
	for _, u := range users {
		list = append(list, u.name)
	}
	slices.Sort(list)
	return strings.Join(slices.Compact(list), ",")
}

// harmless are reasons for lower clocks that slow nothing down that somebody waits for.
var harmless = []string{"idle", "app-clocks", "display-clocks", "none", ""}

// throttle reports that what slows the device down has changed.
func (w *watch) throttle(d *device, g *event.Gpu) {
	if g.GetHealth().GetThrottle() == "" {
		return // not known now
	}
	var list []string
	for word := range strings.SplitSeq(g.GetHealth().GetThrottle(), ",") {
		if !slices.Contains(harmless, word) {
			list = append(list, word)
		}
	}
	slowed := strings.Join(list, ",")
	if slowed == d.slowed {
		return
	}
	was := d.slowed
	d.slowed = slowed
	message := "slowed down by " + slowed
	switch {
	case slowed == "":
		message = "no longer slowed down by " + was
	case was != "":
		message += ", before by " + was
	}
	ev := &event.Gpu{
		Type: event.GpuEventType_GPU_EVENT_TYPE_THROTTLE, Gpu: d.id, Health: proto.CloneOf(g.GetHealth()),
		Message:   message,
		Processes: g.Processes, OwnProcesses: g.OwnProcesses, UsedBy: g.GetUsedBy(),
	}
	w.report(pods.NodeLevel, ev)
}

// xid reports a driver's error. It is the pod's where no other process was on the device: the driver tells none.
func (w *watch) xid(g *event.Gpu) {
	d := w.devices[g.GetGpu().GetUuid()]
	if d == nil {
		w.report(pods.NodeLevel, g)
		return
	}
	g.Gpu = d.id
	users := map[uint32]user{}
	cgroups := map[uint64]bool{}
	add := func(u user) {
		users[u.pid] = u
		cgroups[u.cgroup] = true
	}
	for u, at := range d.gone {
		if w.now().Sub(at) <= lingering {
			add(u)
		}
	}
	for _, u := range d.users {
		add(u)
	}
	g.UsedBy = names(users)
	own := uint32(len(users))
	g.OwnProcesses = &own
	cgroup := uint64(pods.NodeLevel)
	if len(cgroups) == 1 && !d.others {
		for c := range cgroups {
			cgroup = c
		}
	}
	w.report(cgroup, g)
}
