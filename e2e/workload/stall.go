package main

import (
	"context"
	"flag"
	"io"
	"net"
	"time"

	"github.com/orb8-dev/kubectl-orb8/e2e/workload/report"
)

// stall sends most of a DNS message over each of many TCP connections, but never its end, to a sink of its own. The DNS
// probe has to buffer the messages.
func stall(ctx context.Context, flags *flag.FlagSet, args []string) error {
	var (
		conns = flags.Int("conns", 2000, "connections")
		limit = flags.Duration("for", 5*time.Second, "how long, at most 30 s")
	)
	if err := flags.Parse(args); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, min(*limit, maxFlood))
	defer cancel()
	l, err := net.Listen("tcp", "127.0.0.1:53")
	if err != nil {
		return err
	}
	closeOnDone(ctx, l)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(io.Discard, c) // ends with the connection
				c.Close()
			}()
		}
	}()
	part := make([]byte, 60000)
	part[0], part[1] = 0xff, 0xff // a message of 65,535 bytes
	r := report.Report{Kind: report.Conversation, Side: "client", Protocol: "tcp", Start: time.Now()}
	for range *conns {
		c, err := net.Dial("tcp", l.Addr().String())
		if err == nil {
			defer c.Close()
			var n int
			n, err = c.Write(part)
			r.BytesSent += uint64(n)
		}
		if ctx.Err() != nil {
			break // the sink closes, and resets what it has not accepted
		}
		if err != nil {
			return err
		}
	}
	<-ctx.Done()
	printReport(r)
	return nil
}
