package resources

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/orb8-dev/kubectl-orb8/bpf/bpftest"
	"github.com/orb8-dev/kubectl-orb8/bpf/scope"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// Operations of futex(2), linux/futex.h.
const (
	futexWait       = 0
	futexLockPI     = 6
	futexWaitBitset = 9
	futexPrivate    = 128
	anyBits         = 1<<32 - 1
)

// futexWaiter is a thread that waits in futex(2) as a libc or runtime has it wait.
type futexWaiter struct {
	of      string
	op      uintptr
	value   uint32
	timeout bool
	onStack bool
	// counted: it waits for a mutex; always: for however long.
	counted, always bool
}

var futexWaiters = []futexWaiter{
	{of: "glibc's mutex", op: futexWait | futexPrivate, value: 2, counted: true},
	{of: "a mutex in shared memory", op: futexWait, value: 2, counted: true},
	{of: "Rust's mutex", op: futexWaitBitset | futexPrivate, value: 2, counted: true},
	{of: "musl's mutex", op: futexWait | futexPrivate, value: 0x80000010, counted: true, always: true},
	{of: "musl's internal lock", op: futexWait | futexPrivate, value: 0x80000002, counted: true, always: true},
	{of: "a robust mutex", op: futexWait | futexPrivate, value: 0x80000000 | 4711, counted: true, always: true},
	{of: "a mutex with priority inheritance", op: futexLockPI | futexPrivate, counted: true, always: true},

	{of: "a thread of Go that has nothing to do", op: futexWait | futexPrivate},
	{of: "glibc's condition variable", op: futexWaitBitset | futexPrivate},
	{of: "a condition variable that counts", op: futexWaitBitset | futexPrivate, value: 3},
	{of: "glibc's join", op: futexWaitBitset, value: 4711},
	{of: "a condition variable with a time-out", op: futexWaitBitset | futexPrivate, value: 2, timeout: true},
	{of: "musl's condition variable", op: futexWait | futexPrivate, value: 2, onStack: true},
	{of: "musl's semaphore", op: futexWait | futexPrivate, value: 0x80000000},
	{of: "Rust's read-write lock", op: futexWaitBitset | futexPrivate, value: 0xc0000001},
	{of: "libgomp's mutex", op: futexWait | futexPrivate, value: 0xffffffff},
}

// wait returns when the thread is woken, which nobody does.
func (f *futexWaiter) wait() error {
	runtime.LockOSThread()
	var local uint32
	word := uintptr(unsafe.Pointer(&local)) // does not escape
	if !f.onStack {
		mapped, err := unix.Mmap(-1, 0, unix.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE,
			unix.MAP_SHARED|unix.MAP_ANONYMOUS)
		if err != nil {
			return err
		}
		word = uintptr(unsafe.Pointer(&mapped[0]))
		*(*uint32)(unsafe.Pointer(&mapped[0])) = f.value
		if f.op&^futexPrivate == futexLockPI {
			*(*uint32)(unsafe.Pointer(&mapped[0])) = uint32(unix.Getpid()) // the main thread holds it
		}
	}
	local = f.value
	var timeout *unix.Timespec
	if f.timeout {
		timeout = &unix.Timespec{Sec: 1 << 40}
	}
	for {
		_, _, errno := unix.Syscall6(unix.SYS_FUTEX, word, f.op, uintptr(f.value), uintptr(unsafe.Pointer(timeout)), 0,
			anyBits)
		if errno != unix.EINTR {
			runtime.KeepAlive(&local)
			return fmt.Errorf("%s: the wait has ended: %w", f.of, errno)
		}
	}
}

// waitForLocks has a thread for each of futexWaiters. It ends with the end of stdin.
func waitForLocks() error {
	failed := make(chan error, len(futexWaiters))
	for i := range futexWaiters {
		go func() { failed <- futexWaiters[i].wait() }()
	}
	ended := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, os.Stdin)
		ended <- err
	}()
	select {
	case err := <-failed:
		return err
	case err := <-ended:
		return err
	}
}

// lockKit is a probe that takes samples when the test asks for them.
type lockKit struct {
	testing.TB
	*watcher
	container *watched
}

