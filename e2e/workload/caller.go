package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/orb8-dev/kubectl-orb8/e2e/workload/report"
)

// urls is a flag that may be given several times.
type urls []string

func (u *urls) String() string { return strings.Join(*u, " ") }

// Set appends a URL of a scheme that a caller knows.
func (u *urls) Set(s string) error {
	switch parsed, err := url.Parse(s); {
	case err != nil:
		return err
	case parsed.Scheme != "http" && parsed.Scheme != "https" && parsed.Scheme != "redis":
		return fmt.Errorf("%s: want http://, https:// or redis://", s)
	}
	*u = append(*u, s)
	return nil
}

// call is a client of several dependencies. Each -every it calls one after another, on -parallel connections, and
// reports the durations and errors of the calls.
func call(ctx context.Context, flags *flag.FlagSet, args []string) error {
	var (
		to       urls
		every    = flags.Duration("every", 100*time.Millisecond, "time between the starts of two rounds")
		parallel = flags.Int("parallel", 1, "rounds at a time")
		timeout  = flags.Duration("timeout", 5*time.Second, "how long to wait for an answer")
		fresh    = flags.Bool("fresh", false, "make a connection for each call, and close it")
		body     = flags.Int("body", 0, "bytes to send; 0: a GET without a body")
		retry    = flags.Duration("retry", 0, "time to the next attempt when a connection fails; 0: none")
	)
	flags.Var(&to, "to", "http, https or redis URL; may be given several times")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if len(to) == 0 {
		return errors.New("-to is needed")
	}
	printReport(report.Report{Kind: report.Listening})
	calls := newTally()
	var running sync.WaitGroup
	running.Go(func() { calls.printReports(ctx) })
	for range *parallel {
		running.Go(func() {
			c := newCaller(calls, *timeout, *fresh, *body)
			c.retryEvery(*retry)
			tick := time.NewTicker(*every)
			defer tick.Stop()
			for {
				_ = c.callAll(ctx, to) // the tally has its error
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				}
			}
		})
	}
	running.Wait()
	return nil
}

// caller calls dependencies and counts the calls.
type caller struct {
	calls   *tally
	timeout time.Duration
	// retry is the time to the next attempt when a connection fails; 0: there is none.
	retry time.Duration
	fresh bool
	body  []byte
	http  *http.Client
	// queues are idle connections to servers of the redis scheme, by address.
	queues map[string]chan *queueClient
	mu     sync.Mutex
}

func newCaller(calls *tally, timeout time.Duration, fresh bool, body int) *caller {
	transport := &http.Transport{
		DialContext:         (&net.Dialer{Timeout: timeout}).DialContext,
		MaxIdleConnsPerHost: 64,
		// Servers make their certificates at their start.
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}
	c := &caller{calls: calls, timeout: timeout, fresh: fresh, http: &http.Client{Transport: transport},
		queues: map[string]chan *queueClient{}}
	if body > 0 {
		c.body = make([]byte, body)
	}
	return c
}

// retryTimeout is how long a caller that retries waits for a connection. The address may be that of a deleted pod.
const retryTimeout = time.Second

// retryEvery makes the caller retry failed connections after a pause; 0: not at all.
func (c *caller) retryEvery(pause time.Duration) {
	if c.retry = pause; pause > 0 {
		c.http.Transport.(*http.Transport).DialContext = (&net.Dialer{Timeout: retryTimeout}).DialContext
	}
}

// callAll calls the URLs one after another, and returns the first error.
func (c *caller) callAll(ctx context.Context, to urls) error {
	var first error
	for _, u := range to {
		start := time.Now()
		err := c.call(ctx, u)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		c.calls.count(u, time.Since(start), err)
		if first == nil {
			first = err
		}
	}
	return first
}

func (c *caller) call(ctx context.Context, to string) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	for {
		err := c.attempt(ctx, to)
		if c.retry == 0 || err == nil || ctx.Err() != nil {
			return err
		}
		select {
		case <-time.After(c.retry):
		case <-ctx.Done():
			return err
		}
	}
}

func (c *caller) attempt(ctx context.Context, to string) error {
	if address, ok := strings.CutPrefix(to, "redis://"); ok {
		return c.get(ctx, address)
	}
	method, body := http.MethodGet, io.Reader(nil)
	if c.body != nil {
		method, body = http.MethodPost, bytes.NewReader(c.body)
	}
	request, err := http.NewRequestWithContext(ctx, method, to, body)
	if err != nil {
		return err
	}
	if c.fresh {
		// This end closes first, and so keeps its port for a minute (TIME_WAIT), as with clients without keep-alive.
		defer c.http.CloseIdleConnections()
	}
	response, err := c.http.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode >= http.StatusBadRequest {
		return statusError(response.StatusCode)
	}
	return nil
}

// get reads a key from a server of the redis scheme, on a connection of its pool.
func (c *caller) get(ctx context.Context, address string) error {
	c.mu.Lock()
	pool := c.queues[address]
	if pool == nil {
		pool = make(chan *queueClient, 64)
		c.queues[address] = pool
	}
	c.mu.Unlock()
	var client *queueClient
	select {
	case client = <-pool:
	default:
		var err error
		if client, err = dialQueue(ctx, address); err != nil {
			return err
		}
	}
	if _, err := client.do(ctx, "GET", "key"); err != nil {
		client.conn.Close()
		return err
	}
	select {
	case pool <- client:
	default:
		client.conn.Close()
	}
	return nil
}
