package resources

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/bpf/bpftest"
	"github.com/orb8-dev/kubectl-orb8/bpf/scope"
	"github.com/orb8-dev/kubectl-orb8/event"
)

const waitTimeout = 90 * time.Second

func TestMain(m *testing.M) {
	bpftest.Children(map[string]func() error{
		"compete": func() error {
			began := time.Now()
			return compete(func() bool { return time.Since(began) > 500*time.Millisecond })
		},
		"hold threads":   holdThreads,
		"wait for locks": waitForLocks,
		"compete until EOF": func() error {
			var ended atomic.Bool
			go func() {
				_, _ = io.Copy(io.Discard, os.Stdin)
				ended.Store(true)
			}()
			return compete(ended.Load)
		},
	})
	os.Exit(bpftest.Main(m))
}

// compete runs two threads on one CPU until end returns true. It prints how long the process's threads have waited for
// a CPU, in ns.
func compete(end func() bool) error {
	var allowed, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		return err
	}
	for cpu := 0; one.Count() == 0; cpu++ {
		if allowed.IsSet(cpu) {
			one.Set(cpu)
		}
	}
	runtime.GOMAXPROCS(4)
	var running sync.WaitGroup
	failed := make(chan error, 2)
	for range 2 {
		running.Go(func() {
			runtime.LockOSThread()
			if err := unix.SchedSetaffinity(0, &one); err != nil {
				failed <- err
				return
			}
			for !end() {
			}
			runtime.UnlockOSThread() // else the thread would end, and its schedstat with it
		})
	}
	running.Wait()
	select {
	case err := <-failed:
		return err
	default:
	}
	waited, err := schedstats(os.Getpid())
	fmt.Println(sum(waited))
	return err
}

// schedstats is how long each thread of a process has waited for a CPU, ns.
func schedstats(pid int) (map[string]uint64, error) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(threads) == 0 {
		return nil, fmt.Errorf("process %d is gone: %w", pid, err)
	}
	found := make(map[string]uint64, len(threads))
	for _, file := range threads {
		n, err := schedstat(file)
		if err != nil {
			return nil, err
		}
		found[filepath.Base(filepath.Dir(file))] = n
	}
	return found, nil
}

func sum(waits map[string]uint64) (sum uint64) {
	for _, n := range waits {
		sum += n
	}
	return sum
}

// schedstat gives how long a thread has waited for a CPU, ns: the second field (proc(5)).
func schedstat(file string) (uint64, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	fields := bytes.Fields(b)
	if len(fields) < 2 {
		return 0, fmt.Errorf("%s is %q", file, b)
	}
	return strconv.ParseUint(string(fields[1]), 10, 64)
}

// harness is a running probe that observes one cgroup.
type harness struct {
	*testing.T
	probe *Probe
	group *bpftest.Cgroup

	mu  sync.Mutex
	got []*event.Resources
}

