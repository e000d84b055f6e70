package exec

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/bpf"
	"github.com/orb8-dev/kubectl-orb8/bpf/bpftest"
	"github.com/orb8-dev/kubectl-orb8/bpf/scope"
	"github.com/orb8-dev/kubectl-orb8/event"
)

const waitTimeout = 90 * time.Second

func TestMain(m *testing.M) {
	bpftest.Children(map[string]func() error{
		"nothing": func() error { return nil },
		"exit 3":  func() error { os.Exit(3); return nil },
		"crash":   crash,
		"hog":     hog,
		"runc":    posedAsRunc,
	})
	os.Exit(bpftest.Main(m))
}

// crash dies of SIGSEGV as a C program does, which Go's runtime would turn into an exit.
func crash() error {
	var byDefault [4]uint64 // the kernel's struct sigaction
	if _, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(unix.SIGSEGV),
		uintptr(unsafe.Pointer(&byDefault)), 0, 8, 0, 0); errno != 0 {
		return errno
	}
	if err := unix.Kill(os.Getpid(), unix.SIGSEGV); err != nil {
		return err
	}
	time.Sleep(waitTimeout) // another thread may be the one that gets it
	return errors.New("survived SIGSEGV")
}

// hog wants more memory than it gets.
func hog() error {
	const limit = 256 << 20
	b, err := unix.Mmap(-1, 0, limit, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_POPULATE)
	if err != nil {
		return err
	}
	return fmt.Errorf("%d bytes were there to have", len(b))
}

// command is what a test starts.
type command struct {
	child string // one of the functions of TestMain
	args  []string
	dir   string
	flags uintptr
}

// harness is a loaded probe with a cgroup in scope and one that is not.
type harness struct {
	t         *testing.T
	probe     *Probe
	in, other *bpftest.Cgroup
	got       []*event.Event
	done      chan error
	stop      context.CancelFunc
	// hold keeps the sink from taking anything until it is closed.
	hold    chan struct{}
	release func()
}

func newHarness(t *testing.T, o Options) *harness {
	t.Helper()
	bpftest.Root(t)
	s, err := scope.Open(scope.Options{CgroupRoot: bpftest.CgroupRoot(t)})
	if err != nil {
		bpftest.FatalLoad(t, err)
	}
	bpftest.CloseAfter(t, s)
	b := &harness{
		t: t, in: bpftest.NewCgroup(t, "orb8-exec-test/in"), other: bpftest.NewCgroup(t, "orb8-exec-test/out"),
		done: make(chan error, 1), hold: make(chan struct{}),
	}
	b.release = sync.OnceFunc(func() { close(b.hold) })
	if err := s.SetCgroup(b.in.ID, true); err != nil {
		t.Fatal(err)
	}
	o.Scope = s
	if b.probe, err = Open(t.Context(), o); err != nil {
		bpftest.FatalLoad(t, err)
	}
	bpftest.CloseAfter(t, b.probe)
	ctx, stop := context.WithCancel(context.Background())
	b.stop = stop
	t.Cleanup(b.stop)
	go func() {
		b.done <- b.probe.Run(ctx, func(cgroup uint64, ev *event.Event) {
			<-b.hold
			if cgroup != b.in.ID {
				t.Errorf("an event of the cgroup %d: %v", cgroup, ev)
			}
			b.got = append(b.got, proto.Clone(ev).(*event.Event))
		})
	}()
	return b
}

// run runs a command to its end and gives its process id.
func (b *harness) run(in *bpftest.Cgroup, c command) uint32 {
	b.t.Helper()
	cmd := bpftest.Child(b.t, c.child, in)
	if c.child == "" {
		cmd.Path, cmd.Args = c.args[0], c.args
	} else {
		cmd.Args = append([]string{"child"}, c.args...)
	}
	cmd.Dir = c.dir
	cmd.SysProcAttr.Cloneflags = c.flags
	// How it ends is what the probe shall say.
	if err := cmd.Run(); cmd.Process == nil {
		b.t.Fatalf("start %q: %v", cmd.Args, err)
	}
	return uint32(cmd.Process.Pid)
}

// end gives what was reported, and what was lost.
func (b *harness) end() ([]*event.Event, []bpf.Loss) {
	b.t.Helper()
	b.release()
	ctx, cancel := context.WithTimeout(b.t.Context(), waitTimeout)
	defer cancel()
	if err := b.probe.Flush(ctx); err != nil {
		b.t.Fatal(err)
	}
	lost := b.probe.Lost()
	b.stop()
	if err := <-b.done; err != nil {
		b.t.Fatal(err)
	}
	return b.got, lost
}

