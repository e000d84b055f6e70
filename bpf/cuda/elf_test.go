package cuda

import (
	"bytes"
	"compress/zlib"
	"debug/elf"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
)

// hostileLibrary is a small library of one function whose headers a test changes.
type hostileLibrary struct {
	b        []byte
	header   elf.Header64
	segments []elf.Prog64
	sections []elf.Section64
	// size is what the file is extended to, by a hole; 0: it is not.
	size int64
}

func newHostileLibrary(t *testing.T) *hostileLibrary {
	t.Helper()
	l := &hostileLibrary{b: shared([]byte{0x55, 0xc3, 0xcc, 0xcc, 0x53, 0xc3},
		map[string]uint64{"cuStreamSynchronize": 0})}
	l.get(0, &l.header)
	l.segments, l.sections = make([]elf.Prog64, l.header.Phnum), make([]elf.Section64, l.header.Shnum)
	l.get(l.header.Phoff, l.segments)
	l.get(l.header.Shoff, l.sections)
	return l
}

func (l *hostileLibrary) get(at uint64, v any) {
	_, _ = binary.Decode(l.b[at:], binary.LittleEndian, v)
}

// add puts data at the end of the file.
func (l *hostileLibrary) add(data []byte) (at uint64) {
	at = uint64(len(l.b))
	l.b = append(l.b, data...)
	return at
}

// write makes the file, with the sections at its end.
func (l *hostileLibrary) write(t *testing.T) *os.File {
	t.Helper()
	put := func(at uint64, v any) {
		if _, err := binary.Encode(l.b[at:], binary.LittleEndian, v); err != nil {
			t.Fatal(err)
		}
	}
	if l.header.Shnum == uint16(len(l.sections)) {
		l.header.Shoff = l.add(make([]byte, len(l.sections)*sectionSize))
		put(l.header.Shoff, l.sections)
	}
	put(0, &l.header)
	put(l.header.Phoff, l.segments)
	path := filepath.Join(t.TempDir(), "libcuda.so.1")
	if err := os.WriteFile(path, l.b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, max(l.size, int64(len(l.b)))); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// zeros is a compressed section of hugeSection zeros with its header. They are compressed one MiB at a time, which all
// readProcess alike behind the first: compression as a whole takes the race detector a minute.
var zeros = sync.OnceValue(func() []byte {
	const step = 1 << 20
	var b bytes.Buffer
	header := elf.Chdr64{Type: uint32(elf.COMPRESS_ZLIB), Size: hugeSection, Addralign: 1}
	_ = binary.Write(&b, binary.LittleEndian, header)
	z := zlib.NewWriter(&b)
	var last []byte
	for range 2 {
		before := b.Len()
		_, _ = z.Write(make([]byte, step)) // a buffer takes all
		_ = z.Flush()
		last = slices.Clone(b.Bytes()[before:])
	}
	b.Write(bytes.Repeat(last, hugeSection/step-2))
	// RFC 1951: the last block, stored, of no bytes. RFC 1950: Adler-32 of zeros.
	b.Write([]byte{1, 0, 0, 0xff, 0xff})
	_ = binary.Write(&b, binary.BigEndian, uint32(hugeSection%65521)<<16|1)
	return b.Bytes()
})

func TestZeros_Unpack(t *testing.T) {
	z, err := zlib.NewReader(bytes.NewReader(zeros()[binary.Size(elf.Chdr64{}):]))
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, z); n != hugeSection || err != nil {
		t.Errorf("%d bytes, %v; want %d", n, err, hugeSection)
	}
}

const hugeSection = 128 << 20

const (
	names   = 1 // a section that shared makes
	symbols = 2
)

// maxAllocated is what reading a library may allocate, bytes: the names of its symbols and little more.
const maxAllocated = maxNameBytes + 1<<20

