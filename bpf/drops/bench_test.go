package drops

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/orb8-dev/kubectl-orb8/bpf/bpftest"
	"github.com/orb8-dev/kubectl-orb8/bpf/scope"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// BenchmarkKernelDrop measures what one dropped packet costs, by the kernel's own count of run time.
func BenchmarkKernelDrop(b *testing.B) {
	for _, name := range []string{"in-scope", "out-of-scope"} {
		b.Run(name, func(b *testing.B) {
			probe := openForBenchmark(b)
			to := netip.MustParseAddrPort("127.0.0.7:9")
			if name == "in-scope" {
				if err := probe.SetAddresses(map[netip.Addr]uint64{to.Addr(): 1}); err != nil {
					b.Fatal(err)
				}
			}
			c, err := net.ListenUDP("udp4", nil) // not connected, so that it gets no errors
			if err != nil {
				b.Fatal(err)
			}
			bpftest.CloseAfter(b, c)
			payload := make([]byte, 100)
			before, err := probe.objects.DropsKfreeSkb.Stats()
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if _, err := c.WriteToUDPAddrPort(payload, to); err != nil {
					b.Fatal(err)
				}
			}
			after, err := probe.objects.DropsKfreeSkb.Stats()
			if err != nil {
				b.Fatal(err)
			}
			runs := float64(after.RunCount - before.RunCount)
			b.ReportMetric(float64((after.Runtime-before.Runtime).Nanoseconds())/runs, "ns/drop")
			b.ReportMetric(runs, "drops")
		})
	}
}

func openForBenchmark(b *testing.B) *Probe {
	b.Helper()
	bpftest.Root(b)
	stats, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { stats.Close() })
	s, err := scope.Open(scope.Options{CgroupRoot: bpftest.CgroupRoot(b)})
	if err != nil {
		b.Fatal(err)
	}
	bpftest.CloseAfter(b, s)
	probe, err := Open(b.Context(), Options{Scope: s, Interval: time.Hour})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- probe.Run(ctx, func(uint64, *event.Event) {}) }()
	b.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
		if err := probe.Close(); err != nil {
			b.Error(err)
		}
	})
	return probe
}
