package why

import (
	"cmp"
	"slices"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// causeCount is how many causes there are.
const causeCount = int(event.GpuCause_GPU_CAUSE_SICK) + 1

// shares are of time, by cause; together 1.
type shares [causeCount]float64

// rank lists the causes, the largest share first.
func rank(s *shares) []event.GpuCause {
	order := make([]event.GpuCause, causeCount)
	for c := range order {
		order[c] = event.GpuCause(c)
	}
	slices.SortStableFunc(order, func(a, b event.GpuCause) int { return cmp.Compare(s[b], s[a]) })
	return order
}

// ruleSet is a table of rules in the order in which they take their shares of the time.
type ruleSet struct {
	rules  []rule
	stages []stage
}

// stage is the rules of one turn for one part. They share what earlier stages have left.
type stage struct {
	part  part
	rules []*rule
	// taken is scratch space of split.
	taken []float64
}

func newRuleSet(rules []rule) *ruleSet {
	set := &ruleSet{rules: rules}
	lastTurn := 0
	for i := range rules {
		lastTurn = max(lastTurn, rules[i].turn)
	}
	for turn := 1; turn <= lastTurn; turn++ {
		for _, part := range []part{ofIdle, ofBusy} {
			st := stage{part: part}
			for i := range rules {
				if r := &rules[i]; r.part == part && r.turn == turn {
					st.rules = append(st.rules, r)
				}
			}
			if len(st.rules) > 0 {
				st.taken = make([]float64, len(st.rules))
				set.stages = append(set.stages, st)
			}
		}
	}
	return set
}

// split divides the time around a slot among the causes.
func (set *ruleSet) split(v *signalVector) (s shares) {
	const minPart = 0.01 // a share of time; shares of less are not computed
	left := [partCount]float64{ofIdle: v[sigIdle], ofBusy: v[sigBusy]}
	for i := range set.stages {
		st := &set.stages[i]
		sum := 0.0
		for j, r := range st.rules {
			share := r.share(v)
			if r.ofAll {
				share = min(share/max(v[st.part.signal()], minPart), 1)
			}
			st.taken[j] = share
			sum += share
		}
		used := 0.0
		for j, r := range st.rules {
			taken := left[st.part] * st.taken[j] / max(sum, 1)
			s[r.cause] += taken
			used += taken
		}
		left[st.part] = max(left[st.part]-used, 0)
	}
	return s
}

// doubted reports whether one of the doubts about a rule's cause holds.
func (r *rule) doubted(v *signalVector) bool {
	return slices.ContainsFunc(r.doubts, func(c condition) bool {
		return known(v[c.signal]) && ramp(v[c.signal], c.from, c.to) >= 0.5
	})
}

// missing are the signals that the rules of causes need and that are known in too few of the slots.
func (set *ruleSet) missing(causes []event.GpuCause, seen *[signalCount]int, slots int) (list []signal) {
	for i := range set.rules {
		if !slices.Contains(causes, set.rules[i].cause) {
			continue
		}
		for _, need := range set.rules[i].needs {
			if float64(seen[need]) < coverage*float64(slots) && !slices.Contains(list, need) {
				list = append(list, need)
			}
		}
	}
	return list
}

// apart is what would distinguish two causes; empty where the table has nothing.
func (set *ruleSet) apart(a, b event.GpuCause) string {
	for _, pair := range [][2]event.GpuCause{{a, b}, {b, a}} {
		for i := range set.rules {
			if r := &set.rules[i]; r.cause == pair[0] && r.apart[pair[1]] != "" {
				return r.apart[pair[1]]
			}
		}
	}
	return ""
}
