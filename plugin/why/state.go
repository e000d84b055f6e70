package why

import (
	"slices"
	"strings"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/plugin/why/slots"
)

type podKey struct{ namespace, name string }

type deviceKey struct{ node, uuid string }

type processKey struct {
	node string
	pid  uint32
}

// node is the state of a node.
type node struct {
	clock   slots.Clock
	lost    uint64 // events
	devices int
	doubted bool
	// trouble is why its devices cannot be read; empty where they can.
	trouble string
}

// pod is the state of a pod.
type pod struct {
	podKey
	node       string
	uid        string
	workload   string
	series     slots.Series
	devices    []*device // those that its processes are on
	processes  []*process
	containers []*container
	// allocated are the devices that the pod was given, whether it uses them or not.
	allocated []*device
}

// device is a GPU or MIG device.
type device struct {
	node   string
	uuid   string
	name   string
	parent string
	series slots.Series

	temperature *uint32 // the highest, °C
	throttles   []string
	// leastECC and lastECC are uncorrected errors.
	leastECC, lastECC slots.Counter
	xids              []uint32
	lost              bool
	users             []string // pods with a process on it, "namespace/pod"
	// foreign: processes of others are on it too.
	foreign bool
	samples int
}

// process is a process on devices.
type process struct {
	pod     *pod
	devices []*device
	held    map[string]uint64 // bytes, by device
	series  slots.Series
	// counted: its calls of the driver are counted. calls and since are from the last event, at.
	counted bool
	calls   callCounters
	since   uint64
	at      uint64
	waiting uint64 // µs, of the call that has waited longest
	active  bool   // it made a call in the window
}

// container is a container whose use of the node is known.
type container struct {
	series   slots.Series
	counters containerCounters // of the last event, at
	at       uint64
	limit    *uint64 // CPU, millis
}

// node finds or makes a node. Its window begins with the first event that has a time.
func (w *Watch) node(name string, at uint64) *node {
	n := w.nodes[name]
	if n == nil {
		if len(w.nodes) == maxNodes {
			w.full = true
			return nil
		}
		n = &node{}
		w.nodes[name] = n
	}
	if n.clock.Start == 0 && at != 0 {
		n.clock = slots.Clock{Start: at, Width: w.width, Slots: w.slots}
	}
	if w.window == 0 && at > n.clock.Start && at-n.clock.Start < uint64(maxGrown) {
		for at >= n.clock.Start+uint64(w.slots)*w.width {
			w.fold()
		}
	}
	return n
}

// fold merges each two slots into one, so that the window becomes twice as long.
func (w *Watch) fold() {
	const mean, amount = 0.5, 1
	w.width *= 2
	for _, n := range w.nodes {
		n.clock.Width = w.width
	}
	for _, d := range w.devices {
		d.series.Fold(mean)
	}
	for _, p := range w.processes {
		p.series.Fold(mean)
	}
	for _, c := range w.containers {
		c.series.Fold(mean)
	}
	for _, p := range w.pods {
		p.series.Fold(amount)
	}
}

// device finds or makes the device that an event names.
func (w *Watch) device(n *node, ev *event.Event, g *event.Gpu) *device {
	id := g.GetGpu().GetUuid()
	if id == "" {
		return nil
	}
	k := deviceKey{ev.GetNode(), id}
	d := w.devices[k]
	if d == nil {
		if len(w.devices) == maxDevices {
			w.full = true
			return nil
		}
		d = &device{
			node: k.node, uuid: id, name: g.GetGpu().GetName(), parent: g.GetGpu().GetParent(),
			series: slots.NewSeries(deviceRows, w.slots),
		}
		w.devices[k] = d
		n.devices++
	}
	return d
}

// parentOf is the GPU that a MIG device is a part of; nil for a whole GPU, and where the parent is unknown.
func (w *Watch) parentOf(d *device) *device {
	if d.parent == "" {
		return nil
	}
	return w.devices[deviceKey{d.node, d.parent}]
}

// addUsers takes a list of "namespace/pod/container".
func (d *device) addUsers(list string) {
	for name := range strings.SplitSeq(list, ",") {
		i := strings.LastIndexByte(name, '/')
		if i <= 0 || slices.Contains(d.users, name[:i]) || len(d.users) == maxNames {
			continue
		}
		d.users = append(d.users, name[:i])
	}
}

// podByName finds or makes the pod of "namespace/pod/…".
func (w *Watch) podByName(name string) *pod {
	parts := strings.SplitN(name, "/", 3)
	if len(parts) < 2 || parts[0] == "" || parts[1] == "" {
		return nil
	}
	return w.pod(podKey{parts[0], parts[1]})
}

func (w *Watch) pod(k podKey) *pod {
	p := w.pods[k]
	if p == nil {
		if len(w.pods) == maxPods {
			w.full = true
			return nil
		}
		p = &pod{podKey: k, series: slots.NewSeries(podRows, w.slots)}
		w.pods[k] = p
	}
	return p
}

// podOf finds or makes the pod that an event was observed in.
func (w *Watch) podOf(ev *event.Event) *pod {
	if ev.GetPod() == "" || ev.GetNamespace() == "" {
		return nil
	}
	p := w.pod(podKey{ev.GetNamespace(), ev.GetPod()})
	if p != nil {
		p.node, p.uid = ev.GetNode(), ev.GetPodUid()
		if ev.GetWorkload() != "" {
			p.workload = ev.GetWorkload()
		}
	}
	return p
}

// hasGPU reports whether the pod has a process on a GPU, or was given one.
func (p *pod) hasGPU() bool { return len(p.devices) > 0 || len(p.allocated) > 0 }

// workloadKey is the same for the pods of a workload. A pod without a workload is its own.
func (p *pod) workloadKey() string {
	if p.workload == "" {
		return p.namespace + " pod " + p.name
	}
	return p.namespace + " " + p.workload
}

// addDevice records that a pod has a process on a device.
func (p *pod) addDevice(d *device) {
	if !slices.Contains(p.devices, d) && len(p.devices) < maxNames {
		p.devices = append(p.devices, d)
	}
}

// process finds or makes a process. A PID that another pod uses now is a new process.
func (w *Watch) process(p *pod, node string, pid uint32) *process {
	if p == nil || pid == 0 {
		return nil
	}
	k := processKey{node, pid}
	r := w.processes[k]
	if r == nil || r.pod != p {
		if r == nil && len(w.processes) == maxProcesses {
			w.full = true
			return nil
		}
		r = &process{pod: p, held: map[string]uint64{}, series: slots.NewSeries(processRows, w.slots)}
		w.processes[k] = r
		p.processes = append(p.processes, r)
	}
	return r
}

// container finds or makes a container of a pod.
func (w *Watch) container(p *pod, id string) *container {
	c := w.containers[id]
	if c == nil {
		if len(w.containers) == maxContainers {
			w.full = true
			return nil
		}
		c = &container{series: slots.NewSeries(containerRows, w.slots)}
		w.containers[id] = c
		p.containers = append(p.containers, c)
	}
	return c
}
