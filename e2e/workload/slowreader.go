package main

import (
	"context"
	"errors"
	"flag"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/orb8-dev/kubectl-orb8/e2e/workload/report"
)

// slowReader opens a UDP socket with a small receive buffer and reads nothing until a line arrives on stdin. Then it
// reads and reports the datagrams that the socket holds.
func slowReader(ctx context.Context, flags *flag.FlagSet, args []string) error {
	var (
		listen = flags.String("listen", "", "address and port of UDP")
		buffer = flags.Int("buffer", 4096, "bytes of receive buffer")
	)
	if err := flags.Parse(args); err != nil {
		return err
	}
	address, err := net.ResolveUDPAddr("udp", *listen)
	if err != nil {
		return err
	}
	c, err := net.ListenUDP("udp", address)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	if err := c.SetReadBuffer(*buffer); err != nil {
		return err
	}
	r := report.Report{Kind: report.Listening, Side: "server", Protocol: "udp", Start: time.Now()}
	r.Local = addrPort(c.LocalAddr())
	printReport(r)
	if err := awaitLine(ctx); err != nil {
		return err
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	buf := make([]byte, maxDatagram)
	if e := raw.Read(func(fd uintptr) bool {
		for {
			n, _, errno := unix.Recvfrom(int(fd), buf, unix.MSG_DONTWAIT)
			if errno != nil {
				err = errno
				return true
			}
			r.DatagramsReceived++
			r.BytesReceived += uint64(n)
		}
	}); e != nil {
		return e
	}
	if !errors.Is(err, unix.EAGAIN) {
		return err
	}
	r.Kind, r.End = report.Conversation, time.Now()
	printReport(r)
	return nil
}

// awaitLine waits for a line on stdin.
func awaitLine(ctx context.Context) error {
	read := make(chan error, 1)
	go func() {
		_, err := io.ReadFull(os.Stdin, make([]byte, 1))
		read <- err
	}()
	select {
	case err := <-read:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
