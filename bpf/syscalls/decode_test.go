package syscalls

import (
	"bytes"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
	"unsafe"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/bpf"
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/calls"
)

func kit(tb testing.TB, names []string) (*bpf.Clock, *table) {
	tb.Helper()
	clock, err := bpf.NewClock()
	if err != nil {
		tb.Fatal(err)
	}
	t, err := newTable(names)
	if err != nil {
		tb.Fatal(err)
	}
	return clock, t
}

// numbered gives that of a call on this machine.
func numbered(t *table, name string) int32 {
	return int32(slices.IndexFunc(t.known[:nativeCalls], func(k known) bool { return k.name == name }))
}

// pack makes what the kernel sends of e.
func pack(e *objectSyscallEvent, texts ...string) []byte {
	var all string
	for i, t := range texts {
		e.TextLen[i] = uint16(len(t))
		all += t
	}
	return append(bytes.Clone(unsafe.Slice((*byte)(unsafe.Pointer(e)), headSize)), all...)
}

func returned(t *table, name string, result int64, args ...uint64) *objectSyscallEvent {
	e := &objectSyscallEvent{Number: numbered(t, name), Phase: 1, Flags: timed, DurationNs: 1234, Result: result,
		Pid: 7, Tid: 8}
	copy(e.Args[:], args)
	for i, c := range "python3" {
		e.Comm[i] = int8(c)
	}
	return e
}

func example(t *table, name string) []byte {
	switch name {
	case "openat":
		return pack(returned(t, name, 3, at(unix.AT_FDCWD), 0x1000, unix.O_CLOEXEC),
			"/usr/lib/python3/site-packages/yaml/__init__.py")
	case "read":
		e := returned(t, name, 10, 4, 0x7f0000001000, 4096)
		fileNamed(e, fdFile, "access.log")
		return pack(e)
	case "mmap":
		return pack(returned(t, name, 0x7f0000000000, 0, 8192, unix.PROT_READ|unix.PROT_WRITE,
			unix.MAP_PRIVATE|unix.MAP_ANONYMOUS, ^uint64(0), 0))
	}
	return pack(returned(t, name, 1))
}

func at(fd int32) uint64 { return uint64(uint32(fd)) }

func fileNamed(e *objectSyscallEvent, kind uint8, name string) {
	e.Fd.Kind = kind
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&e.Fd.Name)), len(e.Fd.Name)), name)
}

