package why

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// consistent stands before the words of a verdict: what is seen fits a cause, and proves none.
const consistent = "consistent with "

// unusedWords are those of GPUs that were given to a pod and that it does not use.
const unusedWords = "a GPU that was allocated, and that no process of the pod is on"

// worthASecond is the share that a cause has to have to be named after the first, and to be told apart from it.
const worthASecond = 0.1

// Verdicts gives one for each pod that has GPUs, by namespace and name.
func (w *Watch) Verdicts() []*event.Event {
	var rows []*event.Event
	w.teams()
	for _, p := range w.pods {
		if p.hasGPU() {
			rows = append(rows, w.row(p))
		}
	}
	slices.SortFunc(rows, func(a, b *event.Event) int {
		return cmp.Or(cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetPod(), b.GetPod()))
	})
	return rows
}

// hasGPU: it has a process on one, or was given one.
func (p *pod) hasGPU() bool { return len(p.devices) > 0 || len(p.given) > 0 }

// row is a pod's verdict, with all that it stands on.
func (w *Watch) row(p *pod) *event.Event {
	v := &event.GpuVerdict{Workload: p.workload, Evidence: &event.GpuEvidence{}}
	ev := &event.Event{
		Node: p.node, Namespace: p.namespace, Pod: p.name, PodUid: p.uid, Workload: p.workload,
		Kind: &event.Event_GpuVerdict{GpuVerdict: v},
	}
	if p.node == "" && len(p.given) > 0 {
		ev.Node = p.given[0].node
	}
	if n := w.nodes[ev.GetNode()]; n != nil {
		ev.Time, v.Lost = n.clock.last, n.lost
		if n.clock.last > n.clock.start {
			v.WindowMicros = (n.clock.last - n.clock.start) / 1000
			if w.window > 0 {
				v.WindowMicros = min(v.WindowMicros, uint64(w.window)/1000)
			}
		}
	}
	if len(p.devices) == 0 {
		v.Gpus, v.Words = uint64(len(p.given)), consistent+unusedWords
		v.Verdict, v.Confidence = abandoned, event.GpuConfidence_GPU_CONFIDENCE_HIGH
		v.Shares = &event.GpuShares{Abandoned: 100}
		return ev
	}
	j := w.judge(p)
	v.Gpus, v.Missing = uint64(len(j.seats)), strings.Join(j.missing, ", ")
	if len(j.seats) > 0 {
		w.evidence(p, j, v.Evidence)
	}
	if j.confidence == event.GpuConfidence_GPU_CONFIDENCE_UNKNOWN {
		return ev
	}
	v.Verdict, v.Confidence, v.Shares = j.first, j.confidence, &event.GpuShares{}
	for c, x := range j.shares {
		v.Shares.Set(event.GpuCause(c), 100*x)
	}
	v.Words = words(j.first)
	if j.shares[j.second] >= worthASecond {
		v.Second, v.Apart = &j.second, apart(j.first, j.second)
	}
	return ev
}

// words are those of a cause.
func words(c event.GpuCause) string {
	for i := range Rules {
		if Rules[i].Cause == c {
			if c == unknown {
				return Rules[i].Words
			}
			return consistent + Rules[i].Words
		}
	}
	return ""
}

// apart says what would tell two causes apart; empty where the table has nothing.
func apart(a, b event.GpuCause) string {
	for _, pair := range [][2]event.GpuCause{{a, b}, {b, a}} {
		for i := range Rules {
			if Rules[i].Cause == pair[0] && Rules[i].Apart[pair[1]] != "" {
				return Rules[i].Apart[pair[1]]
			}
		}
	}
	return ""
}

