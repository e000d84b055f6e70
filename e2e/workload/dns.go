package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/orb8-dev/kubectl-orb8/e2e/workload/report"
)

// dnsClient resolves a name -count times with Go's resolver and the pod's resolv.conf, and reports each query: the
// resolver opens a socket for each.
func dnsClient(ctx context.Context, flags *flag.FlagSet, args []string) error {
	name := flags.String("name", "", "name to look up")
	count := flags.Int("count", 1, "how many times")
	network := flags.String("network", "ip", "ip4: A, ip6: AAAA, ip: both")
	missing := flags.Bool("missing", false, "want NXDOMAIN")
	run := flags.Uint64("run", 0, "number to mark the traffic with")
	if err := flags.Parse(args); err != nil {
		return err
	}
	resolver := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, address string) (net.Conn,
		error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if u, ok := c.(*net.UDPConn); ok {
			return &query{UDPConn: u, report: report.Report{Kind: report.Conversation, Side: "client", Protocol: "udp",
				Run: *run, Start: time.Now()}}, err
		}
		return c, err
	}}
	for range *count {
		_, err := resolver.LookupNetIP(ctx, *network, *name)
		if gone := (*net.DNSError)(nil); *missing && errors.As(err, &gone) && gone.IsNotFound {
			continue
		}
		if err != nil || *missing {
			return fmt.Errorf("lookup %s: %w", *name, err)
		}
	}
	return nil
}

// query is a resolver's socket that counts its datagrams.
type query struct {
	*net.UDPConn
	mu     sync.Mutex
	report report.Report
}

func (q *query) Write(b []byte) (int, error) {
	n, err := q.UDPConn.Write(b)
	if err == nil {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.report.DatagramsSent++
		q.report.BytesSent += uint64(n)
	}
	return n, err
}

func (q *query) Read(b []byte) (int, error) {
	n, err := q.UDPConn.Read(b)
	if err == nil {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.report.DatagramsReceived++
		q.report.BytesReceived += uint64(n)
	}
	return n, err
}

func (q *query) Close() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.report.Local, q.report.Remote = addrPort(q.LocalAddr()), addrPort(q.RemoteAddr())
	q.report.End = time.Now()
	printReport(q.report)
	return q.UDPConn.Close()
}
