package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/orb8-dev/kubectl-orb8/e2e/workload/report"
)

// tallyInterval is the time between two reports of calls.
const tallyInterval = 5 * time.Second

// tally counts the calls to each target.
type tally struct {
	mu      sync.Mutex
	start   time.Time
	targets map[string]*callCount
}

// callCount holds the calls to one target since the last report.
type callCount struct {
	durations []time.Duration
	errors    map[string]uint64
}

func newTally() *tally { return &tally{start: time.Now(), targets: map[string]*callCount{}} }

// count adds a call that took d.
func (t *tally) count(url string, d time.Duration, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.targets[url]
	if c == nil {
		c = &callCount{errors: map[string]uint64{}}
		t.targets[url] = c
	}
	c.durations = append(c.durations, d)
	if err != nil {
		c.errors[errorName(err)]++
	}
}

// nextReport returns the calls since the last report, and forgets them.
func (t *tally) nextReport() report.Report {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := report.Report{Kind: report.Calls, Side: "client", Start: t.start, End: time.Now()}
	for _, url := range slices.Sorted(maps.Keys(t.targets)) {
		c := t.targets[url]
		slices.Sort(c.durations)
		r.Calls = append(r.Calls, report.Target{URL: url, Errors: c.errors, Performance: report.Performance{
			Requests: uint64(len(c.durations)), P50: quantile(c.durations, 0.5), P90: quantile(c.durations, 0.9),
			P99: quantile(c.durations, 0.99), Max: quantile(c.durations, 1),
		}})
	}
	t.start, t.targets = r.End, map[string]*callCount{}
	return r
}

// printReports reports the calls each tallyInterval, until ctx ends.
func (t *tally) printReports(ctx context.Context) {
	tick := time.NewTicker(tallyInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			printReport(t.nextReport())
		}
	}
}

// statusError is a status of HTTP that is an error.
type statusError int

func (s statusError) Error() string { return fmt.Sprintf("HTTP %d", int(s)) }

// errorName returns the name of an error in report.Target.
func errorName(err error) string {
	var (
		errno   syscall.Errno
		dns     *net.DNSError
		network net.Error
		status  statusError
	)
	switch {
	case errors.As(err, &status):
		return status.Error()
	case errors.As(err, &dns) && dns.IsNotFound:
		return "NXDOMAIN"
	case errors.As(err, &dns) && dns.IsTimeout:
		return "DNS timeout"
	case errors.As(err, &dns):
		return "DNS failure"
	case errors.As(err, &errno):
		return unix.ErrnoName(errno)
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return "timeout"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "EOF"
	}
	return err.Error()
}
