package why

import (
	"cmp"
	"slices"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// shares are of time, by cause; together 1.
type shares [12]float64

// split divides the time of a moment among the causes by the rules.
func split(m *moment) (s shares) {
	left := [...]float64{OfIdle: m[Idle], OfBusy: m[Busy]}
	for turn := 1; turn <= lastTurn; turn++ {
		for _, part := range [...]Part{OfIdle, OfBusy} {
			var takes [32]float64
			sum := 0.0
			for i := range Rules {
				if r := &Rules[i]; r.Part == part && r.Turn == turn {
					takes[i] = r.takes(m)
					if r.OfAll {
						takes[i] = min(takes[i]/max(m[part.signal()], 0.01), 1)
					}
					sum += takes[i]
				}
			}
			if sum == 0 {
				continue
			}
			used := 0.0
			for i, t := range takes[:len(Rules)] {
				if t == 0 {
					continue
				}
				taken := left[part] * t / max(sum, 1)
				s[Rules[i].Cause] += taken
				used += taken
			}
			left[part] = max(left[part]-used, 0)
		}
	}
	return s
}

// judgement is what is said of a pod.
type judgement struct {
	shares        shares
	first, second event.GpuCause
	margin        float64
	confidence    event.GpuConfidence
	missing       []string
	seats         []*seat
	seen          int // slots
}

func rank(s *shares) []event.GpuCause {
	order := slices.Clone(causes)
	slices.SortStableFunc(order, func(a, b event.GpuCause) int { return cmp.Compare(s[b], s[a]) })
	return order
}

const (
	// closeCall and sure are the margins between the first cause and the second, shares of time, below which a verdict
	// is of low and not of high confidence.
	closeCall, sure = 0.1, 0.35
	// enough is the share of the first cause for high confidence.
	enough = 0.5
	// fewSlots is how many slots make a verdict of low confidence.
	fewSlots = 4
	// coverage is the part of the slots in which a signal has to be known.
	coverage = 0.7
)

// seats are a pod's parts of devices.
func (w *Watch) seats(p *pod) (list []*seat) {
	n := w.nodes[p.node]
	if n == nil {
		return nil
	}
	parents := map[string]bool{}
	for _, d := range p.devices {
		parents[d.parent] = true
	}
	for _, d := range p.devices {
		if d.node != p.node || parents[d.uuid] {
			continue
		}
		s := &seat{w: w, pod: p, device: d, clock: &n.clock}
		s.shared = len(d.users) > 1 || d.processes != nil && d.own != nil && *d.processes > *d.own
		for _, r := range p.processes {
			if slices.Contains(r.devices, d) || len(r.devices) == 0 && r.counted {
				s.own = append(s.own, r)
			}
		}
		list = append(list, s)
	}
	peers := 1
	if t := w.team[p.crew()]; t != nil {
		peers = t.pods
	}
	for _, s := range list {
		s.seats, s.several = len(list), len(list) > 1 || peers > 1
	}
	return list
}

// judge says what the time of a pod's GPUs went to.
func (w *Watch) judge(p *pod) *judgement {
	j := &judgement{seats: w.seats(p)}
	if len(j.seats) == 0 {
		return j
	}
	var known_ [signals]int
	doubts := map[event.GpuCause]int{}
	moments := 0
	ails, untouched := false, true
	for _, s := range j.seats {
		j.seen = max(j.seen, s.clock.seen())
		ails = ails || w.ails(s.device)
		untouched = untouched && s.untouched()
	}
	for _, s := range j.seats {
		if w.ails(s.device) {
			j.shares[sick] += float64(max(s.clock.seen(), 1))
			moments += max(s.clock.seen(), 1)
			continue
		}
		for slot := range s.clock.seen() {
			m, ok := s.moment(slot)
			for i, x := range m {
				if known(x) {
					known_[i]++
				}
			}
			if !ok {
				continue
			}
			moments++
			for i := range Rules {
				for _, c := range Rules[i].Doubts {
					if x := m[c.Signal]; known(x) && ramp(x, c.From, c.To) >= 0.5 {
						doubts[Rules[i].Cause]++
						break
					}
				}
			}
			part := split(&m)
			if untouched {
				part = shares{abandoned: 1}
			}
			for c, x := range part {
				j.shares[c] += x
			}
		}
	}
	if untouched && !ails && moments == 0 {
		j.shares[abandoned], moments = 1, 1
	}
	if moments == 0 {
		return j
	}
	for c := range j.shares {
		j.shares[c] /= float64(moments)
	}
	order := rank(&j.shares)
	j.first, j.second = order[0], order[1]
	if ails && j.first != sick {
		j.first, j.second = sick, order[0]
	}
	j.margin = j.shares[j.first] - j.shares[j.second]
	w.confide(j, known_[:], moments, 2*doubts[j.first] > moments)
	return j
}

// confide says how sure a judgement is.
func (w *Watch) confide(j *judgement, seen []int, moments int, doubtful bool) {
	var missing []Signal
	for i := range Rules {
		r := &Rules[i]
		if r.Cause != j.first && (r.Cause != j.second || j.shares[j.second] < 0.1) {
			continue
		}
		for _, need := range r.Needs {
			if float64(seen[need]) < coverage*float64(moments) && !slices.Contains(missing, need) {
				missing = append(missing, need)
			}
		}
	}
	j.confidence = event.GpuConfidence_GPU_CONFIDENCE_MEDIUM
	for _, s := range j.seats {
		doubtful = doubtful || s.shared
	}
	lost := w.nodes[j.seats[0].device.node].lost > 0
	// That nothing says why is never sure: it may be what is not looked at.
	doubtful = doubtful || lost || j.first == unknown
	switch {
	case j.first == sick:
		j.confidence = event.GpuConfidence_GPU_CONFIDENCE_HIGH
	case j.seen < fewSlots || j.margin < closeCall || len(missing) > 1:
		j.confidence = event.GpuConfidence_GPU_CONFIDENCE_LOW
	case j.margin >= sure && j.shares[j.first] >= enough && len(missing) == 0 && !doubtful:
		j.confidence = event.GpuConfidence_GPU_CONFIDENCE_HIGH
	}
	for _, s := range missing {
		j.missing = append(j.missing, Signals[s].Name)
	}
}
