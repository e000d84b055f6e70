package resources

import (
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/orb8-dev/kubectl-orb8/bpf/bpftest"
	"github.com/orb8-dev/kubectl-orb8/bpf/scope"
)

// BenchmarkKernelSwitch has two threads hand each other a byte on one CPU, so that each message is a switch of
// tasks, and times the program on that hook beside an empty one: the kernel's own run_time_ns / run_cnt.
func BenchmarkKernelSwitch(b *testing.B) {
	bpftest.Root(b)
	stats, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	check(b, err)
	defer stats.Close()
	s, err := scope.Open(scope.Options{CgroupRoot: bpftest.CgroupRoot(b)})
	check(b, err)
	bpftest.CloseAfter(b, s)
	group := bpftest.NewCgroup(b, "orb8-resources-bench")
	empty, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.Tracing, AttachType: ebpf.AttachTraceRawTp, AttachTo: "sched_switch", License: "Dual BSD/GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	})
	check(b, err)
	bpftest.CloseAfter(b, empty)
	l, err := link.AttachTracing(link.TracingOptions{Program: empty})
	check(b, err)
	bpftest.CloseAfter(b, l)
	p, err := Open(b.Context(), Options{Scope: s, CgroupRoot: bpftest.CgroupRoot(b), Interval: time.Hour,
		Containers: func() []Container { return nil }})
	check(b, err)
	bpftest.CloseAfter(b, p)
	for _, inScope := range []bool{false, true} {
		name := "out of scope"
		if inScope {
			name = "in scope"
			cpus, err := ebpf.PossibleCPU()
			check(b, err)
			check(b, p.objects.Waits.Put(group.ID, make([]objectTaskWaits, cpus)))
		}
		b.Run(name, func(b *testing.B) {
			mean := func(p *ebpf.Program, before *ebpf.ProgramStats) float64 {
				now, err := p.Stats()
				check(b, err)
				return float64(now.Runtime-before.Runtime) / float64(now.RunCount-before.RunCount)
			}
			group.Run(b, func() {
				emptyBefore, err := empty.Stats()
				check(b, err)
				before, err := p.objects.ResourcesSwitch.Stats()
				check(b, err)
				pingPong(b, b.N)
				b.ReportMetric(mean(empty, emptyBefore), "empty-ns")
				b.ReportMetric(mean(p.objects.ResourcesSwitch, before), "switch-ns")
			})
		})
	}
}

func pingPong(b *testing.B, n int) {
	there, back := pipe(b), pipe(b)
	done := make(chan error, 1)
	var one unix.CPUSet
	one.Set(0)
	pinned := func() {
		runtime.LockOSThread()
		check(b, unix.SchedSetaffinity(0, &one))
	}
	go func() {
		runtime.LockOSThread() // the thread ends with its affinity
		if err := unix.SchedSetaffinity(0, &one); err != nil {
			done <- err
			return
		}
		buf := make([]byte, 1)
		for range n {
			if _, err := unix.Read(there[0], buf); err != nil {
				done <- err
				return
			}
			if _, err := unix.Write(back[1], buf); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		pinned()
		buf := make([]byte, 1)
		for range n {
			if _, err := unix.Write(there[1], buf); err != nil {
				b.Error(err)
				return
			}
			if _, err := unix.Read(back[0], buf); err != nil {
				b.Error(err)
				return
			}
		}
	}()
	<-finished
	check(b, <-done)
}

func pipe(b *testing.B) (p [2]int) {
	b.Helper()
	check(b, unix.Pipe2(p[:], unix.O_CLOEXEC))
	b.Cleanup(func() {
		for _, fd := range p {
			check(b, os.NewFile(uintptr(fd), "pipe").Close())
		}
	})
	return p
}

func check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}
