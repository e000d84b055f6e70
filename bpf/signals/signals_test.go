package signals

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/orb8-dev/kubectl-orb8/bpf"
	"github.com/orb8-dev/kubectl-orb8/bpf/bpftest"
	"github.com/orb8-dev/kubectl-orb8/bpf/scope"
	"github.com/orb8-dev/kubectl-orb8/event"
)

const timeout = 90 * time.Second

func TestMain(m *testing.M) {
	bpftest.Children(map[string]func() error{"ignore": ignore, "pipe": writeToClosedPipe, "wait": wait})
	os.Exit(bpftest.Main(m))
}

// wait prints "ready", and waits for its end.
func wait() error {
	fmt.Println("ready")
	time.Sleep(timeout)
	return nil
}

// ignore is wait without SIGHUP.
func ignore() error {
	signal.Ignore(unix.SIGHUP)
	return wait()
}

// writeToClosedPipe writes where nobody reads: Go's runtime sends itself the signal once more for descriptor 1.
func writeToClosedPipe() error {
	fmt.Println("ready")
	var p [2]int
	if err := unix.Pipe(p[:]); err != nil {
		return err
	}
	if err := unix.Close(p[0]); err != nil {
		return err
	}
	_, err := unix.Write(p[1], []byte("x"))
	return err
}

// harness is a loaded probe with a cgroup in scope and one that is not.
type harness struct {
	*testing.T
	probe     *Probe
	in, other *bpftest.Cgroup
	release   chan struct{}
	done      chan error
	got       []*event.Signal
}

func newHarness(t *testing.T, o Options) *harness {
	t.Helper()
	bpftest.Root(t)
	s, err := scope.Open(scope.Options{CgroupRoot: bpftest.CgroupRoot(t)})
	if err != nil {
		bpftest.FatalLoad(t, err)
	}
	bpftest.CloseAfter(t, s)
	h := &harness{
		T: t, in: bpftest.NewCgroup(t, "orb8-signals-test/in"), other: bpftest.NewCgroup(t, "orb8-signals-test/out"),
		release: make(chan struct{}), done: make(chan error, 1),
	}
	if err := s.SetCgroup(h.in.ID, true); err != nil {
		t.Fatal(err)
	}
	o.Scope = s
	if h.probe, err = Open(t.Context(), o); err != nil {
		bpftest.FatalLoad(t, err)
	}
	bpftest.CloseAfter(t, h.probe)
	return h
}

// start starts a child of TestMain and returns its process id once it runs. It is killed with the test.
func (h *harness) start(name string, in *bpftest.Cgroup, pidNamespace bool) (pid uint32, wait func()) {
	h.Helper()
	cmd := bpftest.Child(h.T, name, in)
	if pidNamespace {
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWPID
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		h.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		h.Fatal(err)
	}
	ended := false
	wait = func() {
		if !ended {
			ended = true
			_ = cmd.Wait() // a signal ends it
		}
	}
	h.Cleanup(func() {
		if !ended {
			_ = cmd.Process.Kill() // it may have ended
		}
		wait()
	})
	if _, err := out.Read(make([]byte, 64)); err != nil {
		h.Fatal(err)
	}
	return uint32(cmd.Process.Pid), wait
}

func (h *harness) kill(pid uint32, s syscall.Signal) {
	h.Helper()
	if err := unix.Kill(int(pid), s); err != nil {
		h.Fatal(err)
	}
}

// read returns all signals so far and what was lost.
func (h *harness) read() ([]*event.Signal, []bpf.Loss) {
	h.Helper()
	ctx, cancel := context.WithTimeout(h.Context(), timeout)
	defer cancel()
	go func() {
		h.done <- h.probe.Run(ctx, func(cgroup uint64, ev *event.Event) {
			if cgroup != h.in.ID || ev.GetTime() == 0 {
				h.Errorf("of cgroup %d: %v", cgroup, ev)
			}
			h.got = append(h.got, proto.Clone(ev.GetSignal()).(*event.Signal))
		})
	}()
	if err := h.probe.Flush(ctx); err != nil {
		h.Fatal(err)
	}
	lost := h.probe.Lost()
	cancel()
	if err := <-h.done; err != nil {
		h.Fatal(err)
	}
	return h.got, lost
}

func TestSignals_NameSenderAndTarget(t *testing.T) {
	h := newHarness(t, Options{})
	first, _ := h.start("ignore", h.in, true)
	waiting, wait := h.start("wait", h.in, false)
	other, _ := h.start("wait", h.other, false)
	h.kill(first, unix.SIGHUP)
	h.kill(other, unix.SIGTERM)
	if err := unix.Tgkill(int(first), int(first), unix.SIGWINCH); err != nil {
		t.Fatal(err)
	}
	h.kill(waiting, unix.SIGKILL)
	wait()
	got, lost := h.read()
	if len(got) == 0 || len(got[0].GetComm()) == 0 || len(lost) != 0 {
		t.Fatalf("%v, lost %v", got, lost)
	}
	self, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	signal := func(name string, outcome event.SignalOutcome, code int32) *event.Signal {
		return &event.Signal{
			Number: uint32(unix.SignalNum(name)), Signal: name, Outcome: outcome, Code: &code,
			Origin: event.SignalOrigin_SIGNAL_ORIGIN_PROCESS, ToThread: proto.Bool(code == -6),
			Pid: first, ContainerPid: 1, Comm: got[0].GetComm(),
			SenderPid: uint32(os.Getpid()), SenderUid: new(uint32), SenderComm: self[:len(self)-1],
		}
	}
	// With Pdeathsig, a child that does not see its parent kills itself. The first process of a namespace survives
	// that.
	fork := signal("SIGKILL", event.SignalOutcome_SIGNAL_OUTCOME_IGNORED, 0)
	fork.SenderPid, fork.SenderComm = fork.Pid, fork.Comm
	last := signal("SIGKILL", event.SignalOutcome_SIGNAL_OUTCOME_DELIVERED, 0)
	last.Pid, last.ContainerPid = waiting, waiting
	want := []*event.Signal{
		fork,
		signal("SIGHUP", event.SignalOutcome_SIGNAL_OUTCOME_IGNORED, 0),
		signal("SIGWINCH", event.SignalOutcome_SIGNAL_OUTCOME_DELIVERED, -6),
		last,
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSignals_KernelHasNoSender(t *testing.T) {
	h := newHarness(t, Options{})
	pid, wait := h.start("pipe", h.in, false)
	wait()
	got, lost := h.read()
	if len(got) == 0 || len(lost) != 0 {
		t.Fatalf("%v, lost %v", got, lost)
	}
	s := got[0]
	if s.GetSignal() != "SIGPIPE" || s.GetOrigin() != event.SignalOrigin_SIGNAL_ORIGIN_KERNEL || s.GetPid() != pid ||
		s.GetSenderPid() != 0 || s.SenderUid != nil || s.SenderComm != nil || s.Code != nil {
		t.Errorf("%v, want SIGPIPE of the kernel", s)
	}
}

func TestSignals_CountsAFullRing(t *testing.T) {
	h := newHarness(t, Options{RingBytes: 4096})
	pid, _ := h.start("ignore", h.in, false)
	const n = 200
	for range n {
		h.kill(pid, unix.SIGHUP)
	}
	got, lost := h.read()
	var sum uint64
	for _, l := range lost {
		sum += l.Count
	}
	if sum == 0 || uint64(len(got))+sum != n {
		t.Errorf("%d signals and lost %v, want %d together and some lost", len(got), lost, n)
	}
}
