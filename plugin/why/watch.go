// Package why judges what the time of pods' GPUs goes to. It collects signals from the events of a window (gpu,
// resources, flow) by time slots, in bounded memory, and returns a verdict for each pod as a gpuVerdict event. The
// rules are a table (rules.go). The package knows neither Kubernetes nor the wire.
package why

import (
	"cmp"
	"slices"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/plugin/why/slots"
)

// Limits on what is kept. What exceeds them is left out, and Full reports it.
const (
	maxNodes      = 4096
	maxPods       = 2048
	maxDevices    = 4096
	maxProcesses  = 8192
	maxContainers = 4096
	maxFlows      = 1 << 17
	// maxNames is for each list of one device, process or pod.
	maxNames = 64
	maxSlots = 60
	minSlot  = time.Second
	// maxGrown is the longest that a growing window becomes.
	maxGrown = 24 * time.Hour
	// maxTime is the latest time of an event, ns since the Unix epoch: sums of times do not overflow.
	maxTime = 1 << 62
)

// Watch keeps the signals of a window. Its methods are for one goroutine.
type Watch struct {
	window time.Duration
	width  uint64
	slots  int

	nodes      map[string]*node
	pods       map[podKey]*pod
	devices    map[deviceKey]*device
	processes  map[processKey]*process
	containers map[string]*container
	flows      map[string]*flow
	// flowsTraced: flows are among the events. Without it, no flow means that the traffic is unknown.
	flowsTraced bool
	// highestMHz is the highest clock seen, by the name of the GPU.
	highestMHz map[string]uint32
	rules      *ruleTable
	full       bool
}

// New makes a Watch for windows of a length. A window of length 0 grows with the events, to a day.
func New(window time.Duration) *Watch {
	width := Slot(window)
	slots := int((window + width - 1) / width)
	if window == 0 {
		slots = maxSlots
	}
	return &Watch{
		window: window, width: uint64(width), slots: slots,
		nodes: map[string]*node{}, pods: map[podKey]*pod{}, devices: map[deviceKey]*device{},
		processes: map[processKey]*process{}, containers: map[string]*container{}, flows: map[string]*flow{},
		highestMHz: map[string]uint32{}, rules: newRuleTable(rules),
	}
}

// Observe declares which kinds of events are observed: where flows are, a pod without flow events receives nothing.
func (w *Watch) Observe(kinds ...string) {
	w.flowsTraced = w.flowsTraced || slices.Contains(kinds, "flow")
}

// Doubt declares that a part of what happened on a node, which has sent events, is not known: no verdict about its pods
// is certain.
func (w *Watch) Doubt(node string) {
	if n := w.nodes[node]; n != nil {
		n.doubted = true
	}
}

// Slot is how long a slot is in a window of a length.
func Slot(window time.Duration) time.Duration { return max(minSlot, window/maxSlots) }

// Restart begins a new window. It keeps the last values of counters, which processes are on which device, and the
// errors of devices.
func (w *Watch) Restart() {
	for _, n := range w.nodes {
		n.clock, n.lost = slots.Clock{}, 0
	}
	for _, p := range w.pods {
		p.series.Clear()
	}
	for _, d := range w.devices {
		d.series.Clear()
		d.samples, d.throttles = 0, nil
	}
	for _, p := range w.processes {
		p.series.Clear()
		p.active, p.waiting = false, 0
	}
	for _, c := range w.containers {
		c.series.Clear()
	}
}

// Add takes an event. The events of one node are expected in the order of time; late ones are left out.
func (w *Watch) Add(ev *event.Event) {
	if ev.GetTime() >= maxTime {
		return
	}
	switch k := ev.GetKind().(type) {
	case *event.Event_Gpu:
		w.onGPU(ev, k.Gpu)
	case *event.Event_Resources:
		w.onResources(ev, k.Resources)
	case *event.Event_Flow:
		w.flowsTraced = true
		w.onFlow(ev, k.Flow)
	case *event.Event_Lost:
		if n := w.node(ev.GetNode(), 0); n != nil {
			n.lost += k.Lost.GetCount()
		}
	}
}

func (w *Watch) onGPU(ev *event.Event, g *event.Gpu) {
	at := ev.GetTime()
	n := w.node(ev.GetNode(), at)
	if n == nil {
		return
	}
	n.clock.Last = max(n.clock.Last, at)
	switch g.GetType() {
	case event.GpuEventType_GPU_EVENT_TYPE_UNAVAILABLE:
		n.trouble = g.GetMessage()
	case event.GpuEventType_GPU_EVENT_TYPE_DEVICE:
		n.trouble = ""
		w.onDeviceSample(n, ev, g)
	case event.GpuEventType_GPU_EVENT_TYPE_PROCESS:
		w.onProcessSample(n, ev, g)
	case event.GpuEventType_GPU_EVENT_TYPE_CALLS:
		w.onCalls(n, ev, g)
	case event.GpuEventType_GPU_EVENT_TYPE_XID:
		w.onXID(n, ev, g)
	case event.GpuEventType_GPU_EVENT_TYPE_LOST:
		if d := w.device(n, ev, g); d != nil {
			d.lost = true
		}
	}
}

// Node is a node that sent events.
type Node struct {
	Name string
	// Devices is how many GPUs were seen.
	Devices int
	// Trouble is why its GPUs cannot be read; empty where that is not known.
	Trouble string
}

// Nodes lists the nodes that sent events, by name.
func (w *Watch) Nodes() (list []Node) {
	for name, n := range w.nodes {
		if name != "" {
			list = append(list, Node{name, n.devices, n.trouble})
		}
	}
	slices.SortFunc(list, func(a, b Node) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// Without lists the pods that were seen and have no GPU, "namespace/pod".
func (w *Watch) Without() (names []string) {
	for k, p := range w.pods {
		if !p.hasGPU() && (len(p.containers) > 0 || len(p.processes) > 0) {
			names = append(names, k.namespace+"/"+k.name)
		}
	}
	slices.Sort(names)
	return names
}

// Full reports whether a limit on memory was reached.
func (w *Watch) Full() bool { return w.full }
