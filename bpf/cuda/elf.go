package cuda

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// What is read of a library, at most: it may be anybody's file. NVIDIA's libcuda.so.1 of driver 550 has 11 segments, 30
// sections, and 700 dynamic symbols with 15 KiB of names.
const (
	maxSegments     = 128
	maxSections     = 4096
	maxSymbolBytes  = 4 << 20
	maxNameBytes    = 4 << 20
	symbolSize      = 24
	symbolsAtOnce   = 512
	elfHeaderSize   = 64
	segmentSize     = 56
	sectionSize     = 64
	longestFunction = 64 // bytes; TestImage_NamesFitTheBound checks the names
)

// image is what is needed of an ELF file: segments, and the dynamic symbols as they stand in the file. No other
// section is read, and none is decompressed, as debug/elf does: a compressed section of some KB can claim to be of
// any size.
type image struct {
	r       io.ReaderAt
	size    uint64
	machine elf.Machine
	// segments are those that are loaded to be executed.
	segments []elf.Prog64
	symbols  elf.Section64
	names    []byte
}

// symbol is an exported function.
type symbol struct{ value, size uint64 }

// readImage reads the headers of a library and the names of its dynamic symbols.
func readImage(r io.ReaderAt, size uint64) (*image, error) {
	m := &image{r: r, size: size}
	var h elf.Header64
	if err := m.read(0, elfHeaderSize, &h); err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	switch {
	case string(h.Ident[:len(elf.ELFMAG)]) != elf.ELFMAG:
		return nil, errors.New("not an ELF file")
	case elf.Class(h.Ident[elf.EI_CLASS]) != elf.ELFCLASS64, elf.Data(h.Ident[elf.EI_DATA]) != elf.ELFDATA2LSB,
		elf.Type(h.Type) != elf.ET_DYN, elf.Machine(h.Machine) != machine:
		return nil, fmt.Errorf("%v for %v is none of this machine's", elf.Type(h.Type), elf.Machine(h.Machine))
	case h.Phnum == 0, h.Phnum > maxSegments, h.Phentsize != segmentSize:
		return nil, fmt.Errorf("%d segments of %d bytes, want 1 to %d of %d", h.Phnum, h.Phentsize, maxSegments,
			segmentSize)
	case h.Shnum == 0, h.Shnum > maxSections, h.Shentsize != sectionSize:
		return nil, fmt.Errorf("%d sections of %d bytes, want 1 to %d of %d", h.Shnum, h.Shentsize, maxSections,
			sectionSize)
	}
	m.machine = elf.Machine(h.Machine)
	if err := m.readSegments(&h); err != nil {
		return nil, err
	}
	return m, m.readSections(&h)
}

func (m *image) readSegments(h *elf.Header64) error {
	all := make([]elf.Prog64, h.Phnum)
	if err := m.read(h.Phoff, uint64(h.Phnum)*segmentSize, all); err != nil {
		return fmt.Errorf("segments: %w", err)
	}
	for _, s := range all {
		if elf.ProgType(s.Type) == elf.PT_LOAD && elf.ProgFlag(s.Flags)&elf.PF_X != 0 {
			m.segments = append(m.segments, s)
		}
	}
	return nil
}

// readSections finds the dynamic symbols and reads their names.
func (m *image) readSections(h *elf.Header64) error {
	all := make([]elf.Section64, h.Shnum)
	if err := m.read(h.Shoff, uint64(h.Shnum)*sectionSize, all); err != nil {
		return fmt.Errorf("sections: %w", err)
	}
	for _, s := range all {
		if elf.SectionType(s.Type) != elf.SHT_DYNSYM {
			continue
		}
		if uint64(s.Link) >= uint64(len(all)) || elf.SectionType(all[s.Link].Type) != elf.SHT_STRTAB {
			return errors.New("dynamic symbols without names")
		}
		names := all[s.Link]
		switch compressed := uint64(elf.SHF_COMPRESSED); {
		case (s.Flags|names.Flags)&compressed != 0:
			return errors.New("compressed symbols")
		case s.Size > maxSymbolBytes || s.Size%symbolSize != 0 || s.Entsize != symbolSize:
			return fmt.Errorf("%d bytes of dynamic symbols of %d bytes each, want at most %d of %d",
				s.Size, s.Entsize, maxSymbolBytes, symbolSize)
		case names.Size > maxNameBytes:
			return fmt.Errorf("%d bytes of names, want at most %d", names.Size, maxNameBytes)
		}
		m.symbols, m.names = s, make([]byte, min(names.Size, m.size))
		if err := m.read(names.Off, names.Size, m.names); err != nil {
			return fmt.Errorf("names of symbols: %w", err)
		}
		return nil
	}
	return errors.New("no dynamic symbols")
}

