// Package calls knows the names of Linux' system calls by architecture, and the groups that people name them by.
package calls

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/orb8-dev/kubectl-orb8/event"
)

//go:generate go run ./gen

// ABI is the instruction set that a number is of.
type ABI uint8

const (
	// AMD64 is what 64-bit programs use on x86.
	AMD64 ABI = iota
	// ARM64 is what 64-bit programs use on arm.
	ARM64
	// I386 is what 32-bit programs use on x86.
	I386
	// ARM is what 32-bit programs use on arm.
	ARM
)

var abis = [...]struct {
	name  string
	table []string
}{
	AMD64: {"amd64", linuxamd64[:]}, ARM64: {"arm64", linuxarm64[:]}, I386: {"386", linux386[:]},
	ARM: {"arm", linuxarm[:]},
}

// String is Go's name of the architecture.
func (a ABI) String() string { return abis[a].name }

// Name gives the name of a call, empty where there is none.
func (a ABI) Name(number int) string {
	if number < 0 || number >= len(abis[a].table) {
		return ""
	}
	return abis[a].table[number]
}

// Has reports whether the architecture has a call of this name.
func (a ABI) Has(name string) bool {
	_, has := namesOf()[a][name]
	return has
}

// namesOf are the names of each architecture.
var namesOf = sync.OnceValue(func() (sets [len(abis)]map[string]struct{}) {
	for a := range abis {
		sets[a] = map[string]struct{}{}
		for _, name := range abis[a].table {
			if name != "" {
				sets[a][name] = struct{}{}
			}
		}
	}
	return sets
})

// Parse gives the ABI of a name, as String writes it.
func Parse(name string) (abi ABI, known bool) {
	for a := range abis {
		if abis[a].name == name {
			return ABI(a), true
		}
	}
	return 0, false
}

// Numbers is how far the numbers with names go.
func (a ABI) Numbers() int { return len(abis[a].table) }

// Of gives the native ABI of an architecture by Go's name of it, and that of its 32-bit programs.
func Of(goarch string) (native, compat ABI) {
	if goarch == "arm64" {
		return ARM64, ARM
	}
	return AMD64, I386
}

// Names are all names on any architecture, sorted.
func Names() []string {
	var all []string
	for _, a := range abis {
		for _, n := range a.table {
			if n != "" {
				all = append(all, n)
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// UnknownError is the error for a name that no call or group has.
type UnknownError struct {
	// Name with the percent sign of a group.
	Name string
	// Nearest is the known name most like it; empty if none is.
	Nearest string
}

func (e *UnknownError) Error() string {
	what := "system call"
	if strings.HasPrefix(e.Name, "%") {
		what = "group"
	}
	s := fmt.Sprintf("unknown %s %q", what, e.Name)
	if e.Nearest != "" {
		s += fmt.Sprintf(", did you mean %q?", e.Nearest)
	}
	if what == "group" {
		s += " groups: " + strings.Join(Groups(), ", ")
	}
	return s
}

// Groups are the names of the groups, each with its percent sign.
func Groups() []string {
	names := make([]string, 0, len(groups))
	for name := range groups {
		names = append(names, "%"+name)
	}
	slices.Sort(names)
	return names
}

// Expand gives the names of the calls that a list like "openat,%net" stands for, sorted. The error is an *UnknownError.
func Expand(list []string) ([]string, error) {
	all := Names()
	var names []string
	for _, item := range list {
		if group, ok := strings.CutPrefix(item, "%"); ok {
			members, known := groups[group]
			if !known {
				return nil, &UnknownError{item, event.Nearest(item, Groups())}
			}
			names = append(names, strings.Fields(members)...)
			continue
		}
		if _, known := slices.BinarySearch(all, item); !known {
			return nil, &UnknownError{item, event.Nearest(item, append(all, Groups()...))}
		}
		names = append(names, item)
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}
