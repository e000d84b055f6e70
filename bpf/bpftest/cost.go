package bpftest

import (
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// Cost compares the run time of cgroup_skb programs, as the kernel counts it, with that of an empty program on the same
// hooks.
type Cost struct {
	*testing.B
	ours, empty []*ebpf.Program
}

// CountRunTime makes the kernel count how long programs run, until the test ends.
func CountRunTime(b *testing.B) {
	b.Helper()
	Root(b)
	stats, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		b.Fatal(err)
	}
	CloseAfter(b, stats)
}

// NewCost attaches empty programs beside ours, for packets of sockets of the cgroups below root.
func NewCost(b *testing.B, root string, ours ...*ebpf.Program) *Cost {
	b.Helper()
	c := &Cost{B: b, ours: ours}
	for _, hook := range []ebpf.AttachType{ebpf.AttachCGroupInetIngress, ebpf.AttachCGroupInetEgress} {
		p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
			Type: ebpf.CGroupSKB, AttachType: hook, License: "Dual BSD/GPL",
			Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 1), asm.Return()},
		})
		if err != nil {
			b.Fatal(err)
		}
		CloseAfter(b, p)
		l, err := link.AttachCgroup(link.CgroupOptions{Path: root, Attach: hook, Program: p})
		if err != nil {
			b.Fatal(err)
		}
		CloseAfter(b, l)
		c.empty = append(c.empty, p)
	}
	return c
}

// Measure runs the traffic and reports the mean time per packet of our programs, of the empty one, and the difference.
func (c *Cost) Measure(traffic func()) {
	c.Helper()
	ourNs, ourRuns := RunTime(c, c.ours...)
	emptyNs, emptyRuns := RunTime(c, c.empty...)
	c.ResetTimer()
	traffic()
	c.StopTimer()
	n, k := RunTime(c, c.ours...)
	ours, packets := (n-ourNs)/(k-ourRuns), k-ourRuns
	n, k = RunTime(c, c.empty...)
	empty := (n - emptyNs) / (k - emptyRuns)
	c.ReportMetric(ours, "ns/packet")
	c.ReportMetric(empty, "ns/packet-empty")
	c.ReportMetric(ours-empty, "ns/packet-over-empty")
	c.ReportMetric(packets, "packets")
	c.ReportMetric(0, "ns/op")
}

// RunTime returns how long these programs have run in ns, and how often.
func RunTime(tb testing.TB, programs ...*ebpf.Program) (ns, runs float64) {
	tb.Helper()
	for _, p := range programs {
		s, err := p.Stats()
		if err != nil {
			tb.Fatal(err)
		}
		ns += float64(s.Runtime.Nanoseconds())
		runs += float64(s.RunCount)
	}
	return ns, runs
}
