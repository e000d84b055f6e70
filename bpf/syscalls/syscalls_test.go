package syscalls

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
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

const (
	waitTimeout = 90 * time.Second
	absent      = "/orb8-no-such-file"
	loops       = 5000
	// getppids is one more: between fork and exec a child of ours looks whether its parent is still there.
	getppids = loops + 1
	blocked  = 150 * time.Millisecond
)

// longPath is longer than what is kept of a path at the entry.
var longPath = "/" + strings.Repeat("orb8-no-such-directory/", 60) + "x"

// children are what child processes of the tests do.
var children = map[string]func() error{
	"calls": makeCalls, "getppid": makeGetppids, "blocked": makeBlocked, "preexisting": makePreexisting,
	"exec":    makeExec,
	"refused": makeRefused, "threads": makeThreads,
}

func TestMain(m *testing.M) {
	bpftest.Children(children)
	os.Exit(bpftest.Main(m))
}

// makeCalls makes one of each of the calls that the tests know, on one thread.
func makeCalls() error {
	runtime.LockOSThread()
	if _, err := unix.Open(absent, unix.O_RDWR|unix.O_APPEND|unix.O_DIRECTORY, 0o640); err == nil {
		return fmt.Errorf("%s could be opened", absent)
	}
	fd, err := unix.Open(os.Args[0], unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if _, err := unix.Read(fd, make([]byte, 7)); err != nil {
		return err
	}
	if err := unix.Close(fd); err != nil {
		return err
	}
	if err := unix.Access(longPath, unix.R_OK); err != unix.ENOENT {
		return fmt.Errorf("access: %w", err)
	}
	if err := unix.Rename(absent+"\n\xff\"", absent+"2"); err != unix.ENOENT {
		return fmt.Errorf("rename: %w", err)
	}
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	// Nobody listens there.
	if err := unix.Connect(s, &unix.SockaddrInet4{Port: 9, Addr: [4]byte{127, 0, 0, 1}}); err != unix.ECONNREFUSED {
		return fmt.Errorf("connect: %w", err)
	}
	if err := unix.Shutdown(s, 2); err != unix.ENOTCONN {
		return fmt.Errorf("shutdown: %w", err)
	}
	os.Exit(3)
	return nil
}

func makeGetppids() error {
	runtime.LockOSThread()
	for range loops {
		unix.Getppid()
	}
	return nil
}

// makeBlocked waits in a read of a pipe, and says for how long by its own clock, in ns.
func makeBlocked() error {
	runtime.LockOSThread()
	var p [2]int
	if err := unix.Pipe(p[:]); err != nil {
		return err
	}
	go func() {
		time.Sleep(blocked)
		if _, err := unix.Write(p[1], []byte{1}); err != nil {
			panic(err)
		}
	}()
	began := time.Now()
	if _, err := unix.Read(p[0], make([]byte, 1)); err != nil {
		return err
	}
	fmt.Println(int64(time.Since(began)))
	return nil
}

// makePreexisting says which thread is about to wait for its stdin, which it has the kernel poll.
func makePreexisting() error {
	runtime.LockOSThread()
	fmt.Println(unix.Gettid())
	_, err := unix.Poll([]unix.PollFd{{Fd: 0, Events: unix.POLLIN}}, -1)
	return err
}

func makeExec() error {
	runtime.LockOSThread()
	return unix.Exec("/proc/self/exe", []string{"again"}, []string{"ORB8_BPFTEST_CHILD=getppid"})
}

// makeRefused calls what its own seccomp filter refuses.
func makeRefused() error {
	runtime.LockOSThread()
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}, // the number
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: unix.SYS_GETPRIORITY},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EXDEV)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)), 0,
		0); err != nil {
		return err
	}
	if _, err := unix.Getpriority(2, 77); err != unix.EXDEV {
		return fmt.Errorf("getpriority: %w", err)
	}
	return nil
}

// rig is a probe that observes a cgroup, and what it has reported of it.
type rig struct {
	*testing.T
	probe interface {
		Run(context.Context, bpf.Sink) error
		Flush(context.Context) error
		Lost() []bpf.Loss
		Close() error
	}
	scope  *scope.Scope
	cgroup *bpftest.Cgroup
	got    []*event.Event
	done   chan error
	cancel context.CancelFunc
}

