package flows

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/orb8-dev/kubectl-orb8/bpf/bpftest"
)

// BenchmarkKernelScan measures one scan over many live TCP sockets: of which none has news, and of which all have.
func BenchmarkKernelScan(b *testing.B) {
	for _, sockets := range []int{10_000, 100_000} {
		b.Run(fmt.Sprintf("%d-sockets", sockets), func(b *testing.B) {
			r := newRig(b, true, Options{RingBytes: 1 << 26})
			crowd := newCrowd(r, sockets/2)
			w := &scanner{probe: r.probe}
			check(b, r.probe.Flush(b.Context()))
			for _, news := range []bool{false, true} {
				name := "no-news"
				if news {
					name = "all-news"
				}
				b.Run(name, func(b *testing.B) { scanCrowd(b, w, crowd, news) })
			}
			if lost := r.probe.Lost(); len(lost) > 0 {
				b.Logf("lost: %v", lost)
			}
		})
	}
}

func scanCrowd(b *testing.B, w *scanner, crowd *crowd, news bool) {
	// Let what is settled count as settled, as it does a second later.
	for range 2 {
		check(b, w.scan())
	}
	var cpu time.Duration
	b.ResetTimer()
	for range b.N {
		b.StopTimer()
		if news {
			crowd.talk(b)
		}
		b.StartTimer()
		cost, err := cpuTime(w.scan)
		b.StopTimer()
		check(b, err)
		cpu += cost
		check(b, w.probe.Flush(b.Context()))
	}
	each := cpu / time.Duration(b.N)
	b.ReportMetric(float64(each.Microseconds())/1e3, "cpu-ms/scan")
	b.ReportMetric(100*each.Seconds(), "%core-at-1s")
}

// crowd is processes that hold connections among themselves, as many as one may have open files for.
type crowd struct {
	stdin  []io.Writer
	stdout []*bufio.Reader
}

// perProcess connections need twice as many open files, of which even a hard limit most often allows so many.
const perProcess = 5000

func newCrowd(r *rig, connections int) *crowd {
	r.Helper()
	c := new(crowd)
	for i := 0; i*perProcess < connections; i++ {
		cmd := bpftest.Child(r, "hold-connections", r.cgroup)
		cmd.Env = append(cmd.Env, fmt.Sprintf("ORB8_FLOWS_HOLD=%d 127.0.1.%d",
			min(perProcess, connections-i*perProcess), i+1))
		cmd.Stderr = os.Stderr
		in, err := cmd.StdinPipe()
		check(r, err)
		out, err := cmd.StdoutPipe()
		check(r, err)
		check(r, cmd.Start())
		r.Cleanup(func() {
			in.Close()
			check(r, cmd.Wait())
		})
		c.stdin, c.stdout = append(c.stdin, in), append(c.stdout, bufio.NewReader(out))
	}
	c.wait(r)
	return c
}

// talk has a byte sent on every connection.
func (c *crowd) talk(tb testing.TB) {
	tb.Helper()
	for _, in := range c.stdin {
		_, err := io.WriteString(in, "talk\n")
		check(tb, err)
	}
	c.wait(tb)
}

func (c *crowd) wait(tb testing.TB) {
	tb.Helper()
	for _, out := range c.stdout {
		_, err := out.ReadString('\n')
		check(tb, err)
	}
}

// holdConnections is a process of the crowd: says so when its connections are open, and sends a byte on each for
// every line that it reads, until there are no more.
func holdConnections() error {
	var (
		n       int
		address string
	)
	if _, err := fmt.Sscan(os.Getenv("ORB8_FLOWS_HOLD"), &n, &address); err != nil {
		return err
	}
	var a [4]byte
	if _, err := fmt.Sscanf(address, "%d.%d.%d.%d", &a[0], &a[1], &a[2], &a[3]); err != nil {
		return err
	}
	l, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	if err := unix.Bind(l, &unix.SockaddrInet4{Addr: a}); err != nil {
		return err
	}
	if err := unix.Listen(l, 1024); err != nil {
		return err
	}
	to, err := unix.Getsockname(l)
	if err != nil {
		return err
	}
	clients := make([]int, n)
	for i := range clients {
		if clients[i], err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0); err != nil {
			return err
		}
		if err := unix.Connect(clients[i], to); err != nil {
			return err
		}
		if _, _, err := unix.Accept(l); err != nil {
			return err
		}
	}
	fmt.Println("ready")
	for s := bufio.NewScanner(os.Stdin); s.Scan(); {
		for _, c := range clients {
			if _, err := unix.Write(c, []byte{0}); err != nil {
				return err
			}
		}
		fmt.Println("done")
	}
	return nil
}
