package cuda

import (
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"runtime"
)

// Site is a place in a library that is probed.
type Site struct {
	// Name is the function's; of several names for one function, the first of those known here.
	Name string
	// Offset is in the file.
	Offset uint64
	// Emulated: the kernel emulates the instruction there, so that a probe costs little; else it is single-stepped.
	Emulated bool

	function *function
	index    int
}

var machine = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[runtime.GOARCH]

// Sites finds the functions of a library of so many bytes that can be probed. It returns the others with a reason.
func Sites(library io.ReaderAt, size uint64) (sites []Site, left []string, err error) {
	m, err := readImage(library, size)
	if err != nil {
		return nil, nil, fmt.Errorf("read the library: %w", err)
	}
	exported, err := m.exported(countedNames)
	if err != nil {
		return nil, nil, fmt.Errorf("read the library's symbols: %w", err)
	}
	at := map[uint64]int{} // in sites
	for i := range functions {
		fn := &functions[i]
		s, ok := exported[fn.name]
		if _, does := exported[fn.unless]; !ok || does {
			continue
		}
		site, err := m.site(s)
		if err != nil {
			left = append(left, fmt.Sprintf("%s: %v", fn.name, err))
			continue
		}
		site.Name, site.function, site.index = fn.name, fn, i
		if j, ok := at[site.Offset]; ok {
			// One function with two names is counted once. If they would mean different things, it would be unknown
			// which was called.
			if first := &sites[j]; first.function != nil && first.function.does() != fn.does() {
				left = append(left, fmt.Sprintf("%s and %s: one function for both", first.Name, fn.name))
				first.function = nil
			}
			continue
		}
		at[site.Offset] = len(sites)
		sites = append(sites, site)
	}
	kept := sites[:0]
	for _, s := range sites {
		if s.function != nil {
			kept = append(kept, s)
		}
	}
	if len(kept) == 0 && len(left) == 0 {
		return nil, nil, errors.New("the library exports none of the functions that are counted")
	}
	return kept, left, nil
}

// countedNames are those of the functions that are counted.
var countedNames = functionNames()

func functionNames() map[string]bool {
	all := make(map[string]bool, len(functions))
	for i := range functions {
		all[functions[i].name] = true
		if unless := functions[i].unless; unless != "" {
			all[unless] = true
		}
	}
	return all
}