func TestExecAndExitAreReportedExactly(t *testing.T) {
	b := newHarness(t, Options{})
	dir := filepath.Join(t.TempDir(), "a b", "\x1b[31m")
	deep := filepath.Join(t.TempDir(), strings.Repeat("d/", 40))
	for _, d := range []string{dir, deep} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	commands := []command{
		{child: "nothing", args: []string{"plain", "", "two words"}, dir: "/"},
		{child: "exit 3", args: []string{"\x1b[31m", "\u202e", "\xff\xfe"}, dir: dir},
		{child: "crash", dir: deep},
		{child: "nothing", args: []string{strings.Repeat("x", 5000)}, dir: dir, flags: syscall.CLONE_NEWPID},
	}
	b.run(b.other, command{child: "nothing"})
	var pids []uint32
	for _, c := range commands {
		pids = append(pids, b.run(b.in, c))
	}
	got, lost := b.end()
	if len(lost) != 0 || len(got) != 2*len(commands) {
		t.Fatalf("%d events, lost %v; want %d:\n%v", len(got), lost, 2*len(commands), got)
	}
	for i, c := range commands {
		args := []byte(strings.Join(append([]string{"child"}, c.args...), "\x00") + "\x00")
		began, ended := got[2*i].GetExec(), got[2*i+1].GetExec()
		want := &event.Exec{
			Phase: event.ExecPhase_EXEC_PHASE_EXEC, Pid: pids[i], ContainerPid: pids[i], Ppid: uint32(os.Getpid()),
			Uid:  new(uint32),
			Comm: began.GetComm(), ParentComm: began.GetParentComm(), Filename: []byte("/proc/self/exe"),
			Args: args[:min(len(args), 4096)], ArgsTruncated: proto.Bool(len(args) > 4096), Cwd: []byte(c.dir),
		}
		if c.dir == deep {
			if tail := strings.TrimPrefix(string(began.GetCwd()), "..."); tail == string(began.GetCwd()) ||
				len(tail) < 60 || !strings.HasSuffix(strings.TrimSuffix(deep, "/"), tail) {
				t.Errorf("the directory %q is %q", deep, began.GetCwd())
			}
			want.Cwd = began.GetCwd()
		}
		if c.flags != 0 {
			want.ContainerPid = 1
		}
		if len(want.Comm) == 0 || len(want.ParentComm) == 0 || !proto.Equal(began, want) {
			t.Errorf("exec:\n got %v\nwant %v", began, want)
		}
		if ended.GetPhase() != event.ExecPhase_EXEC_PHASE_EXIT || ended.GetPid() != pids[i] ||
			ended.GetLifetimeMicros() == 0 ||
			ended.GetLifetimeMicros() > uint64(waitTimeout.Microseconds()) ||
			got[2*i+1].GetTime() < got[2*i].GetTime() {
			t.Errorf("exit: %v", ended)
		}
	}
	for i, want := range map[int]*event.Exec{
		1: {Outcome: event.ExecOutcome_EXEC_OUTCOME_EXITED, ExitCode: new(uint32)},
		3: {Outcome: event.ExecOutcome_EXEC_OUTCOME_EXITED, ExitCode: proto.Uint32(3)},
		5: {Outcome: event.ExecOutcome_EXEC_OUTCOME_SIGNALED, Signal: "SIGSEGV"},
	} {
		if e := got[i].GetExec(); e.Outcome != want.Outcome || e.GetExitCode() != want.GetExitCode() ||
			(e.ExitCode == nil) != (want.ExitCode == nil) ||
			e.Signal != want.Signal || e.MemoryLimitBytes != nil {
			t.Errorf("end %d: %v, want %v", i, e, want)
		}
	}
}

func TestTheOOMKillerIsNamedWithTheLimit(t *testing.T) {
	b := newHarness(t, Options{})
	const limit = 32 << 20
	limitMemory(t, b.in, limit)
	pid := b.run(b.in, command{child: "hog"})
	got, lost := b.end()
	if len(got) != 2 || len(lost) != 0 {
		t.Fatalf("%v, lost %v", got, lost)
	}
	e := got[1].GetExec()
	if e.GetPid() != pid || e.GetOutcome() != event.ExecOutcome_EXEC_OUTCOME_OOM_KILLED || e.GetSignal() != "SIGKILL" ||
		e.GetMemoryLimitBytes() != limit {
		t.Errorf("%v, want an OOM kill at %d bytes", e, limit)
	}
}