// evidence fills in what was seen of a pod.
func (w *Watch) evidence(p *pod, j *judgement, e *event.GpuEvidence) {
	all := func(f func(*seat) float64) (list []float64) {
		for _, s := range j.seats {
			if x := f(s); known(x) {
				list = append(list, x)
			}
		}
		return list
	}
	mean := func(row int, scale float64) *float64 {
		list := all(func(s *seat) float64 { return s.device.series.whole(row) })
		return number(scale * total(list...) / float64(max(len(list), 1)))
	}
	sum := func(row int) *float64 {
		return number(total(all(func(s *seat) float64 { return s.device.series.whole(row) })...))
	}
	e.GpuPercent, e.MemoryPercent = mean(rowUtil, 100), mean(rowMem, 100)
	e.SmPercent, e.TensorPercent, e.DramPercent = mean(rowSM, 100), mean(rowTensor, 100), mean(rowDRAM, 100)
	e.PowerPercent, e.ClockPercent = mean(rowPower, 100), mean(rowClock, 100)
	e.PcieReceivedPerSecond, e.PcieSentPerSecond, e.NvlinkPerSecond = sum(rowReceived), sum(rowSent), sum(rowNVLink)
	if slowed := all(func(s *seat) float64 { return s.throttled(s.clock.seen() / 2) }); len(slowed) > 0 {
		var looks []float64
		for _, s := range j.seats {
			for slot := range s.clock.seen() {
				if x := s.throttled(slot); known(x) {
					looks = append(looks, x)
				}
			}
		}
		e.ThrottledPercent = number(100 * total(looks...) / float64(max(len(looks), 1)))
	}
	w.ailments(j, e)

	e.Processes = proto.Uint64(uint64(len(p.processes)))
	calls := func(row int, scale float64) *float64 {
		x := nan
		for _, r := range p.processes {
			x = total(x, r.series.whole(row))
		}
		return number(x * scale)
	}
	threads := 100 / float64(max(len(p.processes), 1))
	e.LaunchesPerSecond, e.GraphsPerSecond = calls(rowLaunches, 1), calls(rowGraphs, 1)
	e.SyncsPerSecond, e.CollectivesPerSecond = calls(rowSyncs, 1), calls(rowCollectives, 1)
	e.CopyPercent, e.SyncPercent = calls(rowCopy, threads), calls(rowSync, threads)
	e.CopiedPerSecond = number(total(
		float(calls(rowHostToDevice, 1)), float(calls(rowDeviceToHost, 1)), float(calls(rowOtherBytes, 1)),
	))
	held, heldKnown := uint64(0), false
	for _, r := range p.processes {
		if r.waiting > 0 {
			e.WaitingMicros = proto.Uint64(max(e.GetWaitingMicros(), r.waiting))
		}
		for _, n := range r.held {
			held, heldKnown = held+min(n, 1<<60-min(held, 1<<60)), true
		}
	}
	if heldKnown {
		e.MemoryHeldBytes = &held
	}

	middle, wide := w.slots/2, w.slots
	e.CpuMillis = number(1000 * p.containersSum(rowCPU, middle, wide))
	limit, limited := uint64(0), len(p.containers) > 0
	for _, c := range p.containers {
		if c.limit == nil {
			limited = false
			break
		}
		limit += min(*c.limit, 1<<40)
	}
	if limited {
		e.CpuLimitMillis = &limit
	}
	e.CpuThrottledPercent = number(100 * p.containersMost(rowCPUThrottled, middle, wide))
	e.CpuPressurePercent = number(100 * p.containersMost(rowPSICPU, middle, wide))
	e.IoPressurePercent = number(100 * p.containersMost(rowPSIIO, middle, wide))
	e.MemoryPressurePercent = number(100 * p.containersMost(rowPSIMemory, middle, wide))
	e.RunQueue = number(p.containersSum(rowRunQueue, middle, wide))
	e.ReadPerSecond = number(p.containersSum(rowRead, middle, wide))
	if n := w.nodes[p.node]; n != nil && w.flowsSeen {
		e.NetworkReceivedPerSecond = number(n.clock.rate(&p.series, rowNet, middle, wide))
		e.PeerReceivedPerSecond = number(n.clock.rate(&p.series, rowPeer, middle, wide))
		e.RetransmitsPerSecond = number(n.clock.rate(&p.series, rowRetransmits, middle, wide))
	}
	if t := w.team[p.crew()]; t != nil && j.seats[0].several {
		e.PeersLeastPercent, e.PeersMostPercent = number(100*t.least), number(100*t.most)
	}
}

