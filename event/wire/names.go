package wire

import (
	"hash/maphash"
	"math/bits"
	"unicode/utf8"
)

const (
	// maxName is the longest name that is kept, bytes.
	maxName = 128
	// waysOfSet is the number of names in a set. With fewer, some sets of a large table overflow, and it grows.
	waysOfSet = 8
	// minNameSets and maxNameSets are the numbers of sets: 1 KiB at first and 17 KiB at most, with at most 128 KiB of
	// names.
	minNameSets, maxNameSets = 8, 128
)

// names is a table of the recurring names of a stream. The sender chooses them, so the table is bounded: a name belongs
// in one set only, and replaces the oldest one there. The zero value is empty.
type names struct {
	seed maphash.Seed
	sets []nameSet // a power of two
	// replaced is the number of names that were replaced since the table last grew.
	replaced int
}

// nameSet is a ring of names with some bits of their hashes, so that few of them are compared.
type nameSet struct {
	tags  uint64 // one byte for each name
	next  uint8  // to be replaced
	names [waysOfSet]string
}

const lowBits, highBits = 0x0101010101010101, 0x8080808080808080

// find returns the name that is equal to b.
func (s *nameSet) find(b []byte, tag uint8) (string, bool) {
	// The high bit of each byte of found is set where the tag is equal, and perhaps in the one above such a byte.
	differing := s.tags ^ uint64(tag)*lowBits
	for found := (differing - lowBits) & ^differing & highBits; found != 0; found &= found - 1 {
		if i := bits.TrailingZeros64(found) / 8; s.names[i] == string(b) {
			return s.names[i], true
		}
	}
	return "", false
}

// add adds a name and returns the one that it replaces.
func (s *nameSet) add(name string, tag uint8) (replaced string) {
	replaced = s.names[s.next]
	shift := 8 * s.next
	s.tags, s.names[s.next] = s.tags&^(0xff<<shift)|uint64(tag)<<shift, name
	s.next = (s.next + 1) % waysOfSet
	return replaced
}

// place returns the set that a name with a hash belongs in, and its tag there.
func (t *names) place(hash uint64) (*nameSet, uint8) {
	return &t.sets[hash&uint64(len(t.sets)-1)], uint8(hash >> 56)
}

// get returns b as a string, and false where it is not UTF-8.
func (t *names) get(b []byte) (string, bool) {
	if len(b) == 0 {
		return "", true
	}
	if len(b) > maxName {
		return string(b), utf8.Valid(b)
	}
	if t.sets == nil {
		t.seed, t.sets = maphash.MakeSeed(), make([]nameSet, minNameSets)
	}
	set, tag := t.place(maphash.Bytes(t.seed, b))
	if s, ok := set.find(b, tag); ok {
		return s, true
	}
	if !utf8.Valid(b) {
		return "", false
	}
	s := string(b)
	if set.add(s, tag) != "" {
		t.replaced++
	}
	if t.replaced > len(t.sets) && len(t.sets) < maxNameSets {
		t.grow()
	}
	return s, true
}

// grow makes the table twice as large, since names replace each other that the stream may still use.
func (t *names) grow() {
	old := t.sets
	t.sets, t.replaced = make([]nameSet, 2*len(old)), 0
	for i := range old {
		for _, s := range old[i].names {
			if s != "" {
				to, tag := t.place(maphash.String(t.seed, s))
				to.add(s, tag)
			}
		}
	}
}
