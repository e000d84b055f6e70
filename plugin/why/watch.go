// Package why says what the time of pods' GPUs goes to: it takes the events of a window (gpu, resources, flow), keeps
// of them what its rules look at, second by second and in bounded memory, and gives a verdict for each pod, which is an
// event too (gpuVerdict). The rules are a table (rules.go); it knows neither Kubernetes nor the wire.
package why

import (
	"slices"
	"strings"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// What is kept at most. What is beyond is counted as missing.
const (
	maxNodes      = 4096
	maxPods       = 2048
	maxDevices    = 4096
	maxProcesses  = 8192
	maxContainers = 4096
	maxFlows      = 1 << 17
	maxNames      = 64 // of one device
	maxSlots      = 60
	minSlot       = time.Second
	maxGrown      = 24 * time.Hour // of a window that grows
)

// Rows of a device's series.
const (
	rowUtil = iota
	rowMem
	rowSM
	rowTensor
	rowDRAM
	rowPower
	rowReceived
	rowSent
	rowNVLink
	rowLooks     // 1 at each look that tells what keeps clocks down
	rowThrottled // 1 where it is power or heat, to a degree that costs
	rowClock     // of the highest, while busy
	rowDoubt     // 1 where power or heat keep clocks down and it is not told how far
	rowDoubtMHz  // the clock at these
	deviceRows
)

// Rows of a process's series.
const (
	rowLaunches = iota
	rowGraphs
	rowHostToDevice
	rowDeviceToHost
	rowOtherBytes
	rowCopy
	rowSync
	rowSyncs
	rowCollectives
	rowOwnSM
	processRows
)

// Rows of a container's series.
const (
	rowCPU = iota
	rowCPUThrottled
	rowPSICPU
	rowPSIIO
	rowPSIMemory
	rowRunQueue
	rowRead
	rowInFlight
	containerRows
)

// Rows of a pod's series.
const (
	rowNet = iota
	rowPeer
	rowRetransmits
	podRows
)

// key is a thing of a node.
type key struct{ node, id string }

// Watch keeps what the rules look at. Its methods are for one goroutine.
type Watch struct {
	window time.Duration
	width  uint64
	slots  int

	nodes      map[string]*node
	pods       map[podKey]*pod
	devices    map[key]*device
	processes  map[processKey]*process
	containers map[string]*container
	flows      map[string]*flow
	// flowsSeen: conversations are among the events that come, or would be.
	flowsSeen bool
	// team is filled in for verdicts.
	team map[string]*team
	// highest is the highest clock seen of GPUs of a name, MHz.
	highest map[string]uint32
	// full: something was left away.
	full bool
}

type podKey struct{ namespace, name string }

type processKey struct {
	node string
	pid  uint32
}

// node is what is known of one.
type node struct {
	clock   clock
	lost    uint64
	devices int
	// trouble is why its devices cannot be read; empty where they can.
	trouble string
}

// pod is one that was seen.
type pod struct {
	podKey
	node     string
	uid      string
	workload string
	series   series
	// flowsSeen: sockets of its node are looked at.
	devices    []*device
	processes  []*process
	containers []*container
	// unused: it was given devices that it has no process on.
	given []*device
}

// device is a GPU or MIG device.
type device struct {
	node   string
	uuid   string
	name   string
	parent string
	index  *uint32
	series series

	total, used       *uint64
	temperature       *uint32
	throttles         []string
	firstECC, lastECC *uint64
	xids              []uint32
	lost              bool
	processes, own    *uint32
	users             []string // pods with a process on it, "namespace/pod"
	looks             int
}

// process is one on a device.
type process struct {
	pod     *pod
	pid     uint32
	node    string
	devices []*device
	held    map[string]uint64
	series  series
	// counted: what it asks of the driver is.
	counted bool
	last    *event.GpuCalls
	at      uint64
	waiting uint64
	any     bool // it asked something of the driver in the window
	looks   int
}

// container is one whose use of the node is known.
type container struct {
	name   string
	series series
	last   *counters
	at     uint64
	limit  *uint64
}

type counters struct{ delay, readBytes, readMicros *uint64 }

// flow is a conversation, and what its ends had received at the last look.
type flow struct {
	at                   uint64
	toSrc, toDst, resent uint64
	seen                 bool
}

// New makes a Watch for windows of a length. One of 0 grows with what it is told of, to a day.
func New(window time.Duration) *Watch {
	width := max(minSlot, window/maxSlots)
	slots := int((window + width - 1) / width)
	if window == 0 {
		slots = maxSlots
	}
	return &Watch{
		window: window, width: uint64(width), slots: slots,
		nodes: map[string]*node{}, pods: map[podKey]*pod{}, devices: map[key]*device{},
		processes: map[processKey]*process{}, containers: map[string]*container{}, flows: map[string]*flow{},
		highest: map[string]uint32{},
	}
}

// TraceFlows says that conversations are traced: where none is told of, there is none.
func (w *Watch) TraceFlows() { w.flowsSeen = true }

// node finds or makes one. Its window begins with the first event that has a time.
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
	if n.clock.start == 0 && at != 0 {
		n.clock = clock{start: at, width: w.width, slots: w.slots}
	}
	if w.window == 0 && at > n.clock.start && at-n.clock.start < uint64(maxGrown) {
		for at >= n.clock.start+uint64(w.slots)*w.width {
			w.fold()
		}
	}
	return n
}

