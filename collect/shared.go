package collect

import "hash/maphash"

// shared keeps values so that those which are equal are kept once, up to a number of them: beyond, it begins anew. It
// is keyed by hashes, since a map by values would hold each twice.
type shared[T comparable] struct {
	seed   maphash.Seed
	byHash map[uint64]*T
	most   int
}

func newShared[T comparable](most int) shared[T] {
	return shared[T]{seed: maphash.MakeSeed(), byHash: map[uint64]*T{}, most: most}
}

// get returns a value that is equal to v. It must not be changed.
func (s *shared[T]) get(v T) *T {
	hash := maphash.Comparable(s.seed, v)
	if kept := s.byHash[hash]; kept != nil && *kept == v {
		return kept
	}
	if len(s.byHash) >= s.most {
		clear(s.byHash)
	}
	kept := new(v)
	s.byHash[hash] = kept
	return kept
}
