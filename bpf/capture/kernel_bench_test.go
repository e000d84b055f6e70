package capture

import (
	"context"
	"net"
	"testing"

	"golang.org/x/net/bpf"

	"github.com/orb8-dev/kubectl-orb8/bpf/bpftest"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// BenchmarkKernelPacket measures what one packet of 200 bytes costs, by the kernel's own count of run time: copied,
// refused by a filter, and out of scope.
func BenchmarkKernelPacket(b *testing.B) {
	none, err := bpf.Assemble([]bpf.Instruction{bpf.RetConstant{Val: 0}})
	if err != nil {
		b.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		o      Options
		scoped bool
	}{
		{"copied", Options{}, true},
		{"cut to 64 bytes", Options{SnapLength: 64}, true},
		{"refused by the filter", Options{Filter: none}, true},
		{"out of scope", Options{}, false},
	} {
		b.Run(test.name, func(b *testing.B) {
			bpftest.CountRunTime(b)
			probe, group := attach(b, test.o)
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan error, 1)
			go func() { done <- probe.Run(ctx, func(uint64, *event.Event) {}) }()
			b.Cleanup(func() {
				cancel()
				if err := <-done; err != nil {
					b.Error(err)
				}
			})
			cost := bpftest.NewCost(b, bpftest.CgroupRoot(b), probe.objects.CaptureIn, probe.objects.CaptureOut)
			send := func() { sendMany(b, 200_000) }
			cost.Measure(func() {
				if test.scoped {
					group.Run(b, send)
				} else {
					send()
				}
			})
			if lost := probe.Lost(); len(lost) > 0 {
				b.Logf("lost: %v", lost)
			}
		})
	}
}

// sendMany sends datagrams on one connected socket, each a packet of 200 bytes, to one that nobody reads.
func sendMany(b *testing.B, n int) {
	b.Helper()
	server, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	bpftest.CloseAfter(b, server)
	client, err := net.Dial("udp4", server.LocalAddr().String())
	if err != nil {
		b.Fatal(err)
	}
	bpftest.CloseAfter(b, client)
	payload := make([]byte, 200-20-8)
	for range n {
		if _, err := client.Write(payload); err != nil {
			b.Fatal(err)
		}
	}
}