// newRig begins to observe. The sink takes nothing before hold is closed; nil holds nothing.
func newRig(t *testing.T, o Options, summary bool, hold <-chan struct{}) *rig {
	t.Helper()
	bpftest.Root(t)
	s, err := scope.Open(scope.Options{CgroupRoot: bpftest.CgroupRoot(t)})
	if err != nil {
		bpftest.FatalLoad(t, err)
	}
	bpftest.CloseAfter(t, s)
	r := &rig{T: t, scope: s, cgroup: bpftest.NewCgroup(t, "orb8-syscalls-test/"+t.Name()), done: make(chan error, 1)}
	if err := s.SetCgroup(r.cgroup.ID, true); err != nil {
		t.Fatal(err)
	}
	r.open(o, summary, hold)
	return r
}

func (r *rig) open(o Options, summary bool, hold <-chan struct{}) {
	r.Helper()
	o.Scope = r.scope
	var err error
	if summary {
		r.probe, err = OpenSummary(r.Context(), o)
	} else {
		r.probe, err = Open(r.Context(), o)
	}
	if err != nil {
		bpftest.FatalLoad(r, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.done <- r.probe.Run(ctx, func(cgroup uint64, ev *event.Event) {
			if hold != nil {
				<-hold
			}
			if cgroup == r.cgroup.ID {
				r.got = append(r.got, proto.Clone(ev).(*event.Event))
			}
		})
	}()
	probe := r.probe // another may take its place
	r.Cleanup(func() {
		cancel()
		<-ended
		if err := probe.Close(); err != nil {
			r.Error(err)
		}
	})
}

// run runs a child in the cgroup and returns its process ID and its output.
func (r *rig) run(name string) (pid int, output string) {
	r.Helper()
	cmd := bpftest.Child(r, name, r.cgroup)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil && (name != "calls" || cmd.ProcessState.ExitCode() != 3) {
		r.Fatalf("%s: %v: %s", name, err, errs.String())
	}
	return cmd.Process.Pid, strings.TrimSpace(string(out))
}

// end gives all that was reported.
func (r *rig) end() []*event.Event {
	r.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), waitTimeout)
	defer cancel()
	if err := r.probe.Flush(ctx); err != nil {
		r.Fatal(err)
	}
	r.cancel()
	if err := <-r.done; err != nil {
		r.Fatal(err)
	}
	return r.got
}

// find gives the events for which a condition holds, and wants n of them.
func find(t *testing.T, events []*event.Event, n int, what string, is func(*event.Syscall) bool) []*event.Syscall {
	t.Helper()
	var got []*event.Syscall
	for _, ev := range events {
		if s := ev.GetSyscall(); is(s) {
			got = append(got, s)
		}
	}
	if len(got) != n {
		t.Fatalf("%d events of %s, want %d: %v", len(got), what, n, got)
	}
	return got
}

func named(name, with string) func(*event.Syscall) bool {
	return func(s *event.Syscall) bool { return s.Name == name && strings.Contains(s.Args+s.Errno, with) }
}

func noLoss(t *testing.T, r *rig) {
	t.Helper()
	if lost := r.probe.Lost(); len(lost) > 0 {
		t.Errorf("lost %v", lost)
	}
}

