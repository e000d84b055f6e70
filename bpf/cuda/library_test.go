package cuda

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/orb8-dev/kubectl-orb8/bpf"
	"github.com/orb8-dev/kubectl-orb8/e2e/fakes"
)

func TestProbesGoWhereTheyCostLittle(t *testing.T) {
	for _, test := range []struct {
		name     string
		machine  elf.Machine
		code     []byte
		offset   uint64
		emulated bool
	}{
		{"push rbp", elf.EM_X86_64, []byte{0x55, 0x48, 0x89, 0xe5}, 0, true},
		{"push r15", elf.EM_X86_64, []byte{0x41, 0x57, 0x41, 0x56}, 0, true},
		{"endbr64, push rbx", elf.EM_X86_64, []byte{0xf3, 0x0f, 0x1e, 0xfa, 0x53}, 4, true},
		{"endbr64, sub rsp", elf.EM_X86_64, []byte{0xf3, 0x0f, 0x1e, 0xfa, 0x48, 0x83, 0xec, 0x08}, 4, false},
		{"sub rsp", elf.EM_X86_64, []byte{0x48, 0x81, 0xec, 0x88, 0, 0, 0}, 0, false},
		{"mov rax, rdi", elf.EM_X86_64, []byte{0x48, 0x89, 0xf8}, 0, false},
		{"jmp near", elf.EM_X86_64, []byte{0xe9, 1, 0, 0, 0}, 0, true},
		{"endbr64, jmp by a pointer", elf.EM_X86_64, []byte{0xf3, 0x0f, 0x1e, 0xfa, 0xff, 0x25, 1, 0, 0, 0}, 4, false},
		{"cmp, je, as NVIDIA's 550", elf.EM_X86_64, []byte{0x81, 0x3d, 0xd6, 0x7b, 0x87, 0x01, 0x00, 0xba, 0x1c, 0x32,
			0x74, 0x0c, 0xff, 0x25}, 10, true},
		{"endbr64, cmp, jne far", elf.EM_X86_64, []byte{0xf3, 0x0f, 0x1e, 0xfa, 0x83, 0xff, 0x01, 0x0f, 0x85, 1, 0, 0,
			0}, 7, true},
		{"test, test, push", elf.EM_X86_64, []byte{0x48, 0x85, 0xff, 0x48, 0x85, 0xf6, 0x53}, 6, true},
		{"cmp, mov, push", elf.EM_X86_64, []byte{0x83, 0xff, 0x01, 0x48, 0x89, 0xf8, 0x53}, 0, false},
		{"cmp and no more", elf.EM_X86_64, []byte{0x83, 0xff, 0x01}, 0, false},
		{"five times cmp, push", elf.EM_X86_64, []byte{0x83, 0xff, 1, 0x83, 0xff, 1, 0x83, 0xff, 1, 0x83, 0xff, 1, 0x83,
			0xff, 1, 0x53}, 0, false},
		{"je", elf.EM_X86_64, []byte{0x74, 0x0c}, 0, true},
		{"nop", elf.EM_X86_64, []byte{0x90, 0x90}, 0, true},
		{"ret", elf.EM_X86_64, []byte{0xc3}, 0, false},
		{"stp x29, x30", elf.EM_AARCH64, []byte{0xfd, 0x7b, 0xbf, 0xa9}, 0, false},
		{"paciasp", elf.EM_AARCH64, []byte{0x3f, 0x23, 0x03, 0xd5}, 0, false},
		{"bti c", elf.EM_AARCH64, []byte{0x5f, 0x24, 0x03, 0xd5}, 0, false},
		{"b", elf.EM_AARCH64, []byte{0x01, 0, 0, 0x14}, 0, true},
	} {
		offset, emulated, err := begin(test.machine, test.code)
		if err != nil || offset != test.offset || emulated != test.emulated {
			t.Errorf("%s: %d, %v, %v", test.name, offset, emulated, err)
		}
	}
}

