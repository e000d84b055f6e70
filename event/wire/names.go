package wire

import (
	"hash/maphash"
	"unicode/utf8"
)

const (
	// maxName is the longest name that is kept, bytes.
	maxName = 128
	// minNameSets and maxNameSets are the numbers of sets, of two names each: 1 KiB at first and 16 KiB at most, with
	// at most 128 KiB of names.
	minNameSets, maxNameSets = 32, 512
)

// names is a table of the recurring names of a stream. The sender chooses them, so the table is bounded: a name belongs
// in one set only, and replaces the older one there. The zero value is empty.
type names struct {
	seed maphash.Seed
	sets [][2]string // a power of two, the newer name first
	// replaced is the number of names that were replaced since the table last grew.
	replaced int
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
		t.seed, t.sets = maphash.MakeSeed(), make([][2]string, minNameSets)
	}
	set := &t.sets[maphash.Bytes(t.seed, b)&uint64(len(t.sets)-1)]
	if set[0] == string(b) {
		return set[0], true
	}
	if set[1] == string(b) {
		return set[1], true
	}
	if !utf8.Valid(b) {
		return "", false
	}
	s := string(b)
	if set[1] != "" {
		t.replaced++
	}
	set[0], set[1] = s, set[0]
	if t.replaced > len(t.sets) && len(t.sets) < maxNameSets {
		t.grow()
	}
	return s, true
}

// grow makes the table twice as large, since names replace each other that the stream may still use.
func (t *names) grow() {
	old := t.sets
	t.sets, t.replaced = make([][2]string, 2*len(old)), 0
	for _, set := range old {
		for _, s := range [...]string{set[1], set[0]} { // the newer last: it comes first
			if s != "" {
				to := &t.sets[maphash.String(t.seed, s)&uint64(len(t.sets)-1)]
				to[0], to[1] = s, to[0]
			}
		}
	}
}
