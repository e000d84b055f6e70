package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/orb8-dev/kubectl-orb8/e2e/workload/report"
)

const (
	// discardPort has no listener: a datagram to it is dropped.
	discardPort = 9
	// spareFiles is the number of files left to Go's runtime below the limit of open files.
	spareFiles = 64
	// maxHold bounds how long sockets are held.
	maxHold = 2 * time.Minute
)

// sockets opens many UDP sockets or TCP connections on loopback, reports how many sockets it holds, and holds them
// until a line arrives on stdin. A process can hold as many as its limit of open files, so a flood takes several
// processes, each with an -address of its own: an address has 28,232 ephemeral ports.
func sockets(ctx context.Context, flags *flag.FlagSet, args []string) error {
	var (
		protocol = flags.String("protocol", "udp", "udp or tcp")
		count    = flags.Int("count", 10000, "sockets; a TCP connection is two")
		address  = flags.String("address", "127.0.1.1", "IPv4 address of loopback")
	)
	if err := flags.Parse(args); err != nil {
		return err
	}
	a, err := netip.ParseAddr(*address)
	if err != nil || !a.Is4() || !a.IsLoopback() {
		return fmt.Errorf("-address %q: want an IPv4 address of loopback", *address)
	}
	ctx, cancel := context.WithTimeout(ctx, maxHold)
	defer cancel()
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		return err
	}
	n := min(*count, max(int(min(files.Cur, 1<<20))-spareFiles, 0))
	r := report.Report{Kind: report.Holding, Side: "client", Protocol: *protocol, Start: time.Now()}
	switch *protocol {
	case "udp":
		r.Sockets, err = holdDatagramSockets(a, n)
	case "tcp":
		r.Sockets, err = holdConnections(a, n)
	default:
		err = fmt.Errorf("-protocol %q: want udp or tcp", *protocol)
	}
	if err != nil {
		return err
	}
	printReport(r)
	return awaitLine(ctx)
}

// holdDatagramSockets opens n UDP sockets and sends a datagram from each to a port without a listener.
func holdDatagramSockets(address netip.Addr, n int) (held uint64, err error) {
	local := &unix.SockaddrInet4{Addr: address.As4()}
	remote := &unix.SockaddrInet4{Addr: address.As4(), Port: discardPort}
	for range n {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return held, os.NewSyscallError("socket", err)
		}
		if err := errors.Join(unix.Bind(fd, local), unix.Sendto(fd, []byte{0}, 0, remote)); err != nil {
			return held, fmt.Errorf("UDP socket %d: %w", held, err)
		}
		held++
	}
	return held, nil
}

// holdConnections opens both ends of n/2 TCP connections.
func holdConnections(address netip.Addr, n int) (held uint64, err error) {
	listener, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, os.NewSyscallError("socket", err)
	}
	local := &unix.SockaddrInet4{Addr: address.As4()}
	if err := errors.Join(unix.Bind(listener, local), unix.Listen(listener, 16)); err != nil {
		return 0, err
	}
	to, err := unix.Getsockname(listener)
	if err != nil {
		return 0, os.NewSyscallError("getsockname", err)
	}
	for range n / 2 {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return held, os.NewSyscallError("socket", err)
		}
		if err := unix.Connect(fd, to); err != nil {
			return held, fmt.Errorf("TCP connection %d: %w", held/2, err)
		}
		if _, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC); err != nil {
			return held, os.NewSyscallError("accept", err)
		}
		held += 2
	}
	return held, nil
}

// spray sends one datagram to each of many ports of an address from each of a few unconnected UDP sockets: each is a
// flow. Then it reports, and holds the sockets until a line arrives on stdin.
func spray(ctx context.Context, flags *flag.FlagSet, args []string) error {
	var (
		to    = flags.String("to", "::1", "address")
		count = flags.Int("sockets", 3, "sockets")
		ports = flags.Int("ports", 60000, "ports")
	)
	if err := flags.Parse(args); err != nil {
		return err
	}
	address, err := netip.ParseAddr(*to)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, maxHold)
	defer cancel()
	r := report.Report{Kind: report.Holding, Side: "client", Protocol: "udp", Start: time.Now()}
	for range min(*count, 64) {
		c, err := udpSocket(netip.AddrPortFrom(address, discardPort), false)
		if err != nil {
			return err
		}
		defer func() { _ = c.Close() }()
		r.Sockets++
		for port := 1; port <= min(*ports, math.MaxUint16) && ctx.Err() == nil; port++ {
			if _, err := c.WriteToUDPAddrPort([]byte{0}, netip.AddrPortFrom(address, uint16(port))); err == nil {
				r.DatagramsSent++
			}
		}
	}
	printReport(r)
	return awaitLine(ctx)
}