func TestInstructionsThatAreNotKnownAreLeft(t *testing.T) {
	for name, code := range map[string][]byte{
		"int3": {0xcc}, "hlt": {0xf4}, "syscall": {0x0f, 0x05}, "lock": {0xf0, 0x48, 0x01, 0x07}, "nothing": {},
		"half an instruction": {0x48}, "rdtsc": {0x0f, 0x31}, "ud2": {0x0f, 0x0b},
		"a nop that older kernels refuse": {0x66, 0x90}, "rep": {0xf3, 0xa4}, "fs:": {0x64, 0x48, 0x8b, 0x04, 0x25,
			0x28, 0, 0, 0},
	} {
		if _, _, err := begin(elf.EM_X86_64, code); err == nil {
			t.Errorf("%s would be probed", name)
		}
	}
	for name, code := range map[string][]byte{"brk": {0, 0, 0x20, 0xd4}, "svc": {0x01, 0, 0, 0xd4},
		"ldxr": {0, 0x7c, 0x5f, 0x88}, "nothing": {}} {
		if _, _, err := begin(elf.EM_AARCH64, code); err == nil {
			t.Errorf("%s would be probed", name)
		}
	}
	if _, _, err := begin(elf.EM_RISCV, []byte{1, 2, 3, 4}); err == nil {
		t.Error("for a machine that is not known")
	}
}

func TestSitesAreTheFunctionsOfALibrary(t *testing.T) {
	fake := fakes.BuildCUDA(t)
	f, err := os.Open(fake.Library)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	sites, left, err := Sites(f, uint64(info.Size()))
	if err != nil || len(left) > 0 {
		t.Fatalf("%v, left %v", err, left)
	}
	at := map[string]Site{}
	offsets := map[uint64]bool{}
	for _, s := range sites {
		at[s.Name] = s
		if offsets[s.Offset] {
			t.Errorf("%s is where another one is", s.Name)
		}
		offsets[s.Offset] = true
	}
	for _, name := range []string{"cuLaunchKernel", "cuMemcpyHtoDAsync_v2_ptsz", "cuMemAllocManaged",
		"cuCtxSynchronize"} {
		if at[name].function == nil {
			t.Errorf("%s is not found", name)
		}
	}
	// Another name of cuCtxSynchronize; and what no function here is.
	for _, name := range []string{"cuCtxSynchronize_v2", "cuLaunchHostFunc", "cuInit"} {
		if at[name].function != nil {
			t.Errorf("%s is found", name)
		}
	}
	if machine == elf.EM_X86_64 && (!at["cuLaunchCooperativeKernelMultiDevice"].Emulated ||
		!at["cuStreamSynchronize_ptsz"].Emulated || !at["cuLaunchKernel"].Emulated ||
		!at["cuLaunchKernel_ptsz"].Emulated || at["cuLaunchKernelEx"].Emulated ||
		at["cuLaunchKernelEx_ptsz"].Emulated) {
		t.Errorf("%+v", at)
	}
}

func TestNamesAreOfOneFunctionEach(t *testing.T) {
	seen := map[string]bool{}
	for i, f := range functions {
		if seen[f.name] {
			t.Errorf("%s is there twice", f.name)
		}
		seen[f.name] = true
		s := Site{function: &functions[i], index: i, Emulated: i%2 == 0}
		d := s.descriptor(usual)
		if d&15 != f.class || d>>4&3 != f.direction || d>>8&15 != f.size || d>>12&7 != f.at ||
			nameOf(uint16(d>>32)) != f.name || d>>16&7 != uint64(groupOf[f.class]) || d>>48 < 6 {
			t.Errorf("%s: %#x", f.name, d)
		}
	}
	if len(functions) < 70 || nameOf(uint16(len(functions))) != "" {
		t.Errorf("%d functions", len(functions))
	}
}

