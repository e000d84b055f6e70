package collect

import "hash/maphash"

// noName is the name of an address that has none.
var noName Name

// observedName is the name of an end that is observed itself, where its address has no other names than its own.
var observedName = Name{Observed: true}

func (n *Name) empty() bool {
	return n.Pod == "" && n.Service == "" && n.Node == "" && n.Host == "" && n.Hint == nil
}

// maxSharedNames limits the names that are kept to be shared.
const maxSharedNames = 4096

// sharedNames lets flows to one address share its name: a name takes half as much memory as a flow.
type sharedNames struct {
	seed   maphash.Seed
	byHash map[uint64]*Name
}

func newSharedNames() sharedNames {
	return sharedNames{seed: maphash.MakeSeed(), byHash: map[uint64]*Name{}}
}

// share returns a name that flows may share. It must not be changed.
func (s *sharedNames) share(n Name) *Name {
	if n == noName {
		return &noName
	}
	hash := maphash.Comparable(s.seed, n)
	if shared := s.byHash[hash]; shared != nil && *shared == n {
		return shared
	}
	if len(s.byHash) >= maxSharedNames {
		clear(s.byHash)
	}
	shared := new(n)
	s.byHash[hash] = shared
	return shared
}

// trimNames drops the names of the ends' pods once both ends are observed: their own halves name them. Names of
// Services and hosts stay, and what may still get a name.
func (f *flow) trimNames() {
	if !f.both() {
		return
	}
	for i := range f.ends {
		if n := f.ends[i].name; n.Service == "" && n.Host == "" && n.Hint == nil && !n.empty() {
			f.ends[i].name = &observedName
		}
	}
}
