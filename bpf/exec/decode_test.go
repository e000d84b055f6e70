package exec

import (
	"encoding/binary"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/bpf"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// layout is for the offsets of its fields.
var layout objectExecEvent

// began gives a well-formed exec with arguments and the names of a directory.
func began(args, cwd string, flags uint32) []byte {
	b := make([]byte, execSize+len(args))
	put(b, unsafe.Offsetof(layout.Phase), phaseExec)
	put(b, unsafe.Offsetof(layout.Flags), flags)
	put(b, unsafe.Offsetof(layout.Pid), 4711)
	put(b, unsafe.Offsetof(layout.ContainerPid), 7)
	put(b, unsafe.Offsetof(layout.ArgsLen), uint32(len(args)))
	put(b, unsafe.Offsetof(layout.CwdLen), uint32(len(cwd)))
	copy(b[unsafe.Offsetof(layout.Comm):], "python3")
	copy(b[unsafe.Offsetof(layout.ParentComm):], "containerd-shim")
	copy(b[unsafe.Offsetof(layout.Filename):], "/usr/bin/python3")
	copy(b[unsafe.Offsetof(layout.Cwd):], cwd)
	copy(b[execSize:], args)
	return b
}

// ended gives a well-formed end.
func ended(status, flags uint32, pages uint64) []byte {
	b := make([]byte, exitSize)
	put(b, unsafe.Offsetof(layout.Phase), phaseExit)
	put(b, unsafe.Offsetof(layout.Flags), flags)
	put(b, unsafe.Offsetof(layout.Status), status)
	binary.LittleEndian.PutUint64(b[unsafe.Offsetof(layout.LifetimeNs):], 1_500_999)
	binary.LittleEndian.PutUint64(b[unsafe.Offsetof(layout.MemoryMax):], pages)
	return b
}

func put(b []byte, at uintptr, n uint32) { binary.LittleEndian.PutUint32(b[at:], n) }

func newTestDecoder(tb testing.TB) *decoder {
	tb.Helper()
	clock, err := bpf.NewClock()
	if err != nil {
		tb.Fatal(err)
	}
	d := newDecoder(clock)
	d.page = 4096
	return d
}

func FuzzDecode(f *testing.F) {
	f.Add(began("", "", 0))
	f.Add(began("sh\x00-c\x00", "b\x00a\x00", argsTruncated|cwdPartial))
	f.Add(ended(9, oomKilled, 16384))
	d := newTestDecoder(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, ev, err := d.decode(b); err == nil {
			if len(ev.GetExec().GetArgs())+len(ev.GetExec().GetCwd()) > len(b)+2 {
				t.Errorf("%d bytes made %v", len(b), ev)
			}
			if _, err := proto.Marshal(ev); err != nil {
				t.Error(err)
			}
			event.AppendJSON(nil, ev)
		}
	})
}