// fold makes room for twice the time, in slots of twice the length.
func (w *Watch) fold() {
	w.width *= 2
	for _, n := range w.nodes {
		n.clock.width = w.width
	}
	for _, d := range w.devices {
		d.series.fold(0.5)
	}
	for _, p := range w.processes {
		p.series.fold(0.5)
	}
	for _, c := range w.containers {
		c.series.fold(0.5)
	}
	for _, p := range w.pods {
		p.series.fold(1) // amounts, not means
	}
}

// Restart begins the window anew: of what has been, it keeps what counters stood at, whose processes are where, and
// errors of devices.
func (w *Watch) Restart() {
	for _, n := range w.nodes {
		n.clock, n.lost = clock{}, 0
	}
	for _, p := range w.pods {
		clear(p.series.means)
	}
	for _, d := range w.devices {
		clear(d.series.means)
		d.looks, d.throttles = 0, nil
	}
	for _, p := range w.processes {
		clear(p.series.means)
		p.any, p.waiting, p.looks = false, 0, 0
	}
	for _, c := range w.containers {
		clear(c.series.means)
	}
}

// Add takes an event. Those of one node are expected in the order of time; what is not is left away.
func (w *Watch) Add(ev *event.Event) {
	const never = 1 << 62 // ns; what is computed of times below does not overflow
	if ev.GetTime() >= never {
		return
	}
	switch k := ev.GetKind().(type) {
	case *event.Event_Gpu:
		w.gpu(ev, k.Gpu)
	case *event.Event_Resources:
		w.resources(ev, k.Resources)
	case *event.Event_Flow:
		w.flowsSeen = true
		w.flow(ev, k.Flow)
	case *event.Event_Lost:
		if n := w.node(ev.GetNode(), 0); n != nil {
			n.lost += k.Lost.GetCount()
		}
	}
}

// span is the time that a period of a look is of.
func span(at, micros uint64) (from, to uint64) {
	const longest = uint64(time.Hour)
	d := longest
	if micros < longest/1000 {
		d = micros * 1000
	}
	return at - min(d, at), at
}

func (w *Watch) gpu(ev *event.Event, g *event.Gpu) {
	at := ev.GetTime()
	n := w.node(ev.GetNode(), at)
	if n == nil {
		return
	}
	n.clock.last = max(n.clock.last, at)
	switch g.GetWhat() {
	case event.GpuWhat_GPU_WHAT_UNAVAILABLE:
		n.trouble = g.GetMessage()
	case event.GpuWhat_GPU_WHAT_DEVICE:
		n.trouble = ""
		w.look(n, ev, g)
	case event.GpuWhat_GPU_WHAT_PROCESS:
		w.use(n, ev, g)
	case event.GpuWhat_GPU_WHAT_CALLS:
		w.calls(n, ev, g)
	case event.GpuWhat_GPU_WHAT_XID:
		if d := w.device(n, ev, g); d != nil && len(d.xids) < maxNames {
			d.xids = append(d.xids, g.GetXid())
			d.usedBy(g.GetUsedBy())
			if ev.GetPod() != "" {
				d.usedBy(ev.GetNamespace() + "/" + ev.GetPod() + "/")
			}
		}
	case event.GpuWhat_GPU_WHAT_LOST:
		if d := w.device(n, ev, g); d != nil {
			d.lost = true
		}
	}
}

