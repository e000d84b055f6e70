package why

import (
	"cmp"
	"slices"
	"strings"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/plugin/why/engine"
)

// consistentWith precedes the words of a verdict: the evidence fits a cause, and proves none.
const consistentWith = "consistent with "

// unusedWords are those of GPUs that a pod was given and does not use.
const unusedWords = "a GPU that was allocated, and that no process of the pod is on"

// Verdicts returns a gpuVerdict event for each pod with GPUs, by namespace and name.
func (w *Watch) Verdicts() []*event.Event {
	workloads := map[string]*workloadPeers{}
	for _, p := range w.pods {
		if !p.hasGPU() {
			continue
		}
		peers := workloads[p.workloadKey()]
		if peers == nil {
			peers = &workloadPeers{}
			workloads[p.workloadKey()] = peers
		}
		peers.pods = append(peers.pods, p)
	}
	var rows []*event.Event
	for _, peers := range workloads {
		rows = append(rows, peers.verdicts(w)...)
	}
	slices.SortFunc(rows, func(a, b *event.Event) int {
		return cmp.Or(cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetPod(), b.GetPod()))
	})
	return rows
}

// workloadPeers is the pods of a workload that have GPUs.
type workloadPeers struct {
	pods []*pod
	// least and most are the shares of the window in which their GPUs worked.
	least, most float64
}

// verdicts measures the devices of all pods, and then judges each pod.
func (t *workloadPeers) verdicts(w *Watch) (rows []*event.Event) {
	using := 0
	for _, p := range t.pods {
		if len(p.devices) > 0 {
			using++
		}
	}
	t.least, t.most = nan, nan
	devices := make([][]*podDevice, len(t.pods))
	for i, p := range t.pods {
		devices[i] = w.podDevices(p, using)
		for _, s := range devices[i] {
			s.measure()
			if work := s.meanWork(); known(work) {
				t.most = most(t.most, work)
				t.least = -most(-t.least, -work)
			}
		}
	}
	for i, p := range t.pods {
		rows = append(rows, w.verdict(p, devices[i], t))
	}
	return rows
}

// meanWork is the share of the window in which the device worked for the pod.
func (s *podDevice) meanWork() float64 {
	sum, n := 0.0, 0
	for i := range s.vectors {
		if v := &s.vectors[i]; v.usable() {
			sum += v[sigWork]
			n++
		}
	}
	if n == 0 {
		return nan
	}
	return sum / float64(n)
}

// verdict is a pod's verdict, with its evidence.
func (w *Watch) verdict(p *pod, devices []*podDevice, peers *workloadPeers) *event.Event {
	v := &event.GpuVerdict{Workload: p.workload, Evidence: &event.GpuEvidence{}}
	ev := &event.Event{
		Node: p.node, Namespace: p.namespace, Pod: p.name, PodUid: p.uid, Workload: p.workload,
		Kind: &event.Event_GpuVerdict{GpuVerdict: v},
	}
	if p.node == "" && len(p.allocated) > 0 {
		ev.Node = p.allocated[0].node
	}
	if n := w.nodes[ev.GetNode()]; n != nil {
		ev.Time, v.Lost = n.clock.Last, n.lost
		if n.clock.Last > n.clock.Start {
			v.WindowMicros = (n.clock.Last - n.clock.Start) / 1000
			if w.window > 0 {
				v.WindowMicros = min(v.WindowMicros, uint64(w.window)/1000)
			}
		}
	}
	if len(p.devices) == 0 {
		v.Gpus, v.Words = uint64(len(p.allocated)), consistentWith+unusedWords
		v.Verdict, v.Confidence = abandoned, event.Confidence_CONFIDENCE_HIGH
		v.Shares = &event.GpuShares{Abandoned: 100}
		return ev
	}
	j := w.judge(devices)
	v.Gpus, v.Missing = uint64(len(devices)), strings.Join(j.missing, ", ")
	if len(devices) > 0 {
		w.addEvidence(v.Evidence, p, devices)
		if devices[0].siblings {
			v.Evidence.PeersLeastPercent, v.Evidence.PeersMostPercent = number(100*peers.least), number(100*peers.most)
		}
	}
	if j.confidence == event.Confidence_CONFIDENCE_UNKNOWN {
		return ev
	}
	v.Verdict, v.Confidence, v.Shares = j.first, j.confidence, &event.GpuShares{}
	for c, x := range j.shares {
		v.Shares.Set(event.GpuCause(c), 100*x)
	}
	v.Words = words(j.first)
	if j.shares[j.second] >= engine.WorthASecond {
		v.Second, v.Apart = &j.second, w.rules.Apart(j.first, j.second)
	}
	return ev
}

// words describe a cause for people.
func words(c event.GpuCause) string {
	if c == unknown || causeWords[c] == "" {
		return causeWords[c]
	}
	return consistentWith + causeWords[c]
}
