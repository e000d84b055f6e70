package model

import (
	"cmp"
	"slices"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// maxSeries is the default bound of each of the two kinds of series: those with an id of their own, and the rest of
// those that have the same ends.
const maxSeries = 1 << 17

// store holds the series and their endpoint pairs.
type store struct {
	spec    *topicSpec
	max     int
	started int64 // ns
	past    bool
	series  map[string]*series
	pairs   map[identity]*endpointPair
	order   []*series // scratch of an eviction
	folded  int
	// workloads of pods, by "namespace/pod": top gpu.
	workloads map[string]string
}

func newStore(f *topicSpec, o Options) *store {
	s := &store{
		spec: f, max: o.MaxSeries, series: map[string]*series{}, pairs: map[identity]*endpointPair{},
		workloads: map[string]string{}, started: o.Started.UnixNano(),
		past: o.Past,
	}
	if s.max <= 0 {
		s.max = maxSeries
	}
	return s
}

// endpointPair finds the pair with an identity, or makes it.
func (s *store) endpointPair(id identity, client party) *endpointPair {
	if id.server == (party{}) {
		id.server = nobody
	}
	if w := s.pairs[id]; w != nil {
		return w
	}
	if len(s.pairs) >= s.max {
		s.foldPairs()
	}
	w := &endpointPair{identity: id, client: client}
	w.closedTotals = &series{pair: w}
	s.pairs[id] = w
	return w
}

// seriesByID finds the series of an id, or makes it; made reports which.
func (s *store) seriesByID(id string) (l *series, made bool) {
	if l = s.series[id]; l != nil {
		return l, false
	}
	if len(s.series) >= s.max {
		s.foldSeries()
	}
	l = &series{id: id}
	s.series[id] = l
	return l, true
}

// end adds a series to the closed totals of its pair.
func (s *store) end(l *series) {
	l.pair.closedTotals.merge(l, s.spec.amounts)
	delete(s.series, l.id)
}

// foldSeries makes room: the eighth of the series that nothing was heard of for the longest time has no series of its
// own any more.
func (s *store) foldSeries() {
	s.order = s.order[:0]
	for _, l := range s.series {
		s.order = append(s.order, l)
	}
	for _, l := range s.oldest() {
		s.end(l)
		s.folded++
	}
	clear(s.order)
}

// foldPairs makes room among the ends: what the eighth of them that were not heard of for the longest time did is
// counted as others'.
func (s *store) foldPairs() {
	used := map[*endpointPair]bool{}
	for _, l := range s.series {
		used[l.pair] = true
	}
	s.order = s.order[:0]
	others := s.others()
	for _, w := range s.pairs {
		if !used[w] && w != others {
			s.order = append(s.order, w.closedTotals)
		}
	}
	if len(s.order) == 0 { // all are in use: the series must go first
		s.foldSeries()
		return
	}
	for _, l := range s.oldest() {
		others.closedTotals.merge(l, s.spec.amounts)
		delete(s.pairs, l.pair.identity)
		s.folded++
	}
	clear(s.order)
}

func (s *store) oldest() []*series {
	slices.SortFunc(s.order, func(a, b *series) int { return cmp.Compare(a.last, b.last) })
	return s.order[:max(len(s.order)/8, 1)]
}

// others returns the pair that counts what exceeds the bounds.
func (s *store) others() *endpointPair {
	f := noDimensions()
	for d := range f {
		if dim(d) != dimNode && dim(d) != dimNamespace {
			f.set(dim(d), event.Others)
		}
	}
	id := identity{dims: [2]dimensions{f, noDimensions()}, sides: 1, server: nobody}
	if w := s.pairs[id]; w != nil {
		return w
	}
	w := &endpointPair{identity: id, client: nobody}
	w.closedTotals = &series{pair: w}
	s.pairs[id] = w
	return w
}

// isPreexisting reports whether counters that began at a time hold amounts of no window. The time is ns since the Unix
// epoch, 0 if it is unknown.
func (s *store) isPreexisting(since uint64) bool { return s.past && since < uint64(max(s.started, 0)) }

// each calls do with every series that has counted something or lives.
func (s *store) each(do func(*series)) {
	for _, l := range s.series {
		do(l)
	}
	for _, w := range s.pairs {
		if w.closedTotals.ring != nil || w.closedTotals.latencies != nil ||
			w.closedTotals.responses != nil {
			do(w.closedTotals)
		}
	}
}