func (w *Watch) device(n *node, ev *event.Event, g *event.Gpu) *device {
	id := g.GetGpu().GetUuid()
	if id == "" {
		return nil
	}
	k := key{ev.GetNode(), id}
	d := w.devices[k]
	if d == nil {
		if len(w.devices) == maxDevices {
			w.full = true
			return nil
		}
		d = &device{
			node: k.node, uuid: id, name: g.GetGpu().GetName(), parent: g.GetGpu().GetParent(),
			series: newSeries(deviceRows, w.slots),
		}
		if g.GetGpu().Index != nil {
			i := g.GetGpu().GetIndex()
			d.index = &i
		}
		w.devices[k] = d
		n.devices++
	}
	return d
}

// usedBy takes a list of "namespace/pod/container".
func (d *device) usedBy(list string) {
	for name := range strings.SplitSeq(list, ",") {
		i := strings.LastIndexByte(name, '/')
		if i <= 0 || slices.Contains(d.users, name[:i]) || len(d.users) == maxNames {
			continue
		}
		d.users = append(d.users, name[:i])
	}
}

// slowing are the words of what costs where it keeps clocks down.
var slowing = []string{
	"power-cap", "hw-slowdown", "sw-thermal", "hw-thermal", "power-brake", "board-limit", "reliability",
}

// look takes a look at a device.
func (w *Watch) look(n *node, ev *event.Event, g *event.Gpu) {
	d := w.device(n, ev, g)
	if d == nil {
		return
	}
	from, to := span(ev.GetTime(), g.GetPeriodMicros())
	add := func(row int, v float64) { n.clock.add(&d.series, row, from, to, v) }
	d.looks++
	d.lost = false
	d.usedBy(g.GetUsedBy())
	d.processes, d.own = g.Processes, g.OwnProcesses
	if m := g.GetMemory(); m != nil {
		d.total, d.used = m.TotalBytes, m.UsedBytes
	}
	if a := g.GetActivity(); a != nil {
		if a.GpuPercent != nil {
			add(rowUtil, float64(a.GetGpuPercent())/100)
		}
		if a.MemoryPercent != nil {
			add(rowMem, float64(a.GetMemoryPercent())/100)
		}
		for i, p := range [...]*float64{a.SmPercent, a.TensorPercent, a.DramPercent} {
			if p != nil {
				add(rowSM+i, *p/100)
			}
		}
		for i, p := range [...]*uint64{a.PcieReceivedPerSecond, a.PcieSentPerSecond} {
			if p != nil {
				add(rowReceived+i, float64(*p))
			}
		}
		if a.NvlinkReceivedPerSecond != nil && a.NvlinkSentPerSecond != nil {
			add(rowNVLink, float64(*a.NvlinkReceivedPerSecond)+float64(*a.NvlinkSentPerSecond))
		}
	}
	if h := g.GetHealth(); h != nil {
		w.health(d, h, add, g.GetActivity())
	}
	for name := range strings.SplitSeq(g.GetAllocatedTo(), ",") {
		if p := w.podNamed(name); p != nil && !slices.Contains(p.given, d) && len(p.given) < maxNames {
			p.given = append(p.given, d)
		}
	}
	for _, name := range d.users {
		if p := w.podNamed(name + "/"); p != nil {
			p.on(d)
			if p.node == "" {
				p.node = ev.GetNode()
			}
		}
	}
}

