package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/orb8-dev/kubectl-orb8/e2e/workload/report"
)

// serve answers on ranges of ports, and reports each conversation when it is over.
func serve(ctx context.Context, flags *flag.FlagSet, args []string) error {
	tcp := flags.String("tcp", "", "TCP ports, [HOST]:FROM[-TO]")
	mptcp := flags.String("mptcp", "", "the same, listening with MPTCP as Go programs do by default")
	udp := flags.String("udp", "", "UDP ports")
	quiet := flags.Bool("quiet", false, "report no conversations")
	if err := flags.Parse(args); err != nil {
		return err
	}
	s := &server{quiet: *quiet}
	group, ctx := errgroup.WithContext(ctx)
	for _, kind := range []struct {
		ports string
		mptcp bool
	}{{*tcp, false}, {*mptcp, true}} {
		addrs, err := ports(kind.ports)
		if err != nil {
			return err
		}
		for _, addr := range addrs {
			config := net.ListenConfig{}
			config.SetMultipathTCP(kind.mptcp)
			l, err := config.Listen(ctx, "tcp", addr)
			if err != nil {
				return err
			}
			group.Go(func() error { return s.listen(ctx, l) })
		}
	}
	addrs, err := ports(*udp)
	if err != nil {
		return err
	}
	for _, addr := range addrs {
		c, err := net.ListenPacket("udp", addr)
		if err != nil {
			return err
		}
		group.Go(func() error { return s.datagrams(ctx, c.(*net.UDPConn)) })
	}
	printReport(report.Report{Kind: report.Listening})
	// Without any port, this goroutine waits for the signal.
	group.Go(func() error { <-ctx.Done(); return nil })
	return group.Wait()
}

type server struct{ quiet bool }

// listen accepts until ctx ends, and returns when the last connection is over.
func (s *server) listen(ctx context.Context, l net.Listener) error {
	stop := closeOnDone(ctx, l)
	defer stop()
	var open sync.WaitGroup
	defer open.Wait()
	for {
		c, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		open.Go(func() {
			defer c.Close()
			stop := interruptOnDone(ctx, c)
			defer stop()
			r := report.Report{Kind: report.Conversation, Side: "server", Protocol: "tcp", Start: time.Now()}
			r.Local, r.Remote = addrPort(c.LocalAddr()), addrPort(c.RemoteAddr())
			err := s.connection(ctx, c.(*net.TCPConn), &r)
			r.End = time.Now()
			if err != nil {
				r.Error = err.Error()
			}
			if !s.quiet {
				printReport(r)
			}
		})
	}
}

func (s *server) connection(ctx context.Context, c *net.TCPConn, r *report.Report) error {
	head := make([]byte, orderSize)
	n, err := io.ReadFull(c, head)
	r.BytesReceived += uint64(n)
	if err != nil {
		// A client may close without sending anything: a readiness probe, a killed pod.
		if errors.Is(err, io.EOF) {
			return nil
		}
		return fmt.Errorf("read the order: %w", err)
	}
	o, err := parseOrder(head)
	if err != nil {
		return err
	}
	r.Run = o.run
	switch o.kind {
	case orderSink:
		n, err := io.Copy(io.Discard, c)
		r.BytesReceived += uint64(n)
		return err
	case orderRequests:
		return answerRequests(c, o, r)
	}

	// The server sends half of the answer at once, and the rest when it has read everything: a client with -hold
	// receives bytes before and after its pause.
	answer := &payload{left: o.answer}
	type result struct {
		n   int64
		err error
	}
	firstHalf := make(chan result, 1)
	go func() {
		n, err := io.CopyN(c, answer, int64(o.answer/2))
		firstHalf <- result{n, err}
	}()
	body, err := io.CopyN(io.Discard, c, int64(o.total-orderSize))
	r.BytesReceived += uint64(body)
	first := <-firstHalf
	r.BytesSent += uint64(first.n)
	if err := errors.Join(err, first.err); err != nil {
		return fmt.Errorf("exchange: %w", err)
	}
	rest, err := io.Copy(c, answer)
	r.BytesSent += uint64(rest)
	if err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	r.TCP, err = finish(ctx, c, o.serverCloses)
	return err
}

// answerRequests answers requests of o.total bytes until the client closes. The order is the head of the first one.
func answerRequests(c net.Conn, o order, r *report.Report) error {
	request, answer := make([]byte, o.total), make([]byte, o.answer)
	for rest := request[orderSize:]; ; rest = request {
		n, err := io.ReadFull(c, rest)
		r.BytesReceived += uint64(n)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		n, err = c.Write(answer)
		r.BytesSent += uint64(n)
		if err != nil {
			return err
		}
	}
}

// ports lists the addresses of "[HOST]:FROM[-TO]".
func ports(spec string) ([]string, error) {
	if spec == "" {
		return nil, nil
	}
	i := strings.LastIndexByte(spec, ':')
	if i < 0 {
		return nil, fmt.Errorf("ports %q: want [HOST]:FROM[-TO]", spec)
	}
	from, to, isRange := strings.Cut(spec[i+1:], "-")
	if !isRange {
		to = from
	}
	first, err1 := strconv.ParseUint(from, 10, 16)
	last, err2 := strconv.ParseUint(to, 10, 16)
	if err := errors.Join(err1, err2); err != nil {
		return nil, fmt.Errorf("ports %q: %w", spec, err)
	}
	var addrs []string
	for p := first; p <= last; p++ {
		addrs = append(addrs, spec[:i+1]+strconv.FormatUint(p, 10))
	}
	return addrs, nil
}
