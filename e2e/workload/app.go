package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/orb8-dev/kubectl-orb8/e2e/workload/report"
)

// app is an ordinary client: each -every it resolves its server's name, makes a TCP connection for a request and sends
// a few datagrams. It continues after errors, since servers come and go, and reports only that it has started.
func app(ctx context.Context, flags *flag.FlagSet, args []string) error {
	var (
		server = flags.String("server", "", "name or address of the server")
		tcp    = flags.Uint("tcp", 0, "its TCP port; 0: none")
		udp    = flags.Uint("udp", 0, "its UDP port; 0: none")
		send   = flags.Uint64("send", 400, "bytes of a request")
		recv   = flags.Uint64("recv", 6000, "bytes of its answer")
		every  = flags.Duration("every", 200*time.Millisecond, "time between two rounds")
		wait   = flags.Duration("timeout", 10*time.Second, "how long it waits for a connection")
	)
	if err := flags.Parse(args); err != nil {
		return err
	}
	round := func() error {
		addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", *server)
		if err != nil {
			return err
		}
		addr := addrs[0].Unmap()
		if *tcp != 0 {
			waiting, cancel := context.WithTimeout(ctx, *wait)
			c, err := dial(waiting, netip.AddrPortFrom(addr, uint16(*tcp)).String())
			cancel()
			if err != nil {
				return err
			}
			defer func() { _ = c.Close() }()
			resume := make(chan struct{})
			close(resume)
			if _, err := exchange(ctx, c, order{kind: orderExchange, total: *send, answer: *recv}, false,
				resume); err != nil {
				return err
			}
		}
		if *udp != 0 {
			_, err = exchangeDatagrams(ctx, netip.AddrPortFrom(addr, uint16(*udp)), order{total: 3, answer: 60}, 200, 0,
				true)
		}
		return err
	}
	printReport(report.Report{Kind: report.Listening})
	tick := time.NewTicker(*every)
	defer tick.Stop()
	for {
		if err := round(); err != nil && ctx.Err() == nil {
			fmt.Fprintln(os.Stderr, "workload:", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