// health takes what a look says of clocks, power and errors.
func (w *Watch) health(d *device, h *event.GpuHealth, add func(int, float64), a *event.GpuActivity) {
	if h.PowerMilliwatts != nil && h.GetPowerLimitMilliwatts() > 0 {
		add(rowPower, float64(h.GetPowerMilliwatts())/float64(h.GetPowerLimitMilliwatts()))
	}
	if h.TemperatureCelsius != nil {
		t := max(h.GetTemperatureCelsius(), deref(d.temperature))
		d.temperature = &t
	}
	if h.EccUncorrected != nil {
		n := h.GetEccUncorrected()
		if d.firstECC == nil || n < *d.firstECC {
			d.firstECC = &n
		}
		d.lastECC = &n
	}
	if mhz := h.GetSmMhz(); mhz > w.highest[d.name] && (w.highest[d.name] != 0 || len(w.highest) < maxNames) {
		w.highest[d.name] = mhz
	}
	clock := nan
	if h.SmMhz != nil && h.GetMaxSmMhz() > 0 {
		clock = float64(h.GetSmMhz()) / float64(h.GetMaxSmMhz())
	}
	if h.GetThrottle() == "" {
		return
	}
	why := 0
	hard := false
	for word := range strings.SplitSeq(h.GetThrottle(), ",") {
		if slices.Contains(slowing, word) {
			why++
			hard = hard || word != "power-cap"
			if !slices.Contains(d.throttles, word) && len(d.throttles) < maxNames {
				d.throttles = append(d.throttles, word)
			}
		}
	}
	add(rowLooks, 1)
	if why == 0 || known(clock) || hard {
		add(rowDoubt, 0)
	}
	if h.GetThrottle() != "idle" && known(clock) && (a == nil || a.GpuPercent == nil || a.GetGpuPercent() > 0) {
		add(rowClock, min(clock, 1))
	}
	switch {
	case why == 0:
		add(rowThrottled, 0)
	case known(clock):
		add(rowThrottled, ramp(clock, clockHealthy, clockThrottled))
	case hard:
		add(rowThrottled, 1)
	default:
		// A healthy GPU at its power limit says so as well: how far the clocks are down is not told.
		add(rowDoubt, 1)
		if h.SmMhz != nil {
			add(rowDoubtMHz, float64(h.GetSmMhz()))
		}
	}
}

func deref[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// podNamed finds or makes the pod of "namespace/pod/…".
func (w *Watch) podNamed(name string) *pod {
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
		p = &pod{podKey: k, series: newSeries(podRows, w.slots)}
		w.pods[k] = p
	}
	return p
}

