package tcp

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/orb8-dev/kubectl-orb8/bpf/bpftest"
	"github.com/orb8-dev/kubectl-orb8/bpf/scope"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// BenchmarkConnections says what the programs cost for both ends of a connection that is made, used once and closed.
func BenchmarkConnections(b *testing.B) {
	for name, in := range map[string]bool{"in scope": true, "out of scope": false} {
		b.Run(name, func(b *testing.B) {
			bpftest.Root(b)
			check := func(err error) {
				b.Helper()
				if err != nil {
					b.Fatal(err)
				}
			}
			stats, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
			check(err)
			defer stats.Close()
			s, err := scope.Open(scope.Options{CgroupRoot: bpftest.CgroupRoot(b)})
			check(err)
			bpftest.CloseAfter(b, s)
			cgroup := bpftest.NewCgroup(b, "orb8-tcp-bench")
			check(s.SetCgroup(cgroup.ID, in))
			p, err := Open(b.Context(), Options{Scope: s, Interval: time.Hour})
			check(err)
			bpftest.CloseAfter(b, p)
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan error)
			events := 0
			go func() { done <- p.Run(ctx, func(uint64, *event.Event) { events++ }) }()
			cgroup.Run(b, func() {
				var lc net.ListenConfig
				lc.SetMultipathTCP(false)
				l, err := lc.Listen(b.Context(), "tcp", "127.0.0.1:0")
				check(err)
				bpftest.CloseAfter(b, l)
				one := make([]byte, 1)
				for b.Loop() {
					c, err := net.Dial("tcp", l.Addr().String())
					check(err)
					a, err := l.Accept()
					check(err)
					_, err = c.Write(one)
					check(err)
					_, err = a.Read(one)
					check(err)
					c.Close()
					a.Close()
				}
			})
			check(p.Flush(ctx))
			cancel()
			check(<-done)
			o := &p.objects
			var ns, runs, missed float64
			for _, program := range []*ebpf.Program{o.TcpState, o.TcpReader, o.TcpGone, o.TcpResetCame, o.TcpResetSent,
				o.TcpRetransmit} {
				st, err := program.Stats()
				check(err)
				ns += float64(st.Runtime.Nanoseconds())
				runs += float64(st.RunCount)
				missed += float64(st.RecursionMisses)
			}
			b.ReportMetric(ns/float64(b.N), "bpf-ns/connection")
			b.ReportMetric(runs/float64(b.N), "runs/connection")
			b.ReportMetric(missed, "missed") // a program that interrupts itself does not run
			b.ReportMetric(float64(events)/float64(b.N), "events/connection")
			if lost := p.Lost(); len(lost) > 0 {
				b.Errorf("lost %v", lost)
			}
		})
	}
}
