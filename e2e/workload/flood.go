package main

import (
	"context"
	"flag"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"

	"github.com/orb8-dev/kubectl-orb8/e2e/workload/report"
)

// maxFlood bounds the length of a flood, so that none is left running.
const maxFlood = 30 * time.Second

// flood opens UDP sockets as fast as possible, sends one datagram from each and closes it: each is a flow of its own.
func flood(ctx context.Context, flags *flag.FlagSet, args []string) error {
	var (
		to      = flags.String("to", "", "IPv4 address and port")
		threads = flags.Int("threads", 2, "threads")
		dns     = flags.Bool("dns", false, "send DNS queries with long names")
		limit   = flags.Duration("for", 5*time.Second, "how long, at most 30 s")
	)
	if err := flags.Parse(args); err != nil {
		return err
	}
	remote, err := netip.ParseAddrPort(*to)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, min(*limit, maxFlood))
	defer cancel()
	r := report.Report{Kind: report.Conversation, Side: "client", Protocol: "udp", Remote: remote, Start: time.Now()}
	payload := []byte{0}
	if *dns {
		if payload, err = longQuery(); err != nil {
			return err
		}
	}
	sa := &unix.SockaddrInet4{Port: int(remote.Port()), Addr: remote.Addr().As4()}
	var sent atomic.Uint64
	var work sync.WaitGroup
	for range *threads {
		work.Go(func() {
			for ctx.Err() == nil {
				fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
				if err != nil {
					continue // out of memory or of files: the other thread closes its socket
				}
				if unix.Sendto(fd, payload, 0, sa) == nil {
					sent.Add(1)
				}
				_ = unix.Close(fd) // the datagram is sent
			}
		})
	}
	work.Wait()
	r.DatagramsSent, r.BytesSent = sent.Load(), sent.Load()*uint64(len(payload))
	printReport(r)
	return nil
}

// longQuery packs a DNS query for a name of 250 bytes.
func longQuery() ([]byte, error) {
	name, err := dnsmessage.NewName(strings.Repeat(strings.Repeat("x", 49)+".", 5))
	if err != nil {
		return nil, err
	}
	q := dnsmessage.Message{Questions: []dnsmessage.Question{{Name: name, Type: dnsmessage.TypeA,
		Class: dnsmessage.ClassINET}}}
	return q.Pack()
}