func TestArgumentsReadAsPeopleReadThem(t *testing.T) {
	clock, table := kit(t, nil)
	d := newDecoder(clock, table)
	flagged := func(e *objectSyscallEvent, flags uint8) *objectSyscallEvent { e.Flags |= flags; return e }
	file := func(e *objectSyscallEvent, name string) *objectSyscallEvent { fileNamed(e, fdFile, name); return e }
	socket := func(e *objectSyscallEvent, family uint16, protocol uint8, local, remote string, lport,
		rport uint16) *objectSyscallEvent {
		fileNamed(e, fdSocket, local+strings.Repeat("\x00", 16-len(local))+remote)
		e.Fd.Family, e.Fd.Protocol, e.Fd.LocalPort, e.Fd.RemotePort, e.Fd.Inode = family, protocol, lport,
			rport>>8|rport<<8, 42
		return e
	}
	in4 := "\x02\x00\x01\xbb\x0a\x00\x00\x07" + strings.Repeat("\x00", 8)
	in6 := "\x0a\x00\x01\xbb\x00\x00\x00\x00" + "\x20\x01\x0d\xb8" + strings.Repeat("\x00", 11) + "\x01\x00\x00\x00\x00"
	for _, c := range []struct {
		name string
		raw  []byte
		want string
		path string
	}{
		{"flags by name",
			pack(returned(table, "openat", 3, at(unix.AT_FDCWD), 1, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC, 0o644),
				"/tmp/a"), `openat(AT_FDCWD, "/tmp/a", O_WRONLY|O_CREAT|O_TRUNC, 0644)`, "/tmp/a"},
		{"no mode where none is read", pack(returned(table, "openat", 3, at(unix.AT_FDCWD), 1, 0, 0xdead), "a"),
			`openat(AT_FDCWD, "a", O_RDONLY)`, "a"},
		{"a flag without a name", pack(returned(table, "openat", 3, at(unix.AT_FDCWD), 1, 1<<30), "a"),
			`openat(AT_FDCWD, "a", O_RDONLY|0x40000000)`, "a"},
		{"a directory", pack(file(returned(table, "openat", 3, 5, 1, 0), "etc"), "hosts"),
			`openat(5<etc>, "hosts", O_RDONLY)`, "hosts"},
		{"hostile text", pack(returned(table, "openat", 3, at(unix.AT_FDCWD), 1, 0), "a\"\\\n\x1b[2J\xff日"),
			`openat(AT_FDCWD, "a\"\\\n\x1b[2J\xff日", O_RDONLY)`, "a\"\\\n\x1b[2J\xff日"},
		{"text that cannot be read", pack(flagged(returned(table, "openat", -14, at(unix.AT_FDCWD), 1, 0), unread0)),
			`openat(AT_FDCWD, ?, O_RDONLY)`, ""},
		{"text that is not all there", pack(flagged(returned(table, "openat", -36, at(unix.AT_FDCWD), 1, 0), unread0),
			"aaaa"), `openat(AT_FDCWD, "aaaa"..., O_RDONLY)`, ""},
		{"no pointer", pack(returned(table, "openat", -14, at(unix.AT_FDCWD), 0, 0)),
			`openat(AT_FDCWD, NULL, O_RDONLY)`, ""},
		{"two paths", pack(returned(table, "linkat", 0, at(unix.AT_FDCWD), 1, at(unix.AT_FDCWD), 2, 0), "old", "new"),
			`linkat(AT_FDCWD, "old", AT_FDCWD, "new", 0)`, "old"},
		{"a file", pack(file(returned(table, "read", 3, 4, 0x7000, 512), "access.log")),
			`read(4<access.log>, 0x7000, 512)`, ""},
		{"a file with a long name", pack(file(returned(table, "close", 0, 4), strings.Repeat("n", 47))), `close(4<` +
			strings.Repeat("n", 47) + `...>)`, ""},
		{"a file that is not open", pack(returned(table, "close", -9, at(-1))), `close(-1)`, ""},
		{"an IPv4 socket", pack(socket(returned(table, "read", 3, 4, 0x7000, 512), unix.AF_INET, 6, "\x0a\x00\x00\x01",
			"\x0a\x00\x00\x02", 40000, 443)), `read(4<tcp 10.0.0.1:40000->10.0.0.2:443>, 0x7000, 512)`, ""},
		{"a socket that listens", pack(socket(returned(table, "accept4", 5, 4, 0, 0, unix.SOCK_CLOEXEC), unix.AF_INET6,
			6, "", "", 80, 0)), `accept4(4<tcp [::]:80>, 0, 0, SOCK_CLOEXEC)`, ""},
		{"a unix socket", pack(socket(returned(table, "shutdown", 0, 4, 2), unix.AF_UNIX, 0, "", "", 0, 0)),
			`shutdown(4<unix:[42]>, 2)`, ""},
		{"an IPv4 address", pack(returned(table, "connect", 0, 4, 1, 16), in4), `connect(4, 10.0.0.7:443, 16)`, ""},
		{"an IPv6 address", pack(returned(table, "bind", 0, 4, 1, 28), in6), `bind(4, [2001:db8::1]:443, 28)`, ""},
		{"a unix address", pack(returned(table, "connect", 0, 4, 1, 12), "\x01\x00/run/x\x00"),
			`connect(4, unix:"/run/x", 12)`, ""},
		{"an abstract address", pack(returned(table, "connect", 0, 4, 1, 12), "\x01\x00\x00a\x00b"),
			`connect(4, unix:"@a\x00b", 12)`, ""},
		{"memory", example(table, "mmap"), `mmap(0, 8192, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0)`, ""},
		{"a futex", pack(returned(table, "futex", 0, 0x10, 128|9, 1, 0, 0, 0)),
			`futex(0x10, FUTEX_WAIT_BITSET|FUTEX_PRIVATE_FLAG, 1, 0, 0, 0)`, ""},
		{"a bit that means two things", pack(returned(table, "unlinkat", 0, at(unix.AT_FDCWD), 1, 0x200), "d"),
			`unlinkat(AT_FDCWD, "d", AT_REMOVEDIR)`, "d"},
		{"the same bit", pack(returned(table, "faccessat2", 0, at(unix.AT_FDCWD), 1, 5, 0x200), "d"),
			`faccessat2(AT_FDCWD, "d", R_OK|X_OK, AT_EACCESS)`, "d"},
		{"a signal mask", pack(returned(table, "rt_sigprocmask", 0, 2, 0x10, 0, 8)),
			`rt_sigprocmask(SIG_SETMASK, 0x10, 0, 8)`, ""},
		{"a signal", pack(returned(table, "kill", 0, 12, 15)), `kill(12, SIGTERM)`, ""},
		{"a call that this build does not know",
			pack(&objectSyscallEvent{Number: 999, Phase: 1, Args: [6]uint64{1, 0, 0xff}}),
			`syscall_999(0x1, 0, 0xff, 0, 0, 0)`, ""},
		{"a call with no number", pack(&objectSyscallEvent{Number: -1, Phase: 1}), `syscall_-1(0, 0, 0, 0, 0, 0)`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, ev, err := d.decode(c.raw)
			if err != nil {
				t.Fatal(err)
			}
			s := ev.GetSyscall()
			if got := s.Name + "(" + s.Args + ")"; got != c.want || string(s.Path) != c.path {
				t.Errorf("got  %s, path %q\nwant %s, path %q", got, s.Path, c.want, c.path)
			}
		})
	}
}