func TestKnownCallsAreReportedWithTheirArguments(t *testing.T) {
	r := newRig(t, Options{}, false, nil)
	pid, _ := r.run("calls")
	got := r.end()
	noLoss(t, r)
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	base := filepath.Base(exe)
	if len(base) > 47 {
		base = base[:47]
	}

	open := find(t, got, 1, "the file that is not there", named("openat", absent))[0]
	if want := `AT_FDCWD, "` + absent + `", O_RDWR|O_APPEND|O_DIRECTORY`; open.Args != want {
		t.Errorf("got openat(%s), want (%s)", open.Args, want)
	}
	if string(open.Path) != absent || open.GetResult() != -int64(unix.ENOENT) || open.Errno != "ENOENT" {
		t.Errorf("got %v", open)
	}
	if open.Pid != uint32(pid) || len(open.Comm) == 0 || open.DurationNanos == nil ||
		open.Phase != event.SyscallPhase_SYSCALL_PHASE_RETURNED {
		t.Errorf("got %v, want pid %d, a name, a duration and a return", open, pid)
	}
	read := find(t, got, 1, "the read of 7 bytes", func(s *event.Syscall) bool {
		return s.Name == "read" &&
			strings.HasSuffix(s.Args, ", 7")
	})[0]
	if !strings.Contains(read.Args, "<"+base+">,") || read.GetResult() != 7 {
		t.Errorf("got read(%s) = %d, want a file called %s", read.Args, read.GetResult(), base)
	}
	for i, ev := range got {
		if ev.GetSyscall() != read {
			continue
		}
		// Other threads and the runtime's own calls may come between.
		if !slices.ContainsFunc(got[i+1:], func(ev *event.Event) bool {
			c := ev.GetSyscall()
			return c.Tid == read.Tid && c.Name == "close" && strings.HasSuffix(c.Args, "<"+base+">") &&
				c.GetResult() == 0
		}) {
			t.Errorf("behind the read comes no close of %s", base)
		}
	}

	access := find(t, got, 1, "the long path", func(s *event.Syscall) bool { return string(s.Path) == longPath })[0]
	if !strings.HasPrefix(access.Name, "faccessat") || access.Errno != "ENOENT" ||
		!strings.Contains(access.Args, `"`+longPath+`", R_OK`) {
		t.Errorf("got %v", access)
	}
	rename := find(t, got, 1, "the rename",
		func(s *event.Syscall) bool { return strings.HasPrefix(s.Name, "rename") })[0]
	if !strings.Contains(rename.Args, `"`+absent+`\n\xff\""`) || !strings.Contains(rename.Args, `"`+absent+`2"`) ||
		string(rename.Path) != absent+"\n\xff\"" {
		t.Errorf("got %v", rename)
	}
	socket := find(t, got, 1, "the socket", named("socket", "AF_INET, SOCK_STREAM|SOCK_CLOEXEC, 0"))[0]
	connect := find(t, got, 1, "the connect", named("connect", "ECONNREFUSED"))[0]
	if want := fmt.Sprintf("%d<tcp 0.0.0.0:0>, 127.0.0.1:9, 16", socket.GetResult()); connect.Args != want {
		t.Errorf("got connect(%s), want (%s)", connect.Args, want)
	}
	find(t, got, 1, "the shutdown", named("shutdown", "ENOTCONN"))

	exit := find(t, got, 1, "the end", named("exit_group", ""))[0]
	if exit.Args != "3" || exit.Phase != event.SyscallPhase_SYSCALL_PHASE_NO_RETURN || exit.Result != nil ||
		exit.DurationNanos != nil {
		t.Errorf("got %v", exit)
	}
}

func TestEveryCallIsAnEvent(t *testing.T) {
	r := newRig(t, Options{Names: []string{"getppid"}}, false, nil)
	r.run("getppid")
	got := r.end()
	noLoss(t, r)
	for _, s := range find(t, got, getppids, "getppid", named("getppid", "")) {
		if s.GetResult() != int64(os.Getpid()) || s.DurationNanos == nil || *s.DurationNanos == 0 || s.Args != "" {
			t.Fatalf("got %v", s)
		}
	}
	if len(got) != getppids {
		t.Errorf("%d events, want only those of %d calls", len(got), getppids)
	}
}

func TestCalls_DeliveredAndLostAddUp(t *testing.T) {
	hold := make(chan struct{})
	r := newRig(t, Options{Names: []string{"getppid"}, RingBytes: 1 << 16}, false, hold)
	r.run("getppid")
	close(hold)
	got := r.end()
	var lost uint64
	for _, l := range r.probe.Lost() {
		if l.Stage != event.LossStage_LOSS_STAGE_KERNEL_BUFFER {
			t.Errorf("lost %v", l)
		}
		lost += l.Count
	}
	if lost == 0 || len(got) == 0 || uint64(len(got))+lost != getppids {
		t.Errorf("%d delivered and %d lost of %d", len(got), lost, getppids)
	}
}

