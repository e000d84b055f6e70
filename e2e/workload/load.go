package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/orb8-dev/kubectl-orb8/e2e/workload/report"
)

// loadClient sends requests on -conns connections, one outstanding on each, and reports their latencies.
func loadClient(ctx context.Context, flags *flag.FlagSet, args []string) error {
	var (
		to       = flags.String("to", "", "address and port")
		conns    = flags.Int("conns", 8, "connections")
		duration = flags.Duration("for", 5*time.Second, "how long")
		request  = flags.Uint64("request", 128, "bytes in a request")
		answer   = flags.Uint64("answer", 1024, "bytes in an answer")
	)
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *request < orderSize {
		return fmt.Errorf("-request must be %d at least", orderSize)
	}
	latencies := make([][]time.Duration, *conns)
	start := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	for i := range *conns {
		group.Go(func() error {
			c, err := dial(ctx, *to)
			if err != nil {
				return err
			}
			defer func() { _ = c.Close() }()
			out, in := make([]byte, *request), make([]byte, *answer)
			copy(out, order{kind: orderRequests, total: *request, answer: *answer}.encode())
			for ctx.Err() == nil && time.Since(start) < *duration {
				sent := time.Now()
				if _, err := c.Write(out); err != nil {
					return err
				}
				if _, err := io.ReadFull(c, in); err != nil {
					return err
				}
				latencies[i] = append(latencies[i], time.Since(sent))
			}
			return ctx.Err()
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	elapsed := time.Since(start)
	all := slices.Concat(latencies...)
	slices.Sort(all)
	n := uint64(len(all))
	printReport(report.Report{
		Kind: report.Load, Side: "client", Protocol: "tcp", Start: start, End: start.Add(elapsed),
		BytesSent: n * *request, BytesReceived: n * *answer,
		Performance: &report.Performance{
			Requests: n, BytesPerSecond: float64(n*(*request+*answer)) / elapsed.Seconds(),
			P50: quantile(all, 0.5), P90: quantile(all, 0.9), P99: quantile(all, 0.99), Max: quantile(all, 1),
		},
	})
	return nil
}

// quantile returns the nearest-rank q-quantile of sorted durations, in µs.
func quantile(sorted []time.Duration, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	i := min(int(q*float64(len(sorted))), len(sorted)-1)
	return float64(sorted[i]) / float64(time.Microsecond)
}

// bulkClient sends one stream as fast as possible.
func bulkClient(ctx context.Context, flags *flag.FlagSet, args []string) error {
	to := flags.String("to", "", "address and port")
	duration := flags.Duration("for", 5*time.Second, "how long")
	chunk := flags.Uint64("chunk", 256<<10, "bytes in one write")
	if err := flags.Parse(args); err != nil {
		return err
	}
	c, err := dial(ctx, *to)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	stop := interruptOnDone(ctx, c)
	defer stop()
	b := make([]byte, *chunk)
	r := report.Report{Kind: report.Load, Side: "client", Protocol: "tcp", Start: time.Now()}
	r.Local, r.Remote = addrPort(c.LocalAddr()), addrPort(c.RemoteAddr())
	copy(b, order{kind: orderSink}.encode())
	for time.Since(r.Start) < *duration {
		n, err := c.Write(b)
		r.BytesSent += uint64(n)
		if err != nil {
			return err
		}
	}
	// The server reads to the end and closes: the time includes the arrival of the last byte.
	if r.TCP, err = finish(ctx, c, true); err != nil {
		return err
	}
	r.End = time.Now()
	r.Performance = &report.Performance{BytesPerSecond: float64(r.BytesSent) / r.End.Sub(r.Start).Seconds()}
	printReport(r)
	return nil
}

// flowsClient keeps -flows connections open and sends a byte on each once in -every, so that every connection changes
// between two scans of a tracer. -to may be a range of ports, where one port has too few source ports.
func flowsClient(ctx context.Context, flags *flag.FlagSet, args []string) error {
	var (
		to       = flags.String("to", "", "address and port, or ports FROM-TO")
		n        = flags.Int("flows", 1000, "connections")
		duration = flags.Duration("for", 10*time.Second, "how long, once all are open")
		every    = flags.Duration("every", time.Second, "time between two messages on one connection")
	)
	if err := flags.Parse(args); err != nil {
		return err
	}
	addrs, err := ports(*to)
	if err != nil {
		return err
	}
	if len(addrs) == 0 {
		return errors.New("-to is needed")
	}
	conns := make([]*net.TCPConn, *n)
	defer func() {
		for _, c := range conns {
			if c != nil {
				_ = c.Close()
			}
		}
	}()
	message := order{kind: orderSink}.encode()
	r := report.Report{Kind: report.Load, Side: "client", Protocol: "tcp", Performance: &report.Performance{}}
	for i := range conns {
		if conns[i], err = dial(ctx, addrs[i%len(addrs)]); err != nil {
			return fmt.Errorf("connection %d: %w", i+1, err)
		}
		if _, err := conns[i].Write(message); err != nil {
			return err
		}
		r.BytesSent += uint64(len(message))
	}
	printReport(report.Report{Kind: report.Holding, Side: "client", Protocol: "tcp"})
	r.Start = time.Now()
	tick := time.NewTicker(*every)
	defer tick.Stop()
	for time.Since(r.Start) < *duration {
		for _, c := range conns {
			if _, err := c.Write(message[:1]); err != nil {
				return err
			}
			r.BytesSent++
			r.Performance.Requests++
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	r.End = time.Now()
	printReport(r)
	return nil
}

func dial(ctx context.Context, to string) (*net.TCPConn, error) {
	d := net.Dialer{Timeout: 10 * time.Second}
	d.SetMultipathTCP(false)
	c, err := d.DialContext(ctx, "tcp", to)
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}