func TestOutcomes(t *testing.T) {
	clock, table := kit(t, nil)
	d := newDecoder(clock, table)
	for _, c := range []struct {
		name     string
		phase    event.SyscallPhase
		flags    uint8
		result   int64
		want     *int64
		errno    string
		duration *uint64
	}{
		{"a success", 1, timed, 3, proto.Int64(3), "", proto.Uint64(1234)},
		{"an error", 1, timed, -2, proto.Int64(-2), "ENOENT", proto.Uint64(1234)},
		{"an error that only the kernel knows", 1, timed, -512, proto.Int64(-512), "ERESTARTSYS", proto.Uint64(1234)},
		{"an error without a name", 1, timed, -4000, proto.Int64(-4000), "E4000", proto.Uint64(1234)},
		{"a result that is negative and no error", 1, timed, -5000, proto.Int64(-5000), "", proto.Uint64(1234)},
		{"an entry that nobody saw", 1, 0, 0, proto.Int64(0), "", nil},
		{"a call that runs", 2, timed, 0, nil, "", proto.Uint64(1234)},
		{"a call that never returns", 3, timed, 0, nil, "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := returned(table, "read", c.result)
			e.Phase, e.Flags = uint8(c.phase), c.flags
			_, ev, err := d.decode(pack(e))
			if err != nil {
				t.Fatal(err)
			}
			want := &event.Syscall{Result: c.want, Errno: c.errno, DurationNanos: c.duration}
			got := &event.Syscall{Result: ev.GetSyscall().Result, Errno: ev.GetSyscall().Errno,
				DurationNanos: ev.GetSyscall().DurationNanos}
			if !proto.Equal(got, want) || ev.GetSyscall().Phase != c.phase {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}

func TestCallsOfOtherABIsAreNotMisnamed(t *testing.T) {
	clock, table := kit(t, nil)
	d := newDecoder(clock, table)
	for _, c := range []struct {
		abi       uint8
		number    int32
		name, own string
	}{
		{abiNative, numbered(table, "read"), "read", table.native.String()},
		{abi32, 3, "read", table.compat.String()},
		{abi32, 5000, "syscall_5000", table.compat.String()},
		{abiX32, x32Bit, "syscall_1073741824", "x32"},
	} {
		_, ev, err := d.decode(pack(&objectSyscallEvent{Abi: c.abi, Number: c.number, Phase: 1}))
		if err != nil {
			t.Fatal(err)
		}
		if s := ev.GetSyscall(); s.Name != c.name || s.Abi != c.own {
			t.Errorf("call %d of ABI %d is %s of %s, want %s of %s", c.number, c.abi, s.Name, s.Abi, c.name, c.own)
		}
	}
}

func TestDecode_RefusesMalformedRecords(t *testing.T) {
	clock, table := kit(t, nil)
	d := newDecoder(clock, table)
	good := example(table, "openat")
	bad := bytes.Clone(good)
	bad[unsafe.Offsetof(objectSyscallEvent{}.Phase)] = 9
	for name, raw := range map[string][]byte{"nothing": nil, "half a head": good[:headSize-1],
		"half a text": good[:len(good)-1], "a phase to come": bad} {
		if _, _, err := d.decode(raw); err == nil {
			t.Errorf("%s is decoded", name)
		}
	}
}

func FuzzDecode(f *testing.F) {
	clock, table := kit(f, nil)
	for _, name := range []string{"openat", "read", "mmap", "getppid"} {
		f.Add(example(table, name))
	}
	for i, k := range table.known[:nativeCalls] {
		if k.name != "" {
			f.Add(pack(&objectSyscallEvent{Number: int32(i), Phase: 1, Args: [6]uint64{1, 2, 3, 4, 5, 6}}, "a", "b"))
		}
	}
	f.Add(pack(&objectSyscallEvent{Abi: abi32, Number: 3, Phase: 2}))
	d := newDecoder(clock, table)
	f.Fuzz(func(t *testing.T, raw []byte) {
		_, ev, err := d.decode(raw)
		if err != nil {
			return
		}
		s := ev.GetSyscall()
		if !utf8.ValidString(s.Args) || s.Name == "" {
			t.Errorf("got %q", s)
		}
		if _, err := proto.Marshal(ev); err != nil {
			t.Error(err)
		}
	})
}

func TestDecodingKnownArgumentsAllocatesNothing(t *testing.T) {
	clock, table := kit(t, nil)
	for _, name := range []string{"getppid", "read", "openat", "mmap"} {
		d := newDecoder(clock, table)
		raw := example(table, name)
		if n := testing.AllocsPerRun(100, func() {
			if _, _, err := d.decode(raw); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func TestSignaturesAreOfCallsThatExist(t *testing.T) {
	names := calls.Names()
	for name, words := range signatures {
		if _, ok := slices.BinarySearch(names, name); !ok {
			t.Errorf("there is no %s", name)
		}
		fields := strings.Fields(words)
		if len(fields) > 6 {
			t.Errorf("%s has %d arguments", name, len(fields))
		}
		for _, w := range fields {
			if _, ok := kindWords[w]; !ok {
				t.Errorf("%s has an argument of the kind %q", name, w)
			}
		}
	}
}

// TestCallsWithAPathAreOfTheGroup holds the signatures against the group that people name such calls by.
func TestCallsWithAPathAreOfTheGroup(t *testing.T) {
	group, err := calls.Expand([]string{"%file"})
	if err != nil {
		t.Fatal(err)
	}
	for name, words := range signatures {
		if slices.Contains(strings.Fields(words), "path") && !slices.Contains(group, name) {
			t.Errorf("%s has a path and is not in %%file", name)
		}
	}
}

func TestOnlyCallsThatAreAskedForAreWanted(t *testing.T) {
	_, table := kit(t, []string{"getppid", "read"})
	var got []string
	for i := range table.known {
		if k := &table.known[i]; k.call.Flags&wanted != 0 {
			got = append(got, k.abi+" "+k.name)
		}
	}
	slices.Sort(got)
	compat := "386"
	if runtime.GOARCH == "arm64" {
		compat = "arm"
	}
	want := []string{compat + " getppid", compat + " read", runtime.GOARCH + " getppid", runtime.GOARCH + " read"}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if _, err := newTable([]string{"no_such_call"}); err == nil {
		t.Error("a call that this machine does not have is taken")
	}
}
