package pods

import (
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/plugin/why/engine"
	"github.com/orb8-dev/kubectl-orb8/plugin/why/slots"
)

// Limits on what is kept. What exceeds them is left out, and Full reports it.
const (
	maxNodes      = 4096
	maxPods       = 2048
	maxContainers = 64 // of a pod
	maxPeers      = 256
	maxNames      = 256
	maxProcesses  = 256
	maxFlows      = 1 << 17
	maxServices   = 4096
	// Of all pods together: who sends events may name as many of each as it likes.
	maxAllContainers = 8192
	maxAllPeers      = 1 << 17
	maxAllNames      = 1 << 17
	maxAllCalls      = 8192
	maxDrops         = 1 << 14
	maxSlots         = 60
	minSlot          = time.Second
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

	nodes map[string]*node
	pods  map[podKey]*pod
	flows map[string]*flow
	drops map[string]uint64 // packets, by the event's id
	kept  kept
	// histograms is how many peers have one of their responses.
	histograms int
	endpoints  map[Service]Endpoints
	// sources are the kinds of events that are observed: without events of such a kind, nothing happened.
	sources map[string]bool
	rules   *ruleTable
	full    bool
}

// kept counts what is kept of all pods together.
type kept struct{ containers, peers, names, calls int }

// room counts one more, unless there are too many.
func room(n *int, most int) bool {
	if *n >= most {
		return false
	}
	*n++
	return true
}

type podKey struct{ namespace, name string }

// node is the state of a node.
type node struct {
	clock   slots.Clock
	lost    uint64 // events
	doubted bool
}

// New makes a Watch for windows of a length. A window of length 0 grows with the events, to a day.
func New(window time.Duration) *Watch {
	width := Slot(window)
	n := int((window + width - 1) / width)
	if window == 0 {
		n = maxSlots
	}
	return &Watch{
		window: window, width: uint64(width), slots: n, nodes: map[string]*node{}, pods: map[podKey]*pod{},
		flows: map[string]*flow{}, drops: map[string]uint64{}, endpoints: map[Service]Endpoints{},
		sources: map[string]bool{},
		rules:   engine.NewTable(rules, event.PodCauseCount, sigAll),
	}
}

// Observe declares which kinds of events are observed.
func (w *Watch) Observe(kinds ...string) {
	for _, k := range kinds {
		w.sources[k] = true
	}
}

// Doubt declares that a part of what happened on a node, which has sent events, is not known: no verdict about its
// pods
// is certain.
func (w *Watch) Doubt(node string) {
	if n := w.nodes[node]; n != nil {
		n.doubted = true
	}
}

// Full reports whether a limit on memory was reached.
func (w *Watch) Full() bool { return w.full }

// Restart begins a new window. It keeps the last values of counters, and what processes and names are known.
func (w *Watch) Restart() {
	for _, n := range w.nodes {
		n.clock, n.lost = slots.Clock{}, 0
	}
	for _, p := range w.pods {
		p.restart()
	}
	w.histograms, w.kept.peers, w.kept.names = 0, 0, 0
}

// Add takes an event. The events of one node are expected in the order of time; late ones are left out.
func (w *Watch) Add(ev *event.Event) {
	if ev.GetTime() >= maxTime {
		return
	}
	if l := ev.GetLost(); l != nil {
		if n := w.node(ev.GetNode(), 0); n != nil {
			n.lost += l.GetCount()
		}
		return
	}
	switch k := ev.GetKind().(type) {
	case *event.Event_Flow:
		w.onFlow(ev, k.Flow)
		return
	case *event.Event_PodState:
		w.onState(ev, k.PodState)
		return
	case *event.Event_ServiceState:
		w.SetEndpoints(Service{ev.GetNamespace(), k.ServiceState.GetName()},
			Endpoints{k.ServiceState.GetHasEndpoints(), k.ServiceState.GetNotReadyPod()})
		return
	}
	n, p := w.observed(ev)
	if p == nil {
		return
	}
	switch k := ev.GetKind().(type) {
	case *event.Event_Resources:
		w.onResources(n, p, ev, k.Resources)
	case *event.Event_Tcp:
		w.onTCP(p, k.Tcp)
	case *event.Event_Dns:
		w.onDNS(p, k.Dns)
	case *event.Event_Drop:
		w.onDrop(p, k.Drop)
	case *event.Event_Exec:
		w.onExec(p, ev.GetTime(), k.Exec)
	case *event.Event_Syscall:
		p.onSyscall(ev.GetTime(), k.Syscall)
	}
}

// observed finds or makes the node and the pod that an event was observed in, and moves the node's clock on.
func (w *Watch) observed(ev *event.Event) (*node, *pod) {
	switch ev.GetKind().(type) {
	case *event.Event_Resources, *event.Event_Tcp, *event.Event_Dns, *event.Event_Drop, *event.Event_Exec,
		*event.Event_Syscall:
	default:
		return nil, nil
	}
	if ev.GetPod() == "" || ev.GetNamespace() == "" {
		return nil, nil
	}
	n := w.node(ev.GetNode(), ev.GetTime())
	p := w.pod(podKey{ev.GetNamespace(), ev.GetPod()})
	if n == nil || p == nil {
		return nil, nil
	}
	n.clock.Last = max(n.clock.Last, ev.GetTime())
	p.node, p.uid = ev.GetNode(), ev.GetPodUid()
	if ev.GetWorkload() != "" {
		p.workload = ev.GetWorkload()
	}
	return n, p
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
	w.width *= 2
	for _, n := range w.nodes {
		n.clock.Width = w.width
	}
	for _, p := range w.pods {
		for _, c := range p.containers {
			c.series.Fold(0.5)
		}
	}
}

func (w *Watch) pod(k podKey) *pod {
	p := w.pods[k]
	if p == nil {
		if len(w.pods) == maxPods {
			w.full = true
			return nil
		}
		p = newPod(k, &w.kept)
		w.pods[k] = p
	}
	return p
}

// Slot is how long a slot is in a window of a length.
func Slot(window time.Duration) time.Duration { return max(minSlot, window/maxSlots) }
