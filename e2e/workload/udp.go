package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/orb8-dev/kubectl-orb8/e2e/workload/report"
)

// maxDatagram is the largest payload that IPv4 can carry.
const maxDatagram = 65507

// udpClient sends -count datagrams of -size bytes from each socket. With -reply it waits for the answer to each before
// the next, so that none is lost in a full buffer; without, the receiver's buffer must have room for all, or -rate
// limits the datagrams a second.
func udpClient(ctx context.Context, flags *flag.FlagSet, args []string) error {
	var (
		to        = flags.String("to", "", "address and port")
		count     = flags.Uint64("count", 1, "datagrams to send")
		size      = flags.Uint64("size", 100, "bytes in each")
		reply     = flags.Uint64("reply", 0, "bytes in the answer to each; 0: none")
		rate      = flags.Int("rate", 0, "datagrams a second, in bursts of a millisecond; 0: no limit")
		sockets   = flags.Int("sockets", 1, "sockets to do all this from, one after the other")
		connected = flags.Bool("connected", false, "connect the socket")
		run       = flags.Uint64("run", 0, "number to mark the traffic with")
	)
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *size < orderSize || *size > maxDatagram || *reply > maxDatagram {
		return fmt.Errorf("-size must be %d to %d, and -reply no more", orderSize, maxDatagram)
	}
	remote, err := netip.ParseAddrPort(*to)
	if err != nil {
		return err
	}
	o := order{run: *run, total: *count, answer: *reply}
	for range *sockets {
		r, err := exchangeDatagrams(ctx, remote, o, *size, *rate, *connected)
		if err != nil {
			return err
		}
		printReport(r)
	}
	return nil
}

// exchangeDatagrams is the client's part: o.total datagrams of size bytes, rate a second (see pace).
func exchangeDatagrams(
	ctx context.Context, remote netip.AddrPort, o order, size uint64, rate int, connected bool,
) (report.Report, error) {
	r := report.Report{Kind: report.Conversation, Side: "client", Protocol: "udp", Run: o.run, Remote: remote,
		Start: time.Now()}
	c, err := udpSocket(remote, connected)
	if err != nil {
		return r, err
	}
	defer func() { _ = c.Close() }()
	stop := interruptOnDone(ctx, c)
	defer stop()

	datagram := make([]byte, size)
	copy(datagram, o.encode())
	answer := make([]byte, maxDatagram)
	for i := range o.total {
		if connected {
			_, err = c.Write(datagram)
		} else {
			_, err = c.WriteToUDPAddrPort(datagram, remote)
		}
		if err != nil {
			return r, fmt.Errorf("send: %w", err)
		}
		r.DatagramsSent++
		r.BytesSent += size
		pace(r.Start, int(i), rate)
		if o.answer == 0 {
			continue
		}
		if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			return r, err
		}
		n, _, err := c.ReadFromUDPAddrPort(answer)
		if err != nil {
			return r, fmt.Errorf("answer %d: %w", r.DatagramsReceived+1, err)
		}
		r.DatagramsReceived++
		r.BytesReceived += uint64(n)
	}
	r.Local = addrPort(c.LocalAddr())
	r.End = time.Now()
	return r, nil
}

func udpSocket(remote netip.AddrPort, connected bool) (*net.UDPConn, error) {
	network := "udp4"
	if remote.Addr().Is6() {
		network = "udp6"
	}
	if connected {
		return net.DialUDP(network, nil, net.UDPAddrFromAddrPort(remote))
	}
	return net.ListenUDP(network, nil)
}

// datagrams answers until ctx ends. It reports a conversation when as many datagrams have arrived as its order
// announces.
func (s *server) datagrams(ctx context.Context, c *net.UDPConn) error {
	defer func() { _ = c.Close() }()
	stop := interruptOnDone(ctx, c)
	defer stop()
	type key struct {
		remote netip.AddrPort
		run    uint64
	}
	open := map[key]*report.Report{}
	b, answer := make([]byte, maxDatagram), make([]byte, maxDatagram)
	for {
		n, remote, err := c.ReadFromUDPAddrPort(b)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		o, err := parseOrder(b[:n])
		if err != nil {
			continue // not from the workload
		}
		k := key{remote, o.run}
		r := open[k]
		if r == nil {
			r = &report.Report{Kind: report.Conversation, Side: "server", Protocol: "udp", Run: o.run,
				Start: time.Now()}
			r.Local, r.Remote = addrPort(c.LocalAddr()), netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port())
			open[k] = r
		}
		r.DatagramsReceived++
		r.BytesReceived += uint64(n)
		if o.answer > 0 {
			n, err := c.WriteToUDPAddrPort(answer[:min(o.answer, maxDatagram)], remote)
			if err != nil {
				r.Error = err.Error()
			} else {
				r.DatagramsSent++
				r.BytesSent += uint64(n)
			}
		}
		if r.DatagramsReceived == o.total {
			delete(open, k)
			r.End = time.Now()
			if !s.quiet {
				printReport(*r)
			}
		}
	}
}