// limitMemory gives c a limit, for which the controller must be there in all cgroups above it.
func limitMemory(t *testing.T, c *bpftest.Cgroup, limit int) {
	t.Helper()
	controllers, err := os.ReadFile(filepath.Join(bpftest.CgroupRoot(t), "cgroup.controllers"))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(strings.Fields(string(controllers)), "memory") {
		t.Skip("the memory controller is not in the cgroup v2 hierarchy here")
	}
	for _, dir := range []string{bpftest.CgroupRoot(t), filepath.Dir(c.Dir)} {
		path := filepath.Join(dir, "cgroup.subtree_control")
		before, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if slices.Contains(strings.Fields(string(before)), "memory") {
			continue
		}
		if err := os.WriteFile(path, []byte("+memory"), 0); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := os.WriteFile(path, []byte("-memory"), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Error(err)
			}
		})
	}
	if err := os.WriteFile(filepath.Join(c.Dir, "memory.max"), []byte(strconv.Itoa(limit)), 0); err != nil {
		t.Fatal(err)
	}
	// Swapping would only make it slower; without swap there is no such file.
	if err := os.WriteFile(filepath.Join(c.Dir, "memory.swap.max"), []byte("0"), 0); err != nil &&
		!errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
}

func TestProbe_CountsAFullRing(t *testing.T) {
	b := newHarness(t, Options{RingBytes: 16384})
	const n = 15
	for range n {
		b.run(b.in, command{child: "nothing", args: []string{strings.Repeat("y", 3000)}})
	}
	got, lost := b.end()
	var sum uint64
	for _, l := range lost {
		sum += l.Count
	}
	if sum == 0 || uint64(len(got))+sum != 2*n {
		t.Fatalf("%d events and lost %v, want %d together and some lost", len(got), lost, 2*n)
	}
}

// The kernel counts what programs cost while that is switched on.
func TestProbe_CostsAreCounted(t *testing.T) {
	b := newHarness(t, Options{})
	runs := func() (sum uint64, ran time.Duration) {
		for _, p := range b.probe.Programs() {
			took, n := p.Cost()
			sum, ran = sum+n, ran+took
		}
		return sum, ran
	}
	b.run(b.in, command{child: "nothing"})
	if n, ran := runs(); n != 0 || ran != 0 {
		t.Skipf("the kernel counts already: %d runs in %v", n, ran)
	}
	counting, err := bpf.CountCost()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := counting.Close(); err != nil {
			t.Error(err)
		}
	}()
	const execs = 3
	for range execs {
		b.run(b.in, command{child: "nothing"})
	}
	if n, ran := runs(); n < 2*execs || ran <= 0 || ran > time.Second {
		t.Errorf("%d runs of programs in %v for %d execs and exits", n, ran, execs)
	}
	b.end()
}

func TestManyExecsComeThroughWithoutLoss(t *testing.T) {
	const shell = "/bin/sh"
	if _, err := os.Stat(shell); err != nil {
		t.Skipf("a fast exec needs a small program: %v", err)
	}
	b := newHarness(t, Options{})
	b.release()
	// Shells that exec themselves again and again are faster than forks: two of them, and the one that waits for both.
	const n, chains = 3000, 2
	chain := `i=$1; [ "$i" -gt 0 ] || exit 7; exec /bin/sh -c "$2" sh $((i-1)) "$2"`
	outer := `/bin/sh -c "$1" sh 2999 "$1" & /bin/sh -c "$1" sh 2999 "$1" & wait`
	b.run(b.in, command{args: []string{shell, "-c", outer, "sh", chain}})
	got, lost := b.end()
	const execs, exits = chains*n + 1, chains + 1
	if len(lost) != 0 || len(got) != execs+exits {
		t.Fatalf("%d events, lost %v; want %d", len(got), lost, execs+exits)
	}
	took := time.Duration(got[len(got)-1].GetTime() - got[0].GetTime())
	t.Logf("%d execs, %.0f a second", execs, execs/took.Seconds())
	sevens := 0
	for _, ev := range got {
		if e := ev.GetExec(); e.GetPhase() == event.ExecPhase_EXEC_PHASE_EXIT && e.GetExitCode() == 7 {
			sevens++
		}
	}
	if sevens != chains {
		t.Errorf("%d ends with exit 7, want %d", sevens, chains)
	}
}