// ailments fills in what the driver reported of the pod's devices, and what keeps their clocks down.
func (w *Watch) ailments(j *judgement, e *event.GpuEvidence) {
	var throttles, xids []string
	var grown uint64
	ecc := false
	for _, s := range j.seats {
		devices := []*device{s.device}
		if parent := w.devices[key{s.device.node, s.device.parent}]; s.device.parent != "" && parent != nil {
			devices = append(devices, parent)
		}
		for _, d := range devices {
			throttles = append(throttles, d.throttles...)
			for _, x := range d.xids {
				xids = append(xids, fmt.Sprint(x))
			}
			if d.temperature != nil {
				e.TemperatureCelsius = proto.Uint64(max(e.GetTemperatureCelsius(), uint64(*d.temperature)))
			}
			if d.firstECC != nil && d.lastECC != nil {
				ecc = true
				grown += *d.lastECC - min(*d.firstECC, *d.lastECC)
			}
		}
	}
	slices.Sort(throttles)
	slices.Sort(xids)
	e.Throttle, e.Xids = strings.Join(slices.Compact(throttles), ","), strings.Join(slices.Compact(xids), ",")
	if ecc {
		e.EccUncorrected = &grown
	}
}

// team is the pods of a workload.
type team struct {
	pods int
	// least and most are how much of the window their GPUs worked.
	least, most float64
}

// teams gathers them, by namespace and workload; a pod of none is its own.
func (w *Watch) teams() {
	w.team = map[string]*team{}
	for _, p := range w.pods {
		if len(p.devices) > 0 {
			t := w.team[p.crew()]
			if t == nil {
				t = &team{least: nan, most: nan}
				w.team[p.crew()] = t
			}
			t.pods++
		}
	}
	for _, p := range w.pods {
		t := w.team[p.crew()]
		for _, s := range w.seats(p) {
			sum, n := 0.0, 0
			for slot := range s.clock.seen() {
				if m, ok := s.moment(slot); ok {
					sum += m[Work]
					n++
				}
			}
			if n > 0 {
				t.most = most(t.most, sum/float64(n))
				t.least = -most(-t.least, -sum/float64(n))
			}
		}
	}
}

// crew names the pod's team.
func (p *pod) crew() string {
	if p.workload == "" {
		return p.namespace + " pod " + p.name
	}
	return p.namespace + " " + p.workload
}

// number is nil where x is not known.
func number(x float64) *float64 {
	if !known(x) {
		return nil
	}
	return &x
}

func float(p *float64) float64 {
	if p == nil {
		return nan
	}
	return *p
}

// Node is one that was looked at.
type Node struct {
	Name string
	// Devices is how many GPUs were seen.
	Devices int
	// Trouble is why there are none to read; empty where that is not known.
	Trouble string
}

// Nodes lists those that were looked at, by name.
func (w *Watch) Nodes() (list []Node) {
	for name, n := range w.nodes {
		if name != "" {
			list = append(list, Node{name, n.devices, n.trouble})
		}
	}
	slices.SortFunc(list, func(a, b Node) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// Without lists the pods that were looked at and have no GPU, "namespace/pod".
func (w *Watch) Without() (names []string) {
	for k, p := range w.pods {
		if !p.hasGPU() && (len(p.containers) > 0 || len(p.processes) > 0) {
			names = append(names, k.namespace+"/"+k.name)
		}
	}
	slices.Sort(names)
	return names
}

// Full reports whether there was more than the window's memory has room for.
func (w *Watch) Full() bool { return w.full }
