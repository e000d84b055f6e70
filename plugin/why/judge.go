package why

import "github.com/orb8-dev/kubectl-orb8/event"

const (
	// closeCall and clearMargin are the margins between the first and the second cause, shares of time: below closeCall
	// a verdict is of low confidence, below clearMargin it is not of high confidence.
	closeCall, clearMargin = 0.1, 0.35
	// highShare is the least share of the first cause for high confidence.
	highShare = 0.5
	// fewSlots is how many slots make a verdict of low confidence.
	fewSlots = 4
	// coverage is the part of the slots in which a signal has to be known.
	coverage = 0.7
	// worthASecond is the share from which on a second cause is named.
	worthASecond = 0.1
)

// judgement is what the time of a pod's GPUs went to.
type judgement struct {
	shares        shares
	first, second event.GpuCause
	margin        float64
	confidence    event.GpuConfidence
	missing       []string
	devices       []*podDevice
	slots         int // seen, of any device
}

// tally is the sum over the slots of all devices.
type tally struct {
	slots     int
	known     [signalCount]int
	doubted   [causeCount]int
	failing   bool
	untouched bool
}

// judge divides the time of a pod's devices among the causes.
func (w *Watch) judge(devices []*podDevice) *judgement {
	j := &judgement{devices: devices}
	if len(devices) == 0 {
		return j
	}
	t := tally{untouched: true}
	for _, s := range devices {
		j.slots = max(j.slots, s.clock.seen())
		t.failing = t.failing || w.failing(s.device)
		t.untouched = t.untouched && s.untouched()
	}
	for _, s := range devices {
		if w.failing(s.device) {
			slots := max(s.clock.seen(), 1)
			j.shares[sick] += float64(slots)
			t.slots += slots
			continue
		}
		w.divide(s, j, &t)
	}
	if t.untouched && !t.failing && t.slots == 0 {
		j.shares[abandoned], t.slots = 1, 1
	}
	if t.slots == 0 {
		return j
	}
	for c := range j.shares {
		j.shares[c] /= float64(t.slots)
	}
	order := rank(&j.shares)
	j.first, j.second = order[0], order[1]
	if t.failing && j.first != sick {
		j.first, j.second = sick, order[0]
	}
	j.margin = j.shares[j.first] - j.shares[j.second]
	w.setConfidence(j, &t)
	return j
}

// divide adds the slots of a device.
func (w *Watch) divide(s *podDevice, j *judgement, t *tally) {
	for i := range s.vectors {
		v := &s.vectors[i]
		if !v.usable() {
			continue
		}
		for i, x := range v {
			if known(x) {
				t.known[i]++
			}
		}
		t.slots++
		for i := range w.rules.rules {
			if r := &w.rules.rules[i]; r.doubted(v) {
				t.doubted[r.cause]++
			}
		}
		if t.untouched {
			j.shares[abandoned]++
			continue
		}
		for c, x := range w.rules.split(v) {
			j.shares[c] += x
		}
	}
}

// setConfidence sets the confidence of a judgement, and the signals that it lacks.
func (w *Watch) setConfidence(j *judgement, t *tally) {
	causes := []event.GpuCause{j.first}
	if j.shares[j.second] >= worthASecond {
		causes = append(causes, j.second)
	}
	missing := w.rules.missing(causes, &t.known, t.slots)
	node := w.nodes[j.devices[0].device.node]
	lost := node.lost > 0 || node.doubted
	// An unknown cause is never certain: it may be one that no source observes.
	doubtful := 2*t.doubted[j.first] > t.slots || lost || j.first == unknown
	for _, s := range j.devices {
		doubtful = doubtful || s.shared
	}
	j.confidence = event.GpuConfidence_GPU_CONFIDENCE_MEDIUM
	switch {
	case j.first == sick:
		j.confidence = event.GpuConfidence_GPU_CONFIDENCE_HIGH
	case j.slots < fewSlots || j.margin < closeCall || len(missing) > 1:
		j.confidence = event.GpuConfidence_GPU_CONFIDENCE_LOW
	case j.margin >= clearMargin && j.shares[j.first] >= highShare && len(missing) == 0 && !doubtful:
		j.confidence = event.GpuConfidence_GPU_CONFIDENCE_HIGH
	}
	for _, s := range missing {
		j.missing = append(j.missing, signalDocs[s].name)
	}
}
