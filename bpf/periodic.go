package bpf

import (
	"context"
	"fmt"
	"time"
)

// Periodic calls a function at each interval and for each Flush, all in one goroutine.
type Periodic struct {
	Requests
	interval time.Duration
}

// NewPeriodic returns a Periodic with this interval; 0 is a second.
func NewPeriodic(interval time.Duration) *Periodic {
	if interval <= 0 {
		interval = time.Second
	}
	return &Periodic{interval: interval, Requests: NewRequests()}
}

// Run calls do at each whole interval of the wall clock until ctx ends, or do fails.
func (p *Periodic) Run(ctx context.Context, do func() error) error {
	wake := time.NewTimer(Until(p.interval))
	defer wake.Stop()
	for {
		var done chan<- error
		select {
		case <-ctx.Done():
			return nil
		case done = <-p.Requests:
		case <-wake.C:
		}
		err := do()
		if done != nil {
			done <- err
		}
		if err != nil {
			return err
		}
		if done == nil {
			wake.Reset(Until(p.interval))
		}
	}
}

// Requests carries flushes to a loop. The loop answers each with the error of its pass.
type Requests chan chan<- error

// NewRequests makes Requests.
func NewRequests() Requests { return make(chan chan<- error) }

// Flush sends a request to the running loop and waits for its answer.
func (r Requests) Flush(ctx context.Context) error {
	done := make(chan error, 1)
	select {
	case r <- done:
	case <-ctx.Done():
		return fmt.Errorf("flush: %w", context.Cause(ctx))
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("flush: %w", context.Cause(ctx))
	}
}
