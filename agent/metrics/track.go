package metrics

import "hash/maphash"

// hash identifies an object whose counters are followed. 128 bits make an accidental match, and so do random seeds a
// provoked one, as good as impossible.
type hash [2]uint64

type hasher struct{ a, b maphash.Seed }

func newHasher() hasher { return hasher{maphash.MakeSeed(), maphash.MakeSeed()} }

func (h *hasher) of(id []byte) hash { return hash{maphash.Bytes(h.a, id), maphash.Bytes(h.b, id)} }

// tracked is an object, other than a flow, with cumulative counters or gauges, and the row that they are added to.
type tracked struct {
	row    *row
	pod    *podRef // nil: unknown
	values []uint64
	known  uint64
	gauges uint64 // of the values, which are gauges
	// baseline: the first value of a counter is not counted, since it began before the agent saw it.
	baseline bool
	seen     int64
	// observation is that in which it was seen last.
	observation uint32
}

// track returns the object with an id; nil where there is no room. r is where it counts.
func (t *Table) track(id []byte, r *row, values int) *tracked {
	h := t.hasher.of(id)
	s := t.tracked[h]
	if s == nil {
		if len(t.tracked) >= maxTracked {
			t.untracked++
			return nil
		}
		s = &tracked{observation: t.flows.observation, pod: t.pods.byUID[string(t.subject.uid)],
			values: make([]uint64, values)}
		t.tracked[h] = s
	}
	if s.row != r {
		s.leave()
		s.row = r
		r.users++
	}
	s.seen = t.time
	r.touched = t.time
	return s
}

// leave takes the object's gauges from its row.
func (s *tracked) leave() {
	if s.row == nil {
		return
	}
	for i := range s.values {
		if s.gauges&(1<<i) != 0 {
			s.row.values[i] -= s.values[i]
			s.values[i] = 0
		}
	}
	s.row.users--
	s.row = nil
}

// grow counts how much a counter has grown. One that has become less began anew.
func (s *tracked) grow(i int, v uint64) {
	last, known := s.values[i], s.known&(1<<i) != 0
	s.values[i] = v
	s.known |= 1 << i
	switch {
	case !known && s.baseline:
		s.row.add(i, 0)
	case v >= last:
		s.row.add(i, v-last)
	default:
		s.row.add(i, v)
	}
}

// gauge sets the object's part of a gauge; not known: it has none.
func (s *tracked) gauge(i int, v uint64, known bool) {
	if !known {
		v = 0
	}
	s.gauges |= 1 << i
	s.row.values[i] += v - s.values[i]
	s.values[i] = v
	if known {
		s.row.known |= 1 << i
	}
}

// restart begins with counters from zero in another observation.
func (s *tracked) restart(observation uint32) {
	if s.observation != observation {
		s.observation = observation
		clear(s.values)
	}
}