func newHarness(t *testing.T) *harness {
	t.Helper()
	bpftest.Root(t)
	s, err := scope.Open(scope.Options{CgroupRoot: bpftest.CgroupRoot(t)})
	if err != nil {
		bpftest.FatalLoad(t, err)
	}
	b := &harness{T: t, group: bpftest.NewCgroup(t, "orb8-"+t.Name())}
	b.probe, err = Open(t.Context(), Options{
		Scope: s, CgroupRoot: bpftest.CgroupRoot(t), Interval: time.Hour,
		Containers: func() []Container { return []Container{{Cgroup: b.group.ID, Path: b.group.Path}} },
	})
	if err != nil {
		bpftest.FatalLoad(t, errors.Join(err, s.Close()))
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- b.probe.Run(ctx, func(cgroup uint64, ev *event.Event) {
			if cgroup != b.group.ID {
				t.Errorf("an event of cgroup %d, want %d", cgroup, b.group.ID)
			}
			b.mu.Lock()
			defer b.mu.Unlock()
			b.got = append(b.got, proto.Clone(ev).(*event.Event).GetResources())
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if lost := b.probe.Lost(); len(lost) > 0 {
			t.Errorf("lost %v", lost)
		}
		if err := b.probe.Close(); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// readResources has the probe read its counters and returns the event; nil where there is none.
func (b *harness) readResources() *event.Resources {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), waitTimeout)
	defer cancel()
	b.mu.Lock()
	b.got = nil
	b.mu.Unlock()
	if err := b.probe.Flush(ctx); err != nil {
		b.Fatal(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch len(b.got) {
	case 0:
		return nil
	case 1:
		return b.got[0]
	}
	b.Fatalf("%d events of one reading", len(b.got))
	return nil
}

func TestRunQueue_MatchesTheScheduler(t *testing.T) {
	b := newHarness(t)
	if r := b.readResources(); r != nil {
		t.Fatalf("an event without an interval: %v", r)
	}
	cmd := bpftest.Child(t, "compete", b.group)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	want, err := strconv.ParseUint(strings.TrimSpace(string(out)), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	if want < 1000 {
		t.Fatalf("the threads waited %d ns: the test tests nothing", want)
	}
	r := b.readResources()
	if r == nil {
		t.Fatal("no event")
	}
	// The threads still wait a little after they have read their schedstat.
	got := r.GetRunQueue().GetDelayMicros()
	if got < want/1000 || got > want/1000+want/5000+50_000 {
		t.Errorf("waited for %d µs, want the scheduler's %d and a little", got, want/1000)
	}
	q := r.GetRunQueue()
	if q.GetRuns() == 0 || q.GetP50Nanos() == 0 || q.GetP99Nanos() < q.GetP50Nanos() || q.GetP99Nanos() > 2*want {
		t.Errorf("%v", q)
	}
	if cpu := r.GetCpu(); cpu.Micros == nil || cpu.GetMicros() == 0 || cpu.GetMillis() == 0 {
		t.Errorf("%v", cpu)
	}
	// The counters stay once the last thread has left its CPU, shortly after the process has ended.
	for deadline := time.Now().Add(waitTimeout); ; {
		time.Sleep(time.Duration(shortest)) // less is no interval
		next := b.readResources()
		if next != nil && next.GetRunQueue().GetRuns() == q.GetRuns() && next.GetRunQueue().P50Nanos == nil &&
			next.GetCpu().GetMillis() == 0 {
			break
		}
		if next == nil || time.Now().After(deadline) {
			t.Fatalf("%v after %v", next, r)
		}
		q = proto.Clone(next.GetRunQueue()).(*event.ResourcesRunQueue)
	}
}

func TestWatcher_ForgetsRemovedContainers(t *testing.T) {
	b := newHarness(t)
	below := bpftest.NewCgroup(t, b.group.Path+"/below")
	blkio := t.TempDir()
	if err := os.MkdirAll(filepath.Join(blkio, b.group.Path), 0o755); err != nil {
		t.Fatal(err)
	}
	b.probe.tree.v1["blkio"] = blkio
	containers := []Container{{Cgroup: b.group.ID, Path: b.group.Path, Below: []uint64{below.ID}}}
	b.probe.containers = func() []Container { return containers }
	w := newWatcher(b.probe, func(uint64, *event.Event) { t.Error("an event without an interval") })
	read := func(want error) {
		t.Helper()
		if err := w.readAll(1); err != nil {
			t.Fatal(err)
		}
		var io objectBlockIo
		for _, id := range []uint64{b.group.ID, below.ID} {
			if err := w.objects.Waits.Lookup(id, &w.perCPU); !errors.Is(err, want) {
				t.Errorf("waits of cgroup %d: %v, want %v", id, err, want)
			}
		}
		block, _ := b.probe.tree.blockCgroup(Container{Path: b.group.Path})
		if err := w.objects.BlockIos.Lookup(block, &io); !errors.Is(err, want) {
			t.Errorf("block I/O: %v, want %v", err, want)
		}
	}
	read(nil)
	containers = nil
	read(ebpf.ErrKeyNotExist)
}

func TestRunQueue_PreexistingTasksStartAtZero(t *testing.T) {
	bpftest.Root(t)
	group := bpftest.NewCgroup(t, "orb8-"+t.Name())
	cmd := bpftest.Child(t, "compete until EOF", group)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waited := func() map[string]uint64 {
		t.Helper()
		w, err := schedstats(cmd.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	const some = 100_000_000
	longer := func(than uint64) {
		t.Helper()
		for deadline := time.Now().Add(waitTimeout); sum(waited()) < than; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("the threads have waited %v ns so far", waited())
			}
		}
	}
	longer(some)
	b := newHarness(t)
	b.group = group
	before := waited()
	b.readResources()
	after := waited()
	longer(sum(after) + 10*some)
	late := waited()
	r := b.readResources()
	end := waited()
	in.Close()
	if _, err := io.Copy(io.Discard, out); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if r == nil {
		t.Fatal("no event")
	}
	// The probe does not report waits that began before it first saw the thread.
	got := r.GetRunQueue().GetDelayMicros() * 1000
	if most, least := (sum(end)-sum(before))*11/10, (sum(late)-sum(after))/4; got > most || got < least {
		t.Errorf("waited for %d ns, want from %d to %d: the threads had waited %v, then %v, %v and %v", got, least,
			most, before, after, late, end)
	}
}
