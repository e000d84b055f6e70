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

// lingering is how long after leaving a device a process may be the cause of its error.
const lingering = 5 * time.Second

// watch turns samples of the devices into events: it adds names and reports changes.
type watch struct {
	owners *owners
	sink   Sink
	now    func() time.Time

	devices map[string]*device
	// processes are those of the next device: its event follows them.
	processes []*event.Gpu
	// reason is the last reported reason of unavailable. It is not repeated.
	reason string

	sharing
}

// device is the state of a device between samples.
type device struct {
	id *event.GpuDevice
	// sampled: it was sampled before.
	sampled bool
	// users are the processes on it by pid. gone are those that have left it, and when.
	users map[uint32]user
	gone  map[user]time.Time
	// others: a process on it is of no traced container.
	others bool
	// slowed are the throttle reasons of the last sample.
	slowed string
	// use is the use of the last sample.
	use event.GpuUse
	// missed counts the samples of its GPU since its own last sample: a MIG device may be destroyed.
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

// onEvent processes one event of the child; nil is only a sign of life.
func (w *watch) onEvent(g *event.Gpu) {
	switch g.GetType() {
	case event.GpuEventType_GPU_EVENT_TYPE_PROCESS:
		w.processes = append(w.processes, g)
	case event.GpuEventType_GPU_EVENT_TYPE_DEVICE:
		w.reason = ""
		w.onDeviceSample(g)
	case event.GpuEventType_GPU_EVENT_TYPE_XID:
		w.xid(g)
	case event.GpuEventType_GPU_EVENT_TYPE_LOST:
		d := w.device(g.GetGpu())
		d.sampled, d.users, d.others, d.use = false, nil, false, event.GpuUse_GPU_USE_UNKNOWN
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
	if message == w.reason {
		return
	}
	w.reason = message
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

// onDeviceSample reports a sampled device and its processes.
func (w *watch) onDeviceSample(g *event.Gpu) {
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
		g.Unavailable = join(g.GetUnavailable(), "no such process, so its container is unknown: "+
			strings.Join(stale, ", "))
	}
	if g.Processes != nil {
		own := uint32(len(users))
		g.OwnProcesses, g.UsedBy = &own, names(users)
	}
	w.share(d, g)
	w.report(pods.NodeLevel, g)
	w.throttle(d, g)
	d.sampled = true
}

func join(list, one string) string {
	if list == "" {
		return one
	}
	return list + "; " + one
}

// changed reports the processes that have started and ended on a device since the last sample.
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
		if was, ok := d.users[pid]; d.sampled && (!ok || was.started != is.started) {
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

// names returns the containers of processes, each once, separated by commas.
func names(users map[uint32]user) string {
	var list []string
	for _, u := range users {
		list = append(list, u.name)
	}
	slices.Sort(list)
	return strings.Join(slices.Compact(list), ",")
}

// harmless are reasons for lower clocks that do not slow down work.
var harmless = []string{"idle", "app-clocks", "display-clocks", "none", ""}

// throttle reports a change of the device's throttle reasons.
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

// xid reports a driver's error. The driver does not report the process. The error belongs to a pod if no other process
// was on the device.
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
