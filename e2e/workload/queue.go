package main

import (
	"bufio"
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

	"github.com/orb8-dev/kubectl-orb8/e2e/workload/report"
)

// queue serves a small part of the protocol of Redis (RESP 2): GET, which uses -burn of a CPU, and BLPOP, which waits
// for its timeout, since nothing is ever in the list.
func queue(ctx context.Context, flags *flag.FlagSet, args []string) error {
	listen := flags.String("listen", ":6379", "address and port")
	work := flags.Duration("burn", 0, "CPU time of a GET")
	if err := flags.Parse(args); err != nil {
		return err
	}
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	closeOnDone(ctx, l)
	printReport(report.Report{Kind: report.Listening})
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
			defer interruptOnDone(ctx, c)()
			// The error is the client's end, or the workload's.
			_ = serveQueue(ctx, bufio.NewReader(c), c, *work)
		})
	}
}

func serveQueue(ctx context.Context, in *bufio.Reader, out io.Writer, work time.Duration) error {
	for {
		command, err := readCommand(in)
		if err != nil {
			return err
		}
		answer := "-ERR unknown command\r\n"
		switch strings.ToUpper(command[0]) {
		case "GET":
			spin(work)
			answer = "$5\r\nvalue\r\n"
		case "BLPOP":
			seconds, err := strconv.ParseFloat(command[len(command)-1], 64)
			if err != nil {
				answer = "-ERR timeout is not a float or out of range\r\n"
				break
			}
			select {
			case <-time.After(time.Duration(seconds * float64(time.Second))):
			case <-ctx.Done():
				return ctx.Err()
			}
			answer = "*-1\r\n"
		}
		if _, err := io.WriteString(out, answer); err != nil {
			return err
		}
	}
}

// maxBulk bounds the strings of a command, in bytes; maxArguments their number.
const maxBulk, maxArguments = 1 << 10, 8

// readCommand reads an array of bulk strings.
func readCommand(in *bufio.Reader) ([]string, error) {
	n, err := readLength(in, '*', maxArguments)
	if err != nil {
		return nil, err
	}
	if n < 1 {
		return nil, errors.New("an empty command")
	}
	command := make([]string, n)
	for i := range command {
		size, err := readLength(in, '$', maxBulk)
		if err != nil {
			return nil, err
		}
		if size < 0 {
			return nil, errors.New("a null string in a command")
		}
		b := make([]byte, size+len("\r\n"))
		if _, err := io.ReadFull(in, b); err != nil {
			return nil, err
		}
		command[i] = string(b[:size])
	}
	return command, nil
}

// readLength reads a line with a type and a length; -1 is null.
func readLength(in *bufio.Reader, kind byte, limit int) (int, error) {
	line, err := in.ReadString('\n')
	if err != nil {
		return 0, err
	}
	digits := strings.TrimSuffix(line, "\r\n")
	if len(digits) < 2 || digits[0] != kind {
		return 0, fmt.Errorf("%q: want %c and a length", line, kind)
	}
	n, err := strconv.Atoi(digits[1:])
	if err != nil || n < -1 || n > limit {
		return 0, fmt.Errorf("%q: want a length of at most %d", line, limit)
	}
	return n, nil
}

// queueClient is a connection to a queue.
type queueClient struct {
	conn net.Conn
	in   *bufio.Reader
}

func dialQueue(ctx context.Context, address string) (*queueClient, error) {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return &queueClient{c, bufio.NewReader(c)}, nil
}

// do sends a command and reads the answer: a bulk string or null.
func (q *queueClient) do(ctx context.Context, command ...string) (string, error) {
	defer interruptOnDone(ctx, q.conn)()
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(command))
	for _, s := range command {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(s), s)
	}
	if _, err := io.WriteString(q.conn, b.String()); err != nil {
		return "", err
	}
	kind, err := q.in.Peek(1)
	if err != nil {
		return "", err
	}
	if kind[0] != '$' && kind[0] != '*' {
		line, err := q.in.ReadString('\n')
		return "", errors.Join(fmt.Errorf("answer %q", line), err)
	}
	size, err := readLength(q.in, kind[0], maxBulk)
	if err != nil || size < 0 {
		return "", err
	}
	value := make([]byte, size+len("\r\n"))
	_, err = io.ReadFull(q.in, value)
	return string(value[:size]), err
}

// pop is a worker that waits for jobs in a queue: BLPOP with a timeout of -wait, one after another.
func pop(ctx context.Context, flags *flag.FlagSet, args []string) error {
	to := flags.String("to", "", "address and port of the queue")
	wait := flags.Duration("wait", 5*time.Second, "timeout of a BLPOP")
	if err := flags.Parse(args); err != nil {
		return err
	}
	printReport(report.Report{Kind: report.Listening})
	calls := newTally()
	var running sync.WaitGroup
	running.Go(func() { calls.printReports(ctx) })
	defer running.Wait()
	for {
		err := popUntilError(ctx, *to, *wait, calls)
		if ctx.Err() != nil {
			return nil
		}
		calls.count(*to, 0, err)
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return nil
		}
	}
}

func popUntilError(ctx context.Context, to string, wait time.Duration, calls *tally) error {
	client, err := dialQueue(ctx, to)
	if err != nil {
		return err
	}
	defer client.conn.Close()
	for {
		start := time.Now()
		_, err := client.do(ctx, "BLPOP", "jobs", strconv.FormatFloat(wait.Seconds(), 'f', -1, 64))
		if err != nil {
			return err
		}
		calls.count(to, time.Since(start), nil)
	}
}
