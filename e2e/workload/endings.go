package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/orb8-dev/kubectl-orb8/e2e/workload/report"
)

// The ways in which an end closes its connection.
const (
	endClose = "close" // close(2), with a FIN unless bytes are unread
	endReset = "reset" // close(2) with SO_LINGER 0
	endWait  = "wait"  // close(2) when the other end has ended it
)

// connect makes one connection, or tries to, and closes it as -end selects. It reports an error of the network, and
// succeeds.
func connect(ctx context.Context, flags *flag.FlagSet, args []string) error {
	var (
		to      = flags.String("to", "", "address and port")
		timeout = flags.Duration("timeout", time.Minute, "close the socket when there is no answer after this time")
		retries = flags.Int("syn-retries", 0, "TCP_SYNCNT; 0: the kernel's default")
		send    = flags.Int("send", 0, "bytes to send")
		end     = flags.String("end", endClose, "how to end it: close, reset, wait")
	)
	if err := flags.Parse(args); err != nil {
		return err
	}
	dialer := net.Dialer{Timeout: *timeout, Control: func(_, _ string, raw syscall.RawConn) (err error) {
		if *retries == 0 {
			return nil
		}
		if e := raw.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_SYNCNT, *retries)
		}); e != nil {
			return e
		}
		return err
	}}
	dialer.SetMultipathTCP(false)
	r := report.Report{Kind: report.Conversation, Side: "client", Protocol: "tcp", Start: time.Now()}
	c, err := dialer.DialContext(ctx, "tcp", *to)
	if err != nil {
		return reportEnd(r, err)
	}
	r.Local, r.Remote = addrPort(c.LocalAddr()), addrPort(c.RemoteAddr())
	n, err := c.Write(make([]byte, *send))
	r.BytesSent = uint64(n)
	if err != nil {
		return reportEnd(r, errors.Join(err, c.Close()))
	}
	return reportEnd(r, endConnection(c.(*net.TCPConn), *end))
}

// accept accepts one connection, reads -read bytes from it, and closes it as -end selects.
func accept(ctx context.Context, flags *flag.FlagSet, args []string) error {
	var (
		listen = flags.String("listen", "", "address and port")
		read   = flags.Int("read", 0, "bytes to read before the end")
		end    = flags.String("end", endClose, "how to end it: close, reset, wait")
	)
	if err := flags.Parse(args); err != nil {
		return err
	}
	config := net.ListenConfig{}
	config.SetMultipathTCP(false)
	l, err := config.Listen(ctx, "tcp", *listen)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	closeOnDone(ctx, l)
	printReport(report.Report{Kind: report.Listening})
	c, err := l.Accept()
	if err != nil {
		return err
	}
	r := report.Report{Kind: report.Conversation, Side: "server", Protocol: "tcp", Start: time.Now()}
	r.Local, r.Remote = addrPort(c.LocalAddr()), addrPort(c.RemoteAddr())
	n, err := io.ReadFull(c, make([]byte, *read))
	r.BytesReceived = uint64(n)
	if err != nil {
		return reportEnd(r, errors.Join(err, c.Close()))
	}
	return reportEnd(r, endConnection(c.(*net.TCPConn), *end))
}

func endConnection(c *net.TCPConn, how string) error {
	switch how {
	case endClose:
		return c.Close()
	case endReset:
		return errors.Join(c.SetLinger(0), c.Close())
	case endWait:
		if err := c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			return err
		}
		_, err := c.Read(make([]byte, 1))
		if err == io.EOF {
			err = nil
		}
		return errors.Join(err, c.Close())
	}
	return fmt.Errorf("-end %q: want close, reset or wait", how)
}

// reportEnd reports the end of a connection, with the name of the kernel's error if there was one.
func reportEnd(r report.Report, err error) error {
	r.End = time.Now()
	var errno syscall.Errno
	var network net.Error
	switch {
	case err == nil:
	case errors.As(err, &errno):
		r.Error = unix.ErrnoName(errno)
	case errors.As(err, &network) && network.Timeout():
		r.Error = "gave up"
	default:
		return err
	}
	printReport(r)
	return nil
}