// observed is the pod that an event is of.
func (w *Watch) observed(ev *event.Event) *pod {
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

// on says that a pod has a process on a device.
func (p *pod) on(d *device) {
	if !slices.Contains(p.devices, d) && len(p.devices) < maxNames {
		p.devices = append(p.devices, d)
	}
}

func (w *Watch) process(p *pod, node string, pid uint32) *process {
	if p == nil || pid == 0 {
		return nil
	}
	k := processKey{node, pid}
	r := w.processes[k]
	if r == nil || r.pod != p { // the number is another's now
		if r == nil && len(w.processes) == maxProcesses {
			w.full = true
			return nil
		}
		r = &process{pod: p, pid: pid, node: node, held: map[string]uint64{}, series: newSeries(processRows, w.slots)}
		w.processes[k] = r
		p.processes = append(p.processes, r)
	}
	return r
}

// use takes a look at a process on a device.
func (w *Watch) use(n *node, ev *event.Event, g *event.Gpu) {
	p := w.observed(ev)
	d := w.device(n, ev, g)
	r := w.process(p, ev.GetNode(), g.GetProc().GetPid())
	if d == nil || r == nil {
		return
	}
	p.on(d)
	d.usedBy(p.namespace + "/" + p.name + "/")
	if !slices.Contains(r.devices, d) && len(r.devices) < maxNames {
		r.devices = append(r.devices, d)
	}
	r.looks++
	if g.GetProc().MemoryBytes != nil && len(r.held) <= maxNames {
		r.held[d.uuid] = g.GetProc().GetMemoryBytes()
	}
	if g.GetProc().SmPercent != nil {
		from, to := span(ev.GetTime(), g.GetPeriodMicros())
		n.clock.add(&r.series, rowOwnSM, from, to, min(float64(g.GetProc().GetSmPercent())/100, 1))
	}
}

// calls takes what a process has asked of the driver so far.
func (w *Watch) calls(n *node, ev *event.Event, g *event.Gpu) {
	r := w.process(w.observed(ev), ev.GetNode(), g.GetProc().GetPid())
	c := g.GetCalls()
	if r == nil || c == nil {
		return
	}
	r.counted = true
	at, last, from := ev.GetTime(), r.last, r.at
	r.waiting = max(r.waiting, c.GetWaitingMicros())
	if last != nil && at <= from {
		return
	}
	r.last, r.at = cloneCalls(c), at
	if last == nil || last.GetSince() != c.GetSince() {
		return
	}
	seconds := float64(at-from) / 1e9
	rate := func(row int, was, is *uint64, scale float64) {
		if was == nil || is == nil || *is < *was {
			return
		}
		grown := float64(*is - *was)
		if grown > 0 {
			r.any = true
		}
		n.clock.add(&r.series, row, from, at, grown*scale/seconds)
	}
	rate(rowLaunches, last.Launches, c.Launches, 1)
	rate(rowGraphs, last.GraphLaunches, c.GraphLaunches, 1)
	rate(rowHostToDevice, last.HostToDeviceBytes, c.HostToDeviceBytes, 1)
	rate(rowDeviceToHost, last.DeviceToHostBytes, c.DeviceToHostBytes, 1)
	rate(rowOtherBytes, last.OtherBytes, c.OtherBytes, 1)
	rate(rowCopy, last.CopyMicros, c.CopyMicros, 1e-6)
	rate(rowSync, last.SyncMicros, c.SyncMicros, 1e-6)
	rate(rowSyncs, last.Syncs, c.Syncs, 1)
	rate(rowCollectives, last.Collectives, c.Collectives, 1)
}

// cloneCalls copies what is looked at later: events are the caller's.
func cloneCalls(c *event.GpuCalls) *event.GpuCalls {
	same := func(n *uint64) *uint64 {
		if n == nil {
			return nil
		}
		v := *n
		return &v
	}
	return &event.GpuCalls{
		Launches: same(c.Launches), GraphLaunches: same(c.GraphLaunches), HostToDeviceBytes: same(c.HostToDeviceBytes),
		DeviceToHostBytes: same(c.DeviceToHostBytes),
		OtherBytes:        same(c.OtherBytes), CopyMicros: same(c.CopyMicros), Syncs: same(c.Syncs),
		SyncMicros: same(c.SyncMicros), Collectives: same(c.Collectives), Since: c.GetSince(),
	}
}

// resources takes a look at a container.
func (w *Watch) resources(ev *event.Event, r *event.Resources) {
	at := ev.GetTime()
	n := w.node(ev.GetNode(), at)
	p := w.observed(ev)
	if n == nil || p == nil || r.GetId() == "" {
		return
	}
	n.clock.last = max(n.clock.last, at)
	c := w.containers[r.GetId()]
	if c == nil {
		if len(w.containers) == maxContainers {
			w.full = true
			return
		}
		c = &container{name: ev.GetContainer(), series: newSeries(containerRows, w.slots)}
		w.containers[r.GetId()] = c
		p.containers = append(p.containers, c)
	}
	from, to := span(at, r.GetIntervalMicros())
	add := func(row int, v *uint64, scale float64) {
		if v != nil {
			n.clock.add(&c.series, row, from, to, float64(*v)*scale)
		}
	}
	if cpu := r.GetCpu(); cpu != nil {
		add(rowCPU, cpu.Millis, 1e-3)
		add(rowCPUThrottled, cpu.ThrottledPercent, 1e-2)
		c.limit = copied(cpu.LimitMillis)
	}
	if psi := r.GetPressure(); psi != nil {
		add(rowPSICPU, psi.CpuSomePercent, 1e-2)
		add(rowPSIIO, psi.IoSomePercent, 1e-2)
		add(rowPSIMemory, psi.MemorySomePercent, 1e-2)
	}
	now := &counters{}
	if q := r.GetRunQueue(); q != nil {
		now.delay = copied(q.DelayMicros)
	}
	if io := r.GetIo(); io != nil {
		now.readBytes, now.readMicros = copied(io.ReadBytes), copied(io.ReadMicros)
	}
	if c.last != nil && at > c.at {
		seconds := float64(at-c.at) / 1e9
		rate := func(row int, was, is *uint64, scale float64) {
			if was != nil && is != nil && *is >= *was {
				n.clock.add(&c.series, row, c.at, at, float64(*is-*was)*scale/seconds)
			}
		}
		rate(rowRunQueue, c.last.delay, now.delay, 1e-6)
		rate(rowRead, c.last.readBytes, now.readBytes, 1)
		rate(rowInFlight, c.last.readMicros, now.readMicros, 1e-6)
	}
	if c.last == nil || at > c.at {
		c.last, c.at = now, at
	}
}

func copied(n *uint64) *uint64 {
	if n == nil {
		return nil
	}
	v := *n
	return &v
}

// flow counts what the pods at the ends of a conversation have received since the last look.
func (w *Watch) flow(ev *event.Event, f *event.Flow) {
	at := ev.GetTime()
	n := w.node(ev.GetNode(), at)
	if n == nil || f.GetId() == "" {
		return
	}
	n.clock.last = max(n.clock.last, at)
	s := w.flows[f.GetId()]
	if s == nil {
		if len(w.flows) == maxFlows {
			w.full = true
			return
		}
		s = &flow{}
		w.flows[f.GetId()] = s
	}
	src, dst := f.GetSrcCounters(), f.GetDstCounters()
	toSrc, toDst := src.GetBytesReceived(), dst.GetBytesReceived()
	if src == nil {
		toSrc = dst.GetBytesSent()
	}
	if dst == nil {
		toDst = src.GetBytesSent()
	}
	resent := src.GetRetransmits() + dst.GetRetransmits()
	from := s.at
	switch {
	case !s.seen && f.GetStartTime() != 0 && f.GetStartTime() < at:
		from = f.GetStartTime() // all of it is new
		s.seen = n.clock.start != 0 && from >= n.clock.start
	}
	if s.seen && at > from {
		same := f.GetSrc().GetWorkload() != "" && f.GetSrc().GetWorkload() == f.GetDst().GetWorkload() &&
			f.GetSrc().GetNamespace() == f.GetDst().GetNamespace()
		grew := [3]uint64{toSrc - min(s.toSrc, toSrc), toDst - min(s.toDst, toDst), resent - min(s.resent, resent)}
		w.received(f.GetSrc(), from, at, grew[0], grew[2], same)
		w.received(f.GetDst(), from, at, grew[1], grew[2], same)
	}
	s.at, s.seen, s.toSrc, s.toDst, s.resent = at, true, max(s.toSrc, toSrc), max(s.toDst, toDst), max(s.resent, resent)
	if f.GetPhase() == event.Phase_PHASE_CLOSED {
		delete(w.flows, f.GetId())
	}
}

// received counts for one end, where that is a pod that was seen.
func (w *Watch) received(e *event.Endpoint, from, to, bytes, resent uint64, peer bool) {
	if e.GetPod() == "" {
		return
	}
	p := w.pods[podKey{e.GetNamespace(), e.GetPod()}]
	if p == nil {
		return
	}
	n := w.nodes[p.node]
	if n == nil || n.clock.start == 0 {
		return
	}
	row := rowNet
	if peer {
		row = rowPeer
	}
	n.clock.count(&p.series, row, from, to, float64(bytes))
	n.clock.count(&p.series, rowRetransmits, from, to, float64(resent))
}

// count adds an amount that came between two times. Amounts of several sources add up, so they have no weights: see
// rate.
func (c *clock) count(s *series, row int, from, to uint64, amount float64) {
	if to <= from || to <= c.start || amount <= 0 || amount > 1e18 {
		return
	}
	end := c.start + uint64(c.slots)*c.width
	for at := max(from, c.start); at < min(to, end); {
		i := (at - c.start) / c.width
		next := min(c.start+(i+1)*c.width, to, end)
		s.means[int(i)*s.rows+row].sum += float32(amount * float64(next-at) / float64(to-from))
		at = next
	}
}

// rate is how much of an amount there was a second, around a slot. Of an amount that did not come there was none.
func (c *clock) rate(s *series, row, slot, reach int) float64 {
	var sum float32
	slots := 0
	for i := max(slot-reach, 0); i <= min(slot+reach, c.seen()-1); i++ {
		sum += s.means[i*s.rows+row].sum
		slots++
	}
	if slots == 0 {
		return nan
	}
	return float64(sum) / (float64(slots) * float64(c.width) / 1e9)
}

// seen is how many slots have been seen.
func (c *clock) seen() int {
	if c.start == 0 || c.last <= c.start {
		return 0
	}
	return min(int((c.last-c.start+c.width-1)/c.width), c.slots)
}

// ramp is 0 at from, 1 at to, and between them in proportion; from may be the larger.
func ramp(x, from, to float64) float64 {
	if from == to {
		if x >= to {
			return 1
		}
		return 0
	}
	return min(max((x-from)/(to-from), 0), 1)
}
