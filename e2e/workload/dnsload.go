package main

import (
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"net"
	"slices"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sync/errgroup"

	"github.com/orb8-dev/kubectl-orb8/e2e/workload/report"
)

// dnsLoad repeats a query for one name by UDP on -sockets sockets, with one query outstanding on each, as fast as
// possible or -rate times a second, and reports the latencies. A query without an answer within a second is an error.
func dnsLoad(ctx context.Context, flags *flag.FlagSet, args []string) error {
	var (
		to       = flags.String("to", "", "address and port of the server")
		name     = flags.String("name", "", "name to query")
		sockets  = flags.Int("sockets", 16, "sockets")
		rate     = flags.Float64("rate", 0, "queries a second, on all sockets together; 0: no limit")
		duration = flags.Duration("for", 5*time.Second, "how long")
	)
	if err := flags.Parse(args); err != nil {
		return err
	}
	n, err := dnsmessage.NewName(*name)
	if err != nil {
		return err
	}
	q := dnsmessage.Message{
		Header:    dnsmessage.Header{RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: n, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}},
	}
	packed, err := q.Pack()
	if err != nil {
		return err
	}
	latencies := make([][]time.Duration, *sockets)
	start := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	for i := range *sockets {
		group.Go(func() error {
			c, err := net.Dial("udp", *to)
			if err != nil {
				return err
			}
			defer c.Close()
			query, answer := slices.Clone(packed), make([]byte, 4096)
			for id := 0; ctx.Err() == nil && time.Since(start) < *duration; id++ {
				if *rate > 0 {
					// The queries of all sockets are spread evenly.
					time.Sleep(time.Until(start.Add(time.Duration(float64(id**sockets+i) /
						*rate * float64(time.Second)))))
				}
				binary.BigEndian.PutUint16(query, uint16(id))
				sent := time.Now()
				if err := c.SetReadDeadline(sent.Add(time.Second)); err != nil {
					return err
				}
				if _, err := c.Write(query); err != nil {
					return err
				}
				size, err := c.Read(answer)
				if err != nil {
					return err
				}
				if size < 12 || binary.BigEndian.Uint16(answer) != uint16(id) || answer[3]&0xf != 0 {
					return fmt.Errorf("query %d for %s was answered %x", id, *name, answer[:size])
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
	printReport(report.Report{
		Kind: report.Load, Side: "client", Protocol: "udp", Name: *name, Start: start, End: start.Add(elapsed),
		DatagramsSent: uint64(len(all)), DatagramsReceived: uint64(len(all)),
		Performance: &report.Performance{
			Requests: uint64(len(all)), P50: quantile(all, 0.5), P90: quantile(all, 0.9), P99: quantile(all, 0.99),
			Max: quantile(all, 1),
		},
	})
	return nil
}