func TestDecode(t *testing.T) {
	d := newTestDecoder(t)
	for name, c := range map[string]struct {
		raw  []byte
		want *event.Exec
	}{
		"exec": {began("python3\x00-c\x00", "app\x00srv\x00", 0), &event.Exec{
			Args: []byte("python3\x00-c\x00"), ArgsTruncated: new(bool), Cwd: []byte("/srv/app"),
		}},
		"cut": {began("py", "z\x00y\x00", argsTruncated|cwdPartial), &event.Exec{
			Args: []byte("py"), ArgsTruncated: proto.Bool(true), Cwd: []byte(".../y/z"),
		}},
		"unreadable, at the root": {began("", "", argsUnreadable), &event.Exec{ArgsTruncated: proto.Bool(true),
			Cwd: []byte("/")}},
		"exit": {ended(3<<8, 0, 0), &event.Exec{Outcome: event.ExecOutcome_EXEC_OUTCOME_EXITED,
			ExitCode: proto.Uint32(3)}},
		"crash": {ended(11|0x80, 0, 0), &event.Exec{
			Outcome: event.ExecOutcome_EXEC_OUTCOME_SIGNALED, Signal: "SIGSEGV", CoreDumped: proto.Bool(true),
		}},
		"real-time signal": {ended(36, 0, 0), &event.Exec{
			Outcome: event.ExecOutcome_EXEC_OUTCOME_SIGNALED, Signal: "SIGRTMIN+2", CoreDumped: new(bool),
		}},
		"OOM kill": {ended(9, oomKilled, 16384), &event.Exec{
			Outcome: event.ExecOutcome_EXEC_OUTCOME_OOM_KILLED, Signal: "SIGKILL", CoreDumped: new(bool),
			MemoryLimitBytes: proto.Uint64(64 << 20),
		}},
		"OOM kill without a limit": {ended(9, oomKilled, 0), &event.Exec{
			Outcome: event.ExecOutcome_EXEC_OUTCOME_OOM_KILLED, Signal: "SIGKILL", CoreDumped: new(bool),
		}},
		"a victim that ended otherwise": {ended(0, oomKilled, 1), &event.Exec{
			Outcome: event.ExecOutcome_EXEC_OUTCOME_EXITED, ExitCode: new(uint32),
		}},
	} {
		_, ev, err := d.decode(c.raw)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		c.want.Uid = new(uint32)
		if c.want.Outcome != 0 {
			c.want.Phase, c.want.LifetimeMicros = event.ExecPhase_EXEC_PHASE_EXIT, proto.Uint64(1500)
		} else {
			c.want.Phase, c.want.Pid, c.want.ContainerPid = event.ExecPhase_EXEC_PHASE_EXEC, 4711, 7
			c.want.Comm, c.want.ParentComm, c.want.Filename = []byte("python3"), []byte("containerd-shim"),
				[]byte("/usr/bin/python3")
		}
		if got := ev.GetExec(); !proto.Equal(got, c.want) {
			t.Errorf("%s:\n got %v\nwant %v", name, got, c.want)
		}
	}
}

func TestShortAndUnknownRecordsAreRefused(t *testing.T) {
	d := newTestDecoder(t)
	long := began("", "", 0)
	put(long, unsafe.Offsetof(layout.CwdLen), uint32(len(layout.Cwd))+1)
	for name, b := range map[string][]byte{
		"empty": nil, "short head": ended(0, 0, 0)[:exitSize-1], "short exec": began("", "", 0)[:execSize-1],
		"short arguments": began("args", "", 0)[:execSize+3], "long directory": long,
		"no phase": make([]byte, execSize),
	} {
		if _, _, err := d.decode(b); err == nil {
			t.Errorf("%s: decoded", name)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	d := newTestDecoder(b)
	in := began("python3\x00-m\x00http.server\x008080\x00", "app\x00srv\x00", 0)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := d.decode(in); err != nil {
			b.Fatal(err)
		}
	}
}

func TestSignalNames(t *testing.T) {
	for s, want := range map[unix.Signal]string{unix.SIGKILL: "SIGKILL", 32: "SIG32", 34: "SIGRTMIN",
		64: "SIGRTMIN+30"} {
		if got := bpf.SignalName(s); got != want {
			t.Errorf("signal %d is %q, want %q", s, got, want)
		}
	}
}

func TestRuntimesStagesAreLeftOut(t *testing.T) {
	for _, c := range []struct {
		phase event.ExecPhase
		comm  string
		flags uint32
		want  bool
	}{
		{event.ExecPhase_EXEC_PHASE_EXIT, "runc:[1:CHILD]", runtimeStage, true},
		{event.ExecPhase_EXEC_PHASE_EXIT, "runc:[1:CHILD]", 0, false},
		{event.ExecPhase_EXEC_PHASE_EXEC, "runc:[1:CHILD]", runtimeStage, false},
		{event.ExecPhase_EXEC_PHASE_EXIT, "runc", runtimeStage, false},
	} {
		if got := runcStage(&event.Exec{Phase: c.phase, Comm: []byte(c.comm)}, c.flags); got != c.want {
			t.Errorf("%v is left out: %v", c, got)
		}
	}
}
