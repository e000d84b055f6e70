package bpftest

import (
	"errors"
	"os"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// Loaded is what the kernel holds.
type Loaded struct {
	Programs []ebpf.ProgramID
	Maps     []ebpf.MapID
	Links    []link.ID
}

// Snapshot lists the ids of all programs, maps and links that are loaded. Ids are never used twice.
func Snapshot(tb testing.TB) Loaded {
	tb.Helper()
	links := new(link.Iterator)
	defer links.Close()
	var l Loaded
	for links.Next() {
		l.Links = append(l.Links, links.ID)
	}
	if err := links.Err(); err != nil {
		tb.Fatal(err)
	}
	l.Programs = ids(tb, ebpf.ProgramGetNextID)
	l.Maps = ids(tb, ebpf.MapGetNextID)
	return l
}

func ids[ID ~uint32](tb testing.TB, next func(ID) (ID, error)) (all []ID) {
	tb.Helper()
	for id := ID(0); ; {
		n, err := next(id)
		if errors.Is(err, os.ErrNotExist) {
			return all
		}
		if err != nil {
			tb.Fatal(err)
		}
		all, id = append(all, n), n
	}
}

// Has reports whether the kernel holds any of these.
func (l Loaded) Has(other Loaded) bool {
	return overlap(l.Programs, other.Programs) || overlap(l.Maps, other.Maps) || overlap(l.Links, other.Links)
}

func overlap[ID comparable](a, b []ID) bool {
	return slices.ContainsFunc(a, func(id ID) bool { return slices.Contains(b, id) })
}
