package model

import (
	"cmp"
	"slices"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// maxLeaves is the default bound of each of the two kinds of leaves: those with an id of their own, and the rest of
// those that have the same ends.
const maxLeaves = 1 << 17

// store is the leaves.
type store struct {
	form    *form
	max     int
	started int64 // ns
	leaves  map[string]*leaf
	whos    map[identity]*who
	order   []*leaf // scratch of an eviction
	folded  int
	// workloads of pods, by "namespace/pod": top gpu.
	workloads map[string]string
}

func newStore(f *form, o Options) *store {
	s := &store{
		form: f, max: o.MaxLeaves, leaves: map[string]*leaf{}, whos: map[identity]*who{},
		workloads: map[string]string{}, started: o.Started.UnixNano(),
	}
	if s.max <= 0 {
		s.max = maxLeaves
	}
	return s
}

// who finds those with an identity, or makes them.
func (s *store) who(id identity, client party) *who {
	if id.server == (party{}) {
		id.server = nobody
	}
	if w := s.whos[id]; w != nil {
		return w
	}
	if len(s.whos) >= s.max {
		s.foldWhos()
	}
	w := &who{identity: id, client: client}
	w.rest = &leaf{who: w}
	s.whos[id] = w
	return w
}

// leaf finds the leaf of an id, or makes it; made says which.
func (s *store) leaf(id string) (l *leaf, made bool) {
	if l = s.leaves[id]; l != nil {
		return l, false
	}
	if len(s.leaves) >= s.max {
		s.foldLeaves()
	}
	l = &leaf{id: id}
	s.leaves[id] = l
	return l, true
}

// end counts a leaf with those of the same ends that are over.
func (s *store) end(l *leaf) {
	l.who.rest.take(l, s.form.amounts)
	delete(s.leaves, l.id)
}

// foldLeaves makes room: the eighth of the leaves that nothing was heard of for the longest time has no leaf of its own
// any more.
func (s *store) foldLeaves() {
	s.order = s.order[:0]
	for _, l := range s.leaves {
		s.order = append(s.order, l)
	}
	for _, l := range s.oldest() {
		s.end(l)
		s.folded++
	}
	clear(s.order)
}

// foldWhos makes room among the ends: what the eighth of them that were not heard of for the longest time did is
// counted as others'.
func (s *store) foldWhos() {
	used := map[*who]bool{}
	for _, l := range s.leaves {
		used[l.who] = true
	}
	s.order = s.order[:0]
	others := s.others()
	for _, w := range s.whos {
		if !used[w] && w != others {
			s.order = append(s.order, w.rest)
		}
	}
	if len(s.order) == 0 { // all are in use: the leaves must go first
		s.foldLeaves()
		return
	}
	for _, l := range s.oldest() {
		others.rest.take(l, s.form.amounts)
		delete(s.whos, l.who.identity)
		s.folded++
	}
	clear(s.order)
}

func (s *store) oldest() []*leaf {
	slices.SortFunc(s.order, func(a, b *leaf) int { return cmp.Compare(a.last, b.last) })
	return s.order[:max(len(s.order)/8, 1)]
}

// others is where what there is no room for is counted.
func (s *store) others() *who {
	f := blank()
	for d := range f {
		if dim(d) != dimNode && dim(d) != dimNamespace {
			f.set(dim(d), event.Others)
		}
	}
	id := identity{faces: [2]face{f, blank()}, sides: 1, server: nobody}
	if w := s.whos[id]; w != nil {
		return w
	}
	w := &who{identity: id, client: nobody}
	w.rest = &leaf{who: w}
	s.whos[id] = w
	return w
}

// each calls do with every leaf that has counted something or lives.
func (s *store) each(do func(*leaf)) {
	for _, l := range s.leaves {
		do(l)
	}
	for _, w := range s.whos {
		if w.rest.ring != nil || w.rest.latencies != nil {
			do(w.rest)
		}
	}
}
