package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/orb8-dev/kubectl-orb8/e2e/workload/report"
)

// tcpClient makes connections that send exactly -send bytes and receive exactly -recv bytes.
func tcpClient(ctx context.Context, flags *flag.FlagSet, args []string) error {
	var (
		to       = flags.String("to", "", "address and port")
		conns    = flags.Int("conns", 1, "connections to make")
		parallel = flags.Int("parallel", 1, "connections at a time")
		send     = flags.Uint64("send", 1000, "bytes to send on each")
		recv     = flags.Uint64("recv", 1000, "bytes to receive on each")
		pause    = flags.Duration("pause", 0, "time between the starts of two connections")
		closer   = flags.String("close", "client", "who closes first: client or server")
		hold     = flags.Bool("hold", false, "stop halfway until a line arrives on stdin")
		mptcp    = flags.Bool("mptcp", false, "ask for MPTCP")
		run      = flags.Uint64("run", 0, "number to mark the traffic with")
	)
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *send < orderSize {
		return fmt.Errorf("-send must be %d at least", orderSize)
	}
	if *closer != "client" && *closer != "server" {
		return fmt.Errorf("-close %q: want client or server", *closer)
	}
	o := order{kind: orderExchange, run: *run, total: *send, answer: *recv, serverCloses: *closer == "server"}
	dialer := net.Dialer{Timeout: 10 * time.Second}
	dialer.SetMultipathTCP(*mptcp)

	// One line resumes all connections.
	resume := make(chan struct{})
	if *hold {
		go func() {
			_, _ = io.ReadFull(os.Stdin, make([]byte, 1)) // the end of stdin resumes them, too
			close(resume)
		}()
	} else {
		close(resume)
	}

	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(*parallel)
	for i := range *conns {
		if i > 0 && *pause > 0 {
			select {
			case <-time.After(*pause):
			case <-ctx.Done():
			}
		}
		group.Go(func() error {
			c, err := dialer.DialContext(ctx, "tcp", *to)
			if err != nil {
				return err
			}
			defer c.Close()
			r, err := exchange(ctx, c.(*net.TCPConn), o, *hold, resume)
			if err == nil {
				printReport(r)
			}
			return err
		})
	}
	return group.Wait()
}

// exchange is the client's part of one connection.
func exchange(ctx context.Context, c *net.TCPConn, o order, hold bool, resume <-chan struct{}) (report.Report, error) {
	stop := interruptOnDone(ctx, c)
	defer stop()
	r := report.Report{Kind: report.Conversation, Side: "client", Protocol: "tcp", Run: o.run, Start: time.Now()}
	r.Local, r.Remote = addrPort(c.LocalAddr()), addrPort(c.RemoteAddr())

	type result struct {
		n   int64
		err error
	}
	received := make(chan result, 1)
	go func() {
		n, err := io.CopyN(io.Discard, c, int64(o.answer))
		received <- result{n, err}
	}()

	// One write has the order and the bytes behind it, so that the segments are those of an ordinary client.
	w := &payload{head: o.encode(), left: o.total}
	if hold {
		n, err := io.CopyN(c, w, int64(max(o.total/2, orderSize)))
		r.BytesSent += uint64(n)
		if err != nil {
			return r, fmt.Errorf("send: %w", err)
		}
		holding := r
		holding.Kind = report.Holding
		printReport(holding)
		select {
		case <-resume:
		case <-ctx.Done():
			return r, ctx.Err()
		}
	}
	n, err := io.Copy(c, w)
	r.BytesSent += uint64(n)
	if err != nil {
		return r, fmt.Errorf("send: %w", err)
	}
	got := <-received
	r.BytesReceived = uint64(got.n)
	if got.err != nil {
		return r, fmt.Errorf("receive: %w", got.err)
	}
	r.TCP, err = finish(ctx, c, !o.serverCloses)
	r.End = time.Now()
	return r, err
}

// finish closes both directions, this end first or second, and returns the kernel's final counters.
func finish(ctx context.Context, c *net.TCPConn, first bool) (*report.TCPInfo, error) {
	if first {
		if err := c.CloseWrite(); err != nil {
			return nil, fmt.Errorf("close: %w", err)
		}
	}
	n, err := io.Copy(io.Discard, c)
	if err != nil {
		return nil, fmt.Errorf("wait for the other end to close: %w", err)
	}
	if n != 0 {
		return nil, fmt.Errorf("the other end sent %d bytes more than agreed", n)
	}
	if !first {
		if err := c.CloseWrite(); err != nil {
			return nil, fmt.Errorf("close: %w", err)
		}
	}
	return finalInfo(ctx, c)
}

// payload is a stream of left bytes that starts with head.
type payload struct {
	head []byte
	left uint64
}

func (p *payload) Read(b []byte) (int, error) {
	if p.left == 0 {
		return 0, io.EOF
	}
	n := int(min(uint64(len(b)), p.left))
	clear(b[copy(b[:n], p.head):n])
	p.head = p.head[min(n, len(p.head)):]
	p.left -= uint64(n)
	return n, nil
}
