package cuda

import (
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
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

// maxSymbols bounds what is read of a library's symbols, bytes: it may be anybody's file.
const maxSymbols = 16 << 20

var machine = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[runtime.GOARCH]

// Sites finds the functions of a library of so many bytes that can be probed. Those that cannot are left out, and said, in words.
func Sites(library io.ReaderAt, size uint64) (sites []Site, left []string, err error) {
	f, err := elf.NewFile(library)
	if err != nil {
		return nil, nil, fmt.Errorf("read the library: %w", err)
	}
	defer f.Close()
	if f.Type != elf.ET_DYN || f.Machine != machine || f.Class != elf.ELFCLASS64 || f.Data != elf.ELFDATA2LSB {
		return nil, nil, fmt.Errorf("read the library: %v for %v is none of this machine's", f.Type, f.Machine)
	}
	for _, s := range f.Sections {
		switch s.Type {
		case elf.SHT_DYNSYM, elf.SHT_STRTAB, elf.SHT_GNU_VERSYM, elf.SHT_GNU_VERNEED, elf.SHT_GNU_VERDEF:
			if s.FileSize > min(maxSymbols, size) {
				return nil, nil, fmt.Errorf("read the library: section %s has %d bytes", s.Name, s.FileSize)
			}
		}
	}
	symbols, err := f.DynamicSymbols()
	if err != nil {
		return nil, nil, fmt.Errorf("read the library's symbols: %w", err)
	}
	exported := make(map[string]elf.Symbol)
	for _, s := range symbols {
		if elf.ST_TYPE(s.Info) == elf.STT_FUNC && s.Section != elf.SHN_UNDEF && s.Value != 0 && (strings.HasPrefix(s.Name, "cu") || strings.HasPrefix(s.Name, "nccl")) {
			exported[s.Name] = s
		}
	}
	at := map[uint64]int{} // in sites
	for i := range functions {
		fn := &functions[i]
		s, ok := exported[fn.name]
		if _, does := exported[fn.unless]; !ok || does {
			continue
		}
		site, err := siteOf(f, s)
		if err != nil {
			left = append(left, fmt.Sprintf("%s: %v", fn.name, err))
			continue
		}
		site.Name, site.function, site.index = fn.name, fn, i
		if j, ok := at[site.Offset]; ok {
			// One function with two names is counted once. If they would mean different things, nobody could say which was called.
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

// siteOf finds the place for a probe in a function.
func siteOf(f *elf.File, s elf.Symbol) (Site, error) {
	for _, p := range f.Progs {
		if p.Type != elf.PT_LOAD || p.Flags&elf.PF_X == 0 || s.Value < p.Vaddr || s.Value-p.Vaddr >= p.Filesz {
			continue
		}
		code := make([]byte, min(instructionBytes, p.Filesz-(s.Value-p.Vaddr)))
		if s.Size > 0 {
			code = code[:min(uint64(len(code)), s.Size)]
		}
		if _, err := p.ReadAt(code, int64(s.Value-p.Vaddr)); err != nil {
			return Site{}, fmt.Errorf("its code cannot be read: %w", err)
		}
		offset, emulated, err := begin(f.Machine, code)
		if err != nil {
			return Site{}, fmt.Errorf("it begins with an %w", err)
		}
		return Site{Offset: s.Value - p.Vaddr + p.Off + offset, Emulated: emulated}, nil
	}
	return Site{}, errors.New("it is not in the library's code")
}
