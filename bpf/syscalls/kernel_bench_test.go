package syscalls

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/orb8-dev/kubectl-orb8/bpf"
	"github.com/orb8-dev/kubectl-orb8/bpf/bpftest"
	"github.com/orb8-dev/kubectl-orb8/bpf/scope"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// BenchmarkKernelSyscall measures what a call that does nothing costs, back to back, without any program, with an
// empty one at its entry and its exit, and with the probes. Rounds of all take turns, and each counts by its best: so
// that what else the machine does falls on none.
func BenchmarkKernelSyscall(b *testing.B) {
	bpftest.Root(b)
	const rounds, size = 15, 100_000
	s, err := scope.Open(scope.Options{CgroupRoot: bpftest.CgroupRoot(b)})
	check(b, err)
	bpftest.CloseAfter(b, s)
	cgroup := bpftest.NewCgroup(b, "orb8-syscalls-bench")
	other := bpftest.NewCgroup(b, "orb8-syscalls-bench-other")
	check(b, s.SetCgroup(other.ID, true))
	events := func(o Options) func() []io.Closer {
		return func() []io.Closer {
			o.Scope = s
			p, err := Open(b.Context(), o)
			check(b, err)
			return []io.Closer{p, running(p.Run)}
		}
	}
	summary := func() []io.Closer {
		p, err := OpenSummary(b.Context(), Options{Scope: s})
		check(b, err)
		return []io.Closer{p, running(p.Run)}
	}
	modes := []struct {
		name    string
		inScope bool
		attach  func() []io.Closer
	}{
		{"plain", false, func() []io.Closer { return nil }},
		{"empty", false, func() []io.Closer { return attachEmpty(b) }},
		{"out-of-scope", false, events(Options{})},
		{"summary-out-of-scope", false, summary},
		{"summary", true, summary},
		{"not-wanted", true, events(Options{Names: []string{"reboot"}})},
		{"errors-only", true, events(Options{ErrorsOnly: true})},
		{"events", true, events(Options{})},
	}
	best := make(map[string]float64)
	for range b.N {
		for range rounds {
			for _, m := range modes {
				check(b, s.SetCgroup(cgroup.ID, m.inScope))
				attached := m.attach()
				var ns float64
				cgroup.Run(b, func() {
					runtime.LockOSThread()
					defer runtime.UnlockOSThread()
					getppid(size / 10)
					began := time.Now()
					getppid(size)
					ns = float64(time.Since(began).Nanoseconds()) / size
				})
				for i := range attached {
					check(b, attached[len(attached)-1-i].Close())
				}
				if was, ok := best[m.name]; !ok || ns < was {
					best[m.name] = ns
				}
			}
		}
	}
	for _, m := range modes {
		b.Logf("%-21s %6.1f ns a call, %5.2f times empty", m.name, best[m.name], best[m.name]/best["empty"])
		b.ReportMetric(best[m.name], "ns/"+m.name)
	}
	b.ReportMetric(0, "ns/op")
}

func getppid(n int) {
	for range n {
		unix.RawSyscallNoError(unix.SYS_GETPPID, 0, 0, 0)
	}
}

func check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

type closer func() error

func (c closer) Close() error { return c() }

// running runs a probe until it is closed.
func running(run func(context.Context, bpf.Sink) error) io.Closer {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx, func(uint64, *event.Event) {}) }()
	return closer(func() error {
		cancel()
		return <-done
	})
}

func attachEmpty(b *testing.B) (attached []io.Closer) {
	for _, hook := range []string{"sys_enter", "sys_exit"} {
		p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
			Type: ebpf.Tracing, AttachType: ebpf.AttachTraceRawTp, AttachTo: hook, License: "Dual BSD/GPL",
			Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
		})
		check(b, err)
		l, err := link.AttachTracing(link.TracingOptions{Program: p})
		check(b, err)
		attached = append(attached, p, l)
	}
	return attached
}

// BenchmarkDecode measures what user space pays for an event.
func BenchmarkDecode(b *testing.B) {
	clock, table := kit(b, nil)
	for _, name := range []string{"getppid", "read", "openat", "mmap"} {
		b.Run(name, func(b *testing.B) {
			d := newDecoder(clock, table)
			raw := example(table, name)
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := d.decode(raw); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("arguments never seen before", func(b *testing.B) {
		d := newDecoder(clock, table)
		raw := example(table, "openat")
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			i++
			copy(raw[headSize+5:], fmt.Sprintf("%06d", i%1_000_000))
			if _, _, err := d.decode(raw); err != nil {
				b.Fatal(err)
			}
		}
	})
}