// read reads so many bytes of the file into data, which is of that size.
func (m *image) read(offset, size uint64, data any) error {
	if offset > m.size || size > m.size-offset {
		return fmt.Errorf("%d bytes at %d of a file of %d", size, offset, m.size)
	}
	r := io.NewSectionReader(m.r, int64(offset), int64(size))
	if b, ok := data.([]byte); ok {
		_, err := io.ReadFull(r, b)
		return err
	}
	return binary.Read(r, binary.LittleEndian, data)
}

// exported finds functions by their names. Of several symbols of one name the last one counts.
func (m *image) exported(wanted map[string]bool) (map[string]symbol, error) {
	found := make(map[string]symbol)
	buf := make([]byte, symbolsAtOnce*symbolSize)
	for at := uint64(0); at < m.symbols.Size; at += uint64(len(buf)) {
		buf = buf[:min(uint64(len(buf)), m.symbols.Size-at)]
		if err := m.read(m.symbols.Off+at, uint64(len(buf)), buf); err != nil {
			return nil, err
		}
		for b := buf; len(b) >= symbolSize; b = b[symbolSize:] {
			name, info, section := binary.LittleEndian.Uint32(b), b[4], binary.LittleEndian.Uint16(b[6:])
			value, size := binary.LittleEndian.Uint64(b[8:]), binary.LittleEndian.Uint64(b[16:])
			if elf.ST_TYPE(info) != elf.STT_FUNC || elf.SectionIndex(section) == elf.SHN_UNDEF || value == 0 {
				continue
			}
			if n := m.name(name); wanted[string(n)] {
				found[string(n)] = symbol{value, size}
			}
		}
	}
	return found, nil
}

// name returns the name at an offset; nil where it is longer than that of any function that is counted.
func (m *image) name(offset uint32) []byte {
	if uint64(offset) >= uint64(len(m.names)) {
		return nil
	}
	b := m.names[offset:]
	end := bytes.IndexByte(b[:min(len(b), longestFunction+1)], 0)
	if end < 0 {
		return nil
	}
	return b[:end]
}

// site finds the place for a probe in a function.
func (m *image) site(s symbol) (Site, error) {
	for i := range m.segments {
		p := &m.segments[i]
		if s.value < p.Vaddr || s.value-p.Vaddr >= p.Filesz {
			continue
		}
		in := s.value - p.Vaddr
		at := p.Off + in
		if at < p.Off || at >= m.size {
			return Site{}, errors.New("its code is not in the file")
		}
		// A place in the header is no function's. 0 would mean to link.Executable that the place is to be looked up, by
		// reading all symbols of the file without a bound.
		if at < elfHeaderSize {
			return Site{}, errors.New("its code is the file's header")
		}
		code := make([]byte, min(instructionBytes, p.Filesz-in, m.size-at))
		if s.size > 0 {
			code = code[:min(uint64(len(code)), s.size)]
		}
		if err := m.read(at, uint64(len(code)), code); err != nil {
			return Site{}, fmt.Errorf("its code cannot be read: %w", err)
		}
		offset, emulated, err := begin(m.machine, code)
		if err != nil {
			return Site{}, fmt.Errorf("it begins with an %w", err)
		}
		return Site{Offset: at + offset, Emulated: emulated}, nil
	}
	return Site{}, errors.New("it is not in the library's code")
}
