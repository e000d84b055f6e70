package pods

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/plugin/why/engine"
)

// Verdicts returns a podVerdict event for each pod, by namespace and name.
func (w *Watch) Verdicts() []*event.Event {
	var rows []*event.Event
	for _, p := range w.pods {
		rows = append(rows, w.verdict(p))
	}
	slices.SortFunc(rows, func(a, b *event.Event) int {
		return cmp.Or(cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetPod(), b.GetPod()))
	})
	return rows
}

// confidences are those of events, by the engine's.
var confidences = map[engine.Confidence]event.Confidence{
	engine.Low:    event.Confidence_CONFIDENCE_LOW,
	engine.Medium: event.Confidence_CONFIDENCE_MEDIUM,
	engine.High:   event.Confidence_CONFIDENCE_HIGH,
}

// verdict is a pod's verdict, with its evidence.
func (w *Watch) verdict(p *pod) *event.Event {
	v := &event.PodVerdict{Workload: p.workload, Evidence: &event.PodEvidence{}}
	ev := &event.Event{
		Node: p.node, Namespace: p.namespace, Pod: p.name, PodUid: p.uid, Workload: p.workload,
		Kind: &event.Event_PodVerdict{PodVerdict: v},
	}
	if p.uncreated() {
		ev.Pod = ""
	}
	n := w.nodes[p.node]
	if n != nil {
		ev.Time, v.Lost = n.clock.Last, n.lost
		if n.clock.Last > n.clock.Start && n.clock.Start != 0 {
			v.WindowMicros = (n.clock.Last - n.clock.Start) / 1000
			if w.window > 0 {
				v.WindowMicros = min(v.WindowMicros, uint64(w.window)/1000)
			}
		}
	}
	w.addEvidence(v.Evidence, p)
	if n == nil {
		n = &node{}
	}
	if n.clock.Seen() > 0 || p.facts != nil {
		w.judge(n, p, v)
	}
	if p.facts != nil && p.facts.NotStarted != "" {
		p.addNotStarted(v)
	}
	return ev
}

// addNotStarted puts first that containers have not been started. Another fault, as of an init container, comes
// second.
func (p *pod) addNotStarted(v *event.PodVerdict) {
	v.Words = causeWords[notStarted] + ": " + p.facts.NotStarted
	all, other := uint64(100_000), v.GetVerdict()
	if len(v.GetShares()) > 0 && !other.Healthy() && other != unknown {
		v.Second = &other
		v.Words += "; and with " + words(other, v.GetPeer())
		all = 50_000
		for c := range v.GetShares() {
			v.Shares[c] /= 2
		}
	} else {
		v.Shares, v.Second, v.Missing = make([]uint64, event.PodCauseCount), nil, ""
	}
	v.Shares[notStarted] += all
	v.Verdict, v.Confidence, v.Next = notStarted, event.Confidence_CONFIDENCE_HIGH, next(p, notStarted, "")
}

// judge divides the time of the window among the causes.
func (w *Watch) judge(n *node, p *pod, v *event.PodVerdict) {
	t := w.rules.NewTally(int(signalCount))
	vector := make([]float64, signalCount)
	w.whole(p, vector, float64(v.GetWindowMicros())/1e6)
	vector[sigAll] = 1
	// strongest is how strong each cause is by itself, whatever else there is.
	strongest := make([]float64, event.PodCauseCount)
	for slot := range max(n.clock.Seen(), 1) {
		p.slot(vector, p.use(func(c *container, row int) float64 { return c.series.Around(row, slot, reach) }))
		if !engine.Known(vector[sigCPU]) && w.sources["resources"] && slot > 0 && slot < n.clock.Seen()-1 &&
			p.facts == nil {
			continue // no container ran then
		}
		t.Add(vector)
		for i := range rules {
			if r := &rules[i]; r.Part == ofAll {
				strongest[r.Cause] += r.Share(vector)
			}
		}
	}
	if t.Slots == 0 {
		return
	}
	v.Shares = make([]uint64, event.PodCauseCount)
	for c := range t.Shares {
		t.Shares[c] /= float64(t.Slots)
		strongest[c] /= float64(t.Slots)
		v.Shares[c] = uint64(math.Round(100_000 * t.Shares[c]))
	}
	order := w.order(t.Shares, strongest)
	first, second := order[0], order[1]
	v.Verdict = first
	causes := []event.PodCause{first}
	if t.Shares[second] >= engine.WorthASecond && !second.Healthy() {
		v.Second, v.Apart = &second, w.rules.Apart(first, second)
		causes = append(causes, second)
	}
	missing := t.Missing(causes...)
	doubtful := t.Doubted(first) || n.lost > 0 || n.doubted || first == unknown || p.full
	sure := strongest[first]
	if first.Healthy() {
		sure = t.Shares[idle] + t.Shares[busy]
		for _, s := range t.Missing(faults...) {
			if !slices.Contains(missing, s) {
				missing = append(missing, s)
			}
		}
	}
	var names []string
	var sources []source
	for _, s := range missing {
		d := &signalDocs[s]
		names = append(names, d.name)
		if !slices.Contains(sources, d.source) {
			sources = append(sources, d.source)
		}
	}
	v.Confidence = confidences[engine.Grounds{Slots: t.Slots, First: sure, Margin: sure, Missing: len(sources),
		Doubtful: doubtful}.Confidence()]
	v.Missing = strings.Join(names, ", ")
	v.Peer = w.culprit(p, first)
	v.Words = words(first, v.GetPeer())
	if v.Second != nil {
		v.Words = w.both(p, first, second)
	}
	if first == crash && p.crashedBefore() {
		v.Words += "; it did not start in the window: a longer --window sees what it fails on"
	}
	v.Next = next(p, first, v.GetPeer())
}

// faults are the causes of the table that are not healthy.
var faults = func() (list []event.PodCause) {
	for i := range rules {
		if c := rules[i].Cause; rules[i].Part == ofAll && !c.Healthy() && c != unknown {
			list = append(list, c)
		}
	}
	return list
}()

// symptoms are causes that other causes bring about: a pod that is held back fails its probes, and ends for them.
var symptoms = []event.PodCause{crash, probeFailing, lock, unknown}

// order ranks the causes: faults with a share to speak of before what is healthy, symptoms after what may bring them
// about, and then by how strong they are.
func (w *Watch) order(shares, strongest []float64) []event.PodCause {
	order := engine.Rank[event.PodCause](shares)
	class := func(c event.PodCause) int {
		switch {
		case c.Healthy() || shares[c] < engine.WorthASecond:
			return 2
		case slices.Contains(symptoms, c):
			return 1
		}
		return 0
	}
	slices.SortStableFunc(order, func(a, b event.PodCause) int {
		if class(a) == 2 && class(b) == 2 {
			return 0
		}
		return cmp.Or(cmp.Compare(class(a), class(b)), cmp.Compare(strongest[b], strongest[a]))
	})
	return order
}