func TestCalls_BlockedReadDuration(t *testing.T) {
	r := newRig(t, Options{MinDuration: blocked / 2, Names: []string{"read"}}, false, nil)
	_, output := r.run("blocked")
	got := r.end()
	noLoss(t, r)
	own, err := strconv.ParseInt(output, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	read := find(t, got, 1, "reads of a pipe", named("read", "<pipe:["))[0]
	if d := read.GetDurationNanos(); d > uint64(own) || d < uint64(blocked/2) {
		t.Errorf("the read took %d ns, its caller measured %d", d, own)
	}
	for _, ev := range got {
		if d := ev.GetSyscall().DurationNanos; d == nil || *d < uint64(blocked/2) {
			t.Errorf("got %v with --min-duration %v", ev, blocked/2)
		}
	}
}

func TestOnlyErrorsWhereOnlyErrorsAreWanted(t *testing.T) {
	r := newRig(t, Options{ErrorsOnly: true}, false, nil)
	r.run("calls")
	got := r.end()
	noLoss(t, r)
	find(t, got, 1, "the file that is not there", named("openat", absent))
	find(t, got, 1, "the connect", named("connect", "ECONNREFUSED"))
	find(t, got, 0, "successes", func(s *event.Syscall) bool { return s.Errno == "" || s.Result == nil })
}

// preexisting starts a child, one thread of which waits in poll until release.
func (r *rig) preexisting() (release func()) {
	r.Helper()
	cmd := bpftest.Child(r, "preexisting", r.cgroup)
	in, err := cmd.StdinPipe()
	if err != nil {
		r.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		r.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		r.Fatal(err)
	}
	var tid int
	if _, err := fmt.Fscanln(out, &tid); err != nil {
		r.Fatal(err)
	}
	stat := fmt.Sprintf("/proc/%d/task/%d/stat", cmd.Process.Pid, tid)
	for deadline := time.Now().Add(waitTimeout); ; time.Sleep(time.Millisecond) {
		b, err := os.ReadFile(stat)
		if err != nil {
			r.Fatal(err)
		}
		// The state stands behind the name.
		if strings.Contains(string(b), ") S ") {
			return func() {
				in.Close()
				if err := cmd.Wait(); err != nil {
					r.Error(err)
				}
			}
		}
		if time.Now().After(deadline) {
			r.Fatalf("the child does not poll: %s", b)
		}
	}
}

func polls(s *event.Syscall) bool { return s.Name == "poll" || s.Name == "ppoll" }

func TestCalls_PreexistingHasNoDuration(t *testing.T) {
	bpftest.Root(t)
	r := &rig{T: t, done: make(chan error, 1), cgroup: bpftest.NewCgroup(t, "orb8-syscalls-test/"+t.Name())}
	s, err := scope.Open(scope.Options{CgroupRoot: bpftest.CgroupRoot(t)})
	if err != nil {
		bpftest.FatalLoad(t, err)
	}
	bpftest.CloseAfter(t, s)
	r.scope = s
	if err := s.SetCgroup(r.cgroup.ID, true); err != nil {
		t.Fatal(err)
	}
	release := r.preexisting()
	r.open(Options{Names: []string{"poll", "ppoll"}}, false, nil)
	ctx, cancel := context.WithTimeout(context.Background(), waitTimeout)
	defer cancel()
	for range 3 {
		if err := r.probe.Flush(ctx); err != nil {
			t.Fatal(err)
		}
	}
	release()
	got := r.end()
	noLoss(t, r)
	poll := find(t, got, 2, "poll", polls)
	if p := poll[0]; p.DurationNanos != nil || p.Result != nil || p.Phase != event.SyscallPhase_SYSCALL_PHASE_RUNNING ||
		p.Tid == 0 || len(p.Comm) == 0 {
		t.Errorf("got %v", p)
	}
	if p := poll[1]; p.DurationNanos != nil || p.GetResult() != 1 ||
		p.Phase != event.SyscallPhase_SYSCALL_PHASE_RETURNED || p.Args != poll[0].Args {
		t.Errorf("got %v, of %v", p, poll[0])
	}
}

func TestCalls_RunningCallIsReported(t *testing.T) {
	const interval, wait = 50 * time.Millisecond, 400 * time.Millisecond
	r := newRig(t, Options{Names: []string{"poll", "ppoll"}, Interval: interval}, false, nil)
	release := r.preexisting()
	time.Sleep(wait) // the call must have run for this long
	ctx, cancel := context.WithTimeout(context.Background(), waitTimeout)
	defer cancel()
	if err := r.probe.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	release()
	got := r.end()
	if len(got) < 3 {
		t.Fatalf("%d events, want one of the first interval, one of Flush and the return: %v", len(got), got)
	}
	var last uint64
	for i, ev := range got {
		s := ev.GetSyscall()
		d := s.GetDurationNanos()
		switch {
		case i == len(got)-1:
			if s.Phase != event.SyscallPhase_SYSCALL_PHASE_RETURNED || s.GetResult() != 1 || d < last ||
				d < uint64(wait) {
				t.Errorf("the last is %v", s)
			}
			continue
		case s.Phase != event.SyscallPhase_SYSCALL_PHASE_RUNNING || s.Result != nil || d < uint64(interval):
			t.Errorf("got %v", s)
		// Flush's may come at any time. In ms, as the kernel compares them.
		case i < len(got)-2 && d/1e6 < 2*(last/1e6):
			t.Errorf("reported at %d ns, and next at %d", last, d)
		}
		last = d
	}
	if last < uint64(wait) {
		t.Errorf("Flush reported %d ns, after %v", last, wait)
	}
}

func TestCalls_ExecReturns(t *testing.T) {
	r := newRig(t, Options{Names: []string{"execve"}}, false, nil)
	r.run("exec")
	got := r.end()
	// The other is the child's own start.
	e := find(t, got, 2, "execve", named("execve", `"/proc/self/exe"`))[1]
	if string(e.Path) != "/proc/self/exe" || e.GetResult() != 0 || e.DurationNanos == nil || e.Errno != "" {
		t.Errorf("got %v", e)
	}
}

func TestCalls_RefusedBySeccomp(t *testing.T) {
	r := newRig(t, Options{ErrorsOnly: true, Names: []string{"getpriority"}}, false, nil)
	pid, _ := r.run("refused")
	got := r.end()
	noLoss(t, r)
	s := find(t, got, 1, "getpriority", named("getpriority", ""))[0]
	if s.Args != "2, 77" || s.Errno != "EXDEV" || s.DurationNanos != nil || s.Pid != uint32(pid) {
		t.Errorf("got %v", s)
	}
}

func TestTotalsAreExact(t *testing.T) {
	r := newRig(t, Options{}, true, nil)
	r.run("getppid")
	r.run("calls")
	totals := make(map[string]*event.SyscallSummary)
	for _, ev := range r.end() {
		totals[ev.GetSyscallSummary().Name] = ev.GetSyscallSummary()
	}
	noLoss(t, r)
	p := totals["getppid"]
	if p == nil || p.Calls != getppids+1 || p.Timed != getppids+1 || p.Errors != 0 || p.GetTotalNanos() == 0 ||
		p.GetTotalNanos() > uint64(waitTimeout) {
		t.Errorf("got %v, want %d calls by two children", p, getppids+1)
	}
	if p.GetP50Nanos() == 0 || p.GetP50Nanos() > p.GetP95Nanos() || p.GetP95Nanos() > p.GetP99Nanos() {
		t.Errorf("got %v", p)
	}
	timed := uint64(0)
	for _, n := range p.GetHistogram() {
		timed += n
	}
	if timed != p.GetTimed() || len(p.GetHistogram()) > 32 || p.GetHistogram()[len(p.GetHistogram())-1] == 0 {
		t.Errorf("the histogram %v does not hold %d calls", p.GetHistogram(), p.GetTimed())
	}
	if c := totals["connect"]; c == nil || c.Calls != 1 || c.Errors != 1 {
		t.Errorf("got %v, want one connect that failed", c)
	}
	if e := totals["exit_group"]; e == nil || e.Calls != 2 || e.Timed != 0 || e.P50Nanos != nil || e.TotalNanos != nil {
		t.Errorf("got %v, want two that never return", e)
	}
}

func TestScope_AddedCgroupIsSeenAtOnce(t *testing.T) {
	for _, summary := range []bool{false, true} {
		r := newRig(t, Options{Names: []string{"getppid"}}, summary, nil)
		if err := r.scope.SetCgroup(r.cgroup.ID, false); err != nil {
			t.Fatal(err)
		}
		for range 5 {
			// Every CPU remembers that the cgroup is out of scope.
			r.run("getppid")
		}
		if err := r.scope.SetCgroup(r.cgroup.ID, true); err != nil {
			t.Fatal(err)
		}
		r.run("getppid")
		got := r.end()
		noLoss(t, r)
		n := uint64(len(got))
		if summary && n > 0 {
			n = got[n-1].GetSyscallSummary().Calls
		}
		if n != getppids {
			t.Errorf("summary %v: %d calls, want %d", summary, n, getppids)
		}
	}
}

func TestSummary_CountsCallsWithoutRoom(t *testing.T) {
	r := newRig(t, Options{Names: []string{"getppid", "execve", "exit_group"}, MaxTotals: 1}, true, nil)
	r.run("getppid")
	got := r.end()
	// The child's first call is getppid, so that has the room.
	if s := got[len(got)-1].GetSyscallSummary(); s.Name != "getppid" || s.Calls != getppids {
		t.Errorf("got %v, want %d of getppid", s, getppids)
	}
	lost := r.probe.Lost()
	if len(lost) != 1 || lost[0].Stage != event.LossStage_LOSS_STAGE_KERNEL_MAP || lost[0].Count != 2 {
		t.Errorf("lost %v, want one execve and one exit_group", lost)
	}
}

func TestScope_OthersAreNotReported(t *testing.T) {
	for _, summary := range []bool{false, true} {
		r := newRig(t, Options{}, summary, nil)
		if err := r.scope.SetCgroup(r.cgroup.ID, false); err != nil {
			t.Fatal(err)
		}
		r.run("calls")
		if got := r.end(); len(got) > 0 {
			t.Errorf("%d events, the first %v", len(got), got[0])
		}
	}
}