func newLockKit(tb testing.TB, longestWait time.Duration, child string) *lockKit {
	tb.Helper()
	bpftest.Root(tb)
	s, err := scope.Open(scope.Options{CgroupRoot: bpftest.CgroupRoot(tb)})
	if err != nil {
		bpftest.FatalLoad(tb, err)
	}
	bpftest.CloseAfter(tb, s)
	group := bpftest.NewCgroup(tb, "orb8-"+tb.Name())
	p, err := Open(tb.Context(), Options{
		Scope: s, CgroupRoot: bpftest.CgroupRoot(tb), Interval: time.Hour, longestWait: longestWait,
		Containers: func() []Container { return []Container{{Cgroup: group.ID, Path: group.Path}} },
	})
	if err != nil {
		bpftest.FatalLoad(tb, err)
	}
	bpftest.CloseAfter(tb, p)
	k := &lockKit{TB: tb, watcher: newWatcher(p, func(uint64, *event.Event) {})}
	if err := k.readAll(1); err != nil {
		tb.Fatal(err)
	}
	k.container = k.known[group.ID]
	cmd := bpftest.Child(tb, child, group)
	stdin, err := cmd.StdinPipe()
	check(tb, err)
	cmd.Stderr = os.Stderr
	check(tb, cmd.Start())
	tb.Cleanup(func() {
		if err := stdin.Close(); err != nil {
			tb.Error(err)
		}
		if err := cmd.Wait(); err != nil {
			tb.Error(err)
		}
	})
	return k
}

// sampled is how many threads of the container one sample finds waiting.
func (k *lockKit) sampled() uint64 {
	k.Helper()
	before, err := k.readWaits(k.container)
	check(k, err)
	check(k, k.locks.sample())
	after, err := k.readWaits(k.container)
	check(k, err)
	if after.samples != before.samples+1 {
		k.Fatalf("%d samples after %d", after.samples, before.samples)
	}
	return after.forLocks - before.forLocks
}

// await takes samples until one finds want threads, and then some more: none of them may find more, and most must find
// as many, for a thread that a signal of Go's runtime wakes is missed.
func (k *lockKit) await(want uint64) {
	k.Helper()
	for deadline := time.Now().Add(waitTimeout); k.sampled() != want; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			k.Fatalf("%d threads wait for a mutex, want %d", k.sampled(), want)
		}
	}
	const samples = 20
	same := 0
	for range samples {
		switch got := k.sampled(); {
		case got > want:
			k.Fatalf("%d threads wait for a mutex, want %d as before", got, want)
		case got == want:
			same++
		}
	}
	if same < samples*3/4 {
		k.Fatalf("%d of %d samples find %d threads that wait for a mutex", same, samples, want)
	}
}

func TestLocks_CountsWaitersOfMutexes(t *testing.T) {
	var counted, always uint64
	for _, f := range futexWaiters {
		if f.counted {
			counted++
		}
		if f.always {
			always++
		}
	}
	t.Run("while they may be idle", func(t *testing.T) {
		newLockKit(t, time.Hour, "wait for locks").await(counted)
	})
	t.Run("for longer", func(t *testing.T) { newLockKit(t, time.Nanosecond, "wait for locks").await(always) })
}

func TestLocks_BacksOffWhereSamplesTakeLong(t *testing.T) {
	for took, least := range map[time.Duration]time.Duration{
		0: 0, time.Millisecond: 0, 10 * time.Millisecond: time.Second, time.Second: maxLockPeriod,
		time.Hour: maxLockPeriod,
	} {
		if got := nextSample(took); got < least || got > max(least, lockPeriod) {
			t.Errorf("after a sample of %v the next is in %v, want at least %v", took, got, least)
		}
	}
}

// BenchmarkLocks takes samples while a container in scope has many threads that sleep in futex(2).
func BenchmarkLocks(b *testing.B) {
	k := newLockKit(b, time.Hour, "hold threads")
	threads := func() (n int) {
		tasks, err := os.ReadFile("/proc/loadavg")
		check(b, err)
		var running int
		_, err = fmt.Sscanf(string(tasks), "%f %f %f %d/%d", new(float64), new(float64), new(float64), &running, &n)
		check(b, err)
		return n
	}
	for deadline := time.Now().Add(waitTimeout); threads() < floodThreads; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			b.Fatalf("%d threads, want %d more", threads(), floodThreads)
		}
	}
	for b.Loop() {
		check(b, k.locks.sample())
	}
	b.ReportMetric(float64(threads()), "threads")
}
