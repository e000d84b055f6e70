package why

import (
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/plugin/why/engine"
)

// judgement is what the time of a pod's GPUs went to.
type judgement struct {
	shares        []float64 // by cause; together 1
	first, second event.GpuCause
	margin        float64
	confidence    event.Confidence
	missing       []string
	devices       []*podDevice
	slots         int // seen, of any device
}

// judge divides the time of a pod's devices among the causes.
func (w *Watch) judge(devices []*podDevice) *judgement {
	t := w.rules.NewTally(int(signalCount))
	j := &judgement{devices: devices, shares: t.Shares}
	if len(devices) == 0 {
		return j
	}
	failing, untouched := false, true
	for _, s := range devices {
		j.slots = max(j.slots, s.clock.Seen())
		failing = failing || w.failing(s.device)
		untouched = untouched && s.untouched()
	}
	for _, s := range devices {
		if w.failing(s.device) {
			t.AddSlots(sick, max(s.clock.Seen(), 1))
			continue
		}
		s.divide(t, untouched)
	}
	if untouched && !failing && t.Slots == 0 {
		t.AddSlots(abandoned, 1)
	}
	if t.Slots == 0 {
		return j
	}
	for c := range j.shares {
		j.shares[c] /= float64(t.Slots)
	}
	order := engine.Rank[event.GpuCause](j.shares)
	j.first, j.second = order[0], order[1]
	if failing && j.first != sick {
		j.first, j.second = sick, order[0]
	}
	j.margin = j.shares[j.first] - j.shares[j.second]
	w.setConfidence(j, t)
	return j
}

// divide adds the slots of a device. untouched: no process does anything with the pod's devices.
func (s *podDevice) divide(t *tally, untouched bool) {
	for i := range s.vectors {
		switch v := &s.vectors[i]; {
		case !v.usable():
		case untouched:
			t.AddWhole(abandoned, v[:])
		default:
			t.Add(v[:])
		}
	}
}

// confidences are those of events, by the engine's.
var confidences = map[engine.Confidence]event.Confidence{
	engine.Low:    event.Confidence_CONFIDENCE_LOW,
	engine.Medium: event.Confidence_CONFIDENCE_MEDIUM,
	engine.High:   event.Confidence_CONFIDENCE_HIGH,
}

// setConfidence sets the confidence of a judgement, and the signals that it lacks.
func (w *Watch) setConfidence(j *judgement, t *tally) {
	causes := []event.GpuCause{j.first}
	if j.shares[j.second] >= engine.WorthASecond {
		causes = append(causes, j.second)
	}
	missing := t.Missing(causes...)
	node := w.nodes[j.devices[0].device.node]
	lost := node.lost > 0 || node.doubted
	// An unknown cause is never certain: it may be one that no source observes.
	doubtful := t.Doubted(j.first) || lost || j.first == unknown
	for _, s := range j.devices {
		doubtful = doubtful || s.shared
	}
	j.confidence = event.Confidence_CONFIDENCE_HIGH
	if j.first != sick {
		j.confidence = confidences[engine.Grounds{Slots: j.slots, First: j.shares[j.first], Margin: j.margin,
			Missing: len(missing), Doubtful: doubtful}.Confidence()]
	}
	for _, s := range missing {
		j.missing = append(j.missing, signalDocs[s].name)
	}
}