func TestSites_HostileFilesTakeBoundedMemory(t *testing.T) {
	if machine != elf.EM_X86_64 {
		t.Skip("the code is for amd64")
	}
	compress := func(l *hostileLibrary, s *elf.Section64) {
		data := zeros()
		s.Off, s.Size = l.add(data), uint64(len(data))
		s.Flags |= uint64(elf.SHF_COMPRESSED)
	}
	for _, test := range []struct {
		name   string
		change func(*testing.T, *hostileLibrary)
		// want is a part of the error; empty: the library can be probed.
		want string
	}{
		{"as it is", func(*testing.T, *hostileLibrary) {}, ""},
		{"section names that are compressed", func(_ *testing.T, l *hostileLibrary) {
			s := elf.Section64{Type: uint32(elf.SHT_STRTAB)}
			compress(l, &s)
			l.sections = append(l.sections, s)
			l.header.Shnum, l.header.Shstrndx = 4, 3
		}, ""}, // they are not read
		{"section names of a hole", func(_ *testing.T, l *hostileLibrary) {
			l.size = 8 << 30
			l.sections = append(l.sections, elf.Section64{Type: uint32(elf.SHT_STRTAB), Off: 4096, Size: hugeSection})
			l.header.Shnum, l.header.Shstrndx = 4, 3
		}, ""},
		{"names that are compressed", func(_ *testing.T, l *hostileLibrary) { compress(l, &l.sections[names]) },
			"compressed symbols"},
		{"symbols that are compressed", func(_ *testing.T, l *hostileLibrary) { compress(l, &l.sections[symbols]) },
			"compressed symbols"},
		{"names of a hole", func(_ *testing.T, l *hostileLibrary) {
			l.size, l.sections[names].Size = 8<<30, 4<<30
		}, "4294967296 bytes of names"},
		{"symbols of a hole", func(_ *testing.T, l *hostileLibrary) {
			l.size, l.sections[symbols].Size = 8<<30, 4<<30/symbolSize*symbolSize
		}, "bytes of dynamic symbols"},
		{"as many symbols as are read", func(_ *testing.T, l *hostileLibrary) {
			l.size, l.sections[symbols].Size = 8<<30, maxSymbolBytes/symbolSize*symbolSize
		}, ""},
		{"as many names as are read", func(_ *testing.T, l *hostileLibrary) {
			l.size, l.sections[names].Size = 8<<30, maxNameBytes
		}, ""},
		{"names beyond the end", func(_ *testing.T, l *hostileLibrary) { l.sections[names].Size = maxNameBytes },
			"names of symbols"},
		{"names at the end of all numbers", func(_ *testing.T, l *hostileLibrary) {
			l.sections[names].Off, l.sections[names].Size = 1<<64-8, 16
		}, "names of symbols"},
		{"too many sections", func(_ *testing.T, l *hostileLibrary) {
			l.size, l.header.Shnum = 8<<30, 65535
		}, "65535 sections"},
		{"too many segments", func(_ *testing.T, l *hostileLibrary) {
			l.size, l.header.Phnum = 8<<30, 65535
			l.segments = nil
		}, "65535 segments"},
		{"names in no section", func(_ *testing.T, l *hostileLibrary) { l.sections[symbols].Link = 7 },
			"dynamic symbols without names"},
		{"code in the header", func(_ *testing.T, l *hostileLibrary) { l.segments[0].Off = 0 }, ""},
		{"code at the end of all numbers", func(_ *testing.T, l *hostileLibrary) {
			l.segments[0].Off, l.segments[0].Filesz = 1<<64-1, 1<<63
		}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := newHostileLibrary(t)
			test.change(t, l)
			f := l.write(t)
			info, err := f.Stat()
			if err != nil {
				t.Fatal(err)
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			sites, left, err := Sites(f, uint64(info.Size()))
			runtime.ReadMemStats(&after)
			if n := after.TotalAlloc - before.TotalAlloc; n > maxAllocated {
				t.Errorf("%d bytes were allocated, want at most %d", n, maxAllocated)
			}
			switch {
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("%v, want %q", err, test.want)
			case test.want == "" && (err != nil || len(sites)+len(left) != 1):
				t.Errorf("sites %v, left %v, %v", sites, left, err)
			case strings.HasPrefix(test.name, "code") && len(left) != 1:
				t.Errorf("a probe goes to %+v", sites)
			}
		})
	}
}

func TestImage_NamesFitTheBound(t *testing.T) {
	for name := range countedNames {
		if len(name) > longestFunction {
			t.Errorf("%s has %d characters", name, len(name))
		}
	}
}