func TestFunctionsInOnePlaceAreOneOrNone(t *testing.T) {
	code := []byte{0x55, 0xc3, 0xcc, 0xcc, 0x53, 0xc3}
	if machine != elf.EM_X86_64 {
		t.Skip("the code is for amd64")
	}
	library := shared(code, map[string]uint64{
		"cuStreamSynchronize": 0, "cuStreamSynchronize_ptsz": 0, // one
		"cuMemFree_v2": 4, "cuEventSynchronize": 4, // a stub for all that is not there
		"cuGraphLaunch": 2,                  // a trap
		"cuMemAlloc_v2": 1000, "cuOther": 0, // nowhere
	})
	sites, left, err := Sites(bytes.NewReader(library), uint64(len(library)))
	if err != nil || len(sites) != 1 || sites[0].Name != "cuStreamSynchronize" {
		t.Errorf("%+v, %v", sites, err)
	}
	slices.Sort(left)
	if got := strings.Join(left, "\n"); !strings.Contains(got,
		"cuEventSynchronize and cuMemFree_v2: one function for both") || !strings.Contains(got,
		"cuGraphLaunch: it begins with an instruction INT 0x3") ||
		!strings.Contains(got, "cuMemAlloc_v2: it is not in the library's code") {
		t.Errorf("left: %s", got)
	}
	library = shared(code, map[string]uint64{"main": 0})
	if _, _, err := Sites(bytes.NewReader(library), uint64(len(library))); err == nil {
		t.Error("a library without any of them")
	}
}

// shared makes a library of code, with symbols in it.
func shared(code []byte, symbols map[string]uint64) []byte {
	const header, segment, section, symbol = 64, 56, 64, 24
	const codeAt = header + segment
	names := []byte{0}
	dynsym := make([]byte, symbol)
	for name, offset := range symbols {
		var s [symbol]byte
		binary.LittleEndian.PutUint32(s[0:], uint32(len(names)))
		s[4] = byte(elf.STT_FUNC) | byte(elf.STB_GLOBAL)<<4
		binary.LittleEndian.PutUint16(s[6:], 1)
		binary.LittleEndian.PutUint64(s[8:], 0x1000+offset)
		dynsym = append(dynsym, s[:]...)
		names = append(append(names, name...), 0)
	}
	var b bytes.Buffer
	put := func(v any) { _ = binary.Write(&b, binary.LittleEndian, v) }
	h := elf.Header64{Type: uint16(elf.ET_DYN), Machine: uint16(machine), Version: 1, Phoff: header,
		Shoff: uint64(codeAt + len(code) + len(names) + len(dynsym)), Ehsize: header,
		Phentsize: segment, Phnum: 1, Shentsize: section, Shnum: 3, Shstrndx: 1}
	copy(h.Ident[:], elf.ELFMAG)
	h.Ident[elf.EI_CLASS], h.Ident[elf.EI_DATA], h.Ident[elf.EI_VERSION] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB),
		1
	put(h)
	put(elf.Prog64{Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_X | elf.PF_R), Off: codeAt, Vaddr: 0x1000,
		Filesz: uint64(len(code)), Memsz: uint64(len(code))})
	b.Write(code)
	b.Write(names)
	b.Write(dynsym)
	put(elf.Section64{})
	put(elf.Section64{Type: uint32(elf.SHT_STRTAB), Off: uint64(codeAt + len(code)), Size: uint64(len(names))})
	put(elf.Section64{Type: uint32(elf.SHT_DYNSYM), Off: uint64(codeAt + len(code) + len(names)),
		Size: uint64(len(dynsym)), Link: 1, Entsize: symbol})
	return b.Bytes()
}

