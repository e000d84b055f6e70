package cuda

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/bpf/bpftest"
	"github.com/orb8-dev/kubectl-orb8/bpf/scope"
	"github.com/orb8-dev/kubectl-orb8/e2e/fakes"
	"github.com/orb8-dev/kubectl-orb8/event"
)

const timeLimit = 20 * time.Second

// harness is a loaded probe with a cgroup in scope and one that is not.
type harness struct {
	testing.TB
	fake      *fakes.CUDA
	probe     *Probe
	in, other *bpftest.Cgroup

	mu     sync.Mutex
	failed []*event.Event
	// hold keeps the sink from taking anything until it is closed.
	hold    chan struct{}
	release func()
	// stop ends all.
	stop func()
}

func newHarness(t testing.TB, o Options) *harness {
	t.Helper()
	bpftest.Root(t)
	fake := fakes.BuildCUDA(t)
	s, err := scope.Open(scope.Options{CgroupRoot: bpftest.CgroupRoot(t)})
	if err != nil {
		bpftest.FatalLoad(t, err)
	}
	b := &harness{
		TB: t, fake: fake, in: bpftest.NewCgroup(t, "orb8-cuda-test/in"),
		other: bpftest.NewCgroup(t, "orb8-cuda-test/out"), hold: make(chan struct{}),
	}
	b.release = sync.OnceFunc(func() { close(b.hold) })
	if err := s.SetCgroup(b.in.ID, true); err != nil {
		t.Fatal(err)
	}
	o.Scope = s
	if b.probe, err = Open(t.Context(), o); err != nil {
		bpftest.FatalLoad(t, err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- b.probe.Run(ctx, func(cgroup uint64, ev *event.Event) {
			<-b.hold
			if cgroup != b.in.ID {
				t.Errorf("an event of the cgroup %d: %v", cgroup, ev)
			}
			b.mu.Lock()
			defer b.mu.Unlock()
			b.failed = append(b.failed, proto.CloneOf(ev))
		})
	}()
	b.stop = sync.OnceFunc(func() {
		b.release()
		stop()
		if err := errors.Join(<-done, b.probe.Close(), s.Close()); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(b.stop)
	return b
}

func (b *harness) attach(paths ...string) *Library {
	b.Helper()
	var last *Library
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			b.Fatal(err)
		}
		last, err = b.probe.Attach(f)
		f.Close()
		if err != nil {
			b.Fatal(err)
		}
		if len(last.Left) > 0 {
			b.Errorf("%s: without probes: %v", path, last.Left)
		}
	}
	return last
}

// workload is the running program.
type workload struct {
	*harness
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

func (b *harness) start(in *bpftest.Cgroup, script string, args ...string) *workload {
	b.Helper()
	dir, err := os.Open(in.Dir)
	if err != nil {
		b.Fatal(err)
	}
	defer dir.Close()
	cmd := exec.Command(b.fake.Program, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd()), Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = os.Stderr
	if script != "" {
		path := b.TempDir() + "/script"
		if err := os.WriteFile(path, []byte(script), 0o644); err != nil {
			b.Fatal(err)
		}
		cmd.Env = append(os.Environ(), "ORB8_CUDA_SCRIPT="+path)
	}
	w := &workload{harness: b, cmd: cmd}
	if w.in, err = cmd.StdinPipe(); err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	w.out = bufio.NewScanner(out)
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { w.end() })
	return w
}

// end lets the program end.
func (w *workload) end() {
	w.in.Close()
	_ = w.cmd.Process.Kill()
	_ = w.cmd.Wait()
}

func (w *workload) id() uint32 { return uint32(w.cmd.Process.Pid) }

// do has the program run a command and returns the line that it prints.
func (w *workload) do(command string) string {
	w.Helper()
	if _, err := io.WriteString(w.in, command+"\n"); err != nil {
		w.Fatal(err)
	}
	if !w.out.Scan() {
		w.Fatalf("%s: the program printed nothing: %v", command, w.out.Err())
	}
	return w.out.Text()
}

// readProcess returns the probe's counters of a process, nil where there are none.
func (b *harness) readProcess(pid uint32) *Process {
	b.Helper()
	all, err := b.probe.ReadCounters()
	if err != nil {
		b.Fatal(err)
	}
	var found *Process
	for i := range all {
		if all[i].PID != pid {
			continue
		}
		if found != nil {
			b.Fatalf("two processes %d: %+v", pid, all)
		}
		found = &all[i]
	}
	return found
}

// counted are the counters that both the program prints and the probe reads.
type counted struct {
	Launches, GraphLaunches, Copies, HostToDeviceBytes, DeviceToHostBytes, DeviceToDeviceBytes, OtherBytes, Syncs,
	Allocations, Frees, AllocatedBytes, OutstandingBytes,
	Failures, Collectives uint64
}

func countedOf(c *event.GpuCalls) counted {
	return counted{
		c.GetLaunches(), c.GetGraphLaunches(), c.GetCopies(), c.GetHostToDeviceBytes(), c.GetDeviceToHostBytes(),
		c.GetDeviceToDeviceBytes(), c.GetOtherBytes(), c.GetSyncs(),
		c.GetAllocations(), c.GetFrees(), c.GetAllocatedBytes(), c.GetOutstandingBytes(), c.GetFailures(),
		c.GetCollectives(),
	}
}

func parse(t testing.TB, line string) (c counted) {
	t.Helper()
	if err := json.Unmarshal([]byte(line), &c); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	return c
}

// check compares the probe's counters with those that the program printed.
func (w *workload) check(printed string) *Process {
	w.Helper()
	p := w.readProcess(w.id())
	if p == nil {
		w.Fatalf("the probe has no counters of process %d", w.id())
	}
	if got, want := countedOf(p.Calls), parse(w.TB, printed); got != want {
		w.Errorf("counted\n %+v, want\n %+v", got, want)
	}
	return p
}

func (b *harness) noLoss() {
	b.Helper()
	if lost := b.probe.Lost(); len(lost) > 0 {
		b.Errorf("lost %v", lost)
	}
}

// ways runs a test for each way to attach that the kernel has: many at once (Linux 6.6), and one by one.
func ways(t *testing.T, test func(t *testing.T, o Options)) {
	t.Helper()
	bpftest.Root(t)
	fakes.NeedCUDA(t)
	switch err := features.HaveBPFLinkUprobeMulti(); {
	case err == nil:
		t.Run("many at once", func(t *testing.T) { test(t, Options{}) })
	case !errors.Is(err, ebpf.ErrNotSupported):
		t.Fatal(err)
	}
	t.Run("one by one", func(t *testing.T) { test(t, Options{Single: true}) })
}

func TestProbe_CountsCallsExactly(t *testing.T) {
	ways(t, func(t *testing.T, o Options) {
		b := newHarness(t, o)
		b.release()
		preexisting := b.start(b.in, "", "-threads", "2", "-nccl", b.fake.NCCL, b.fake.Library)
		b.attach(b.fake.Library, b.fake.NCCL)
		started := b.start(b.in, "", "-runtime", "-threads", "3", b.fake.Library)
		stranger := b.start(b.other, "", b.fake.Library)
		stranger.do("round 5")
		for _, w := range []*workload{preexisting, started} {
			for _, command := range []string{"round", "round 40"} {
				p := w.check(w.do(command))
				if p.Cgroup != b.in.ID || string(p.Comm) != "cuda" || p.Started == 0 || p.Calls.WaitingMicros != nil {
					t.Errorf("%+v", p)
				}
			}
		}
		if p := b.readProcess(stranger.id()); p != nil {
			t.Errorf("a process out of scope is counted: %+v", p)
		}
		b.noLoss()
	})
}