// FuzzLibrary reads what pods may call a driver's library.
func FuzzLibrary(f *testing.F) {
	f.Add(shared([]byte{0x55, 0xc3, 0xcc, 0xcc, 0x53, 0xc3}, map[string]uint64{"cuStreamSynchronize": 0,
		"cuMemFree_v2": 4, "cuGraphLaunch": 2}))
	f.Add([]byte(elf.ELFMAG))
	f.Add(shared([]byte{0xf3, 0x0f, 0x1e, 0xfa, 0xff, 0x25, 1, 0, 0, 0},
		map[string]uint64{"ncclBcast": 0, "ncclBroadcast": 2}))
	f.Fuzz(func(t *testing.T, library []byte) {
		// The file is longer than what it holds, as a sparse one is.
		for _, size := range []int64{int64(len(library)), 1 << 40} {
			reader := &countingReader{r: bytes.NewReader(library), size: size}
			sites, _, err := Sites(reader, uint64(size))
			for _, s := range sites {
				if err != nil || s.function == nil || s.Name == "" || s.Offset < elfHeaderSize ||
					s.Offset >= uint64(size) {
					t.Errorf("%+v, %v", s, err)
				}
			}
			if most := int64(maxNameBytes + maxSymbolBytes + 1<<20); reader.read > most {
				t.Errorf("%d bytes were read, want at most %d", reader.read, most)
			}
		}
	})
}

// countingReader is a file with a hole at its end.
type countingReader struct {
	r          *bytes.Reader
	size, read int64
}

func (c *countingReader) ReadAt(b []byte, off int64) (int, error) {
	if off >= c.size {
		return 0, io.EOF
	}
	n, _ := c.r.ReadAt(b, min(off, c.r.Size()))
	all := int(min(int64(len(b)), c.size-off))
	clear(b[n:all])
	c.read += int64(all)
	if all < len(b) {
		return all, io.EOF
	}
	return all, nil
}

// FuzzDecode reads what the ring buffer may hold.
func FuzzDecode(f *testing.F) {
	f.Add(make([]byte, failureSize))
	f.Add(bytes.Repeat([]byte{0xff}, failureSize+3))
	clock, err := bpf.NewClock()
	if err != nil {
		f.Fatal(err)
	}
	d := newDecoder(clock)
	f.Fuzz(func(t *testing.T, raw []byte) {
		_, ev, err := d.decode(raw)
		if err != nil {
			return
		}
		g := ev.GetGpu()
		if g.GetFailure().GetCall() == "" || g.GetMessage() == "" || bytes.IndexByte(g.GetProc().GetComm(), 0) >= 0 {
			t.Errorf("%v", ev)
		}
		if n := binary.LittleEndian.Uint32(raw[unsafe.Offsetof(objectFailure{}.Code):]); n != g.GetFailure().GetCode() {
			t.Errorf("code %d, want %d", g.GetFailure().GetCode(), n)
		}
	})
}

func TestOnlyWhatStaysDearIsTakenOff(t *testing.T) {
	b := budget{share: 0.05}
	spent := map[objectProcess]spending{}
	second := func(n int) uint64 { return uint64(n) * 1e9 }
	readProcess := func(at uint64, launching, copying uint64) (int, bool) {
		a, c := objectProcess{Tgid: 1}, objectProcess{Tgid: 2}
		next := map[objectProcess]spending{a: spent[a], c: spent[c]}
		s := next[a]
		s[launches] += launching
		next[a] = s
		s = next[c]
		s[copies] += copying
		next[c] = s
		spent = next
		return b.judge(at, next)
	}
	const limit = 500_000 // of 100 ns: 5 % of a second
	for i, test := range []struct {
		at                 uint64
		launching, copying uint64
		group              int
		over               bool
	}{
		{second(1), 100 * limit, 0, 0, false}, // of before
		{second(2), limit + 1, 0, 0, false},
		{second(2) + 1, 10 * limit, 0, 0, false}, // too soon to tell
		{second(3), 0, 0, 0, false},
		{second(4), limit, limit, 0, false}, // neither of them alone
		{second(5), limit + 1, 0, 0, false},
		{second(6), 0, limit + 1, 0, false},
		{second(7), limit + 1, limit + 2, copies, true}, // the third in turn
		{second(8), limit + 1, 0, 0, false},
	} {
		if group, over := readProcess(test.at, test.launching, test.copying); over != test.over || over &&
			group != test.group {
			t.Errorf("look %d: %d, %v", i, group, over)
		}
	}
}
