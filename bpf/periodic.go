package bpf

import (
	"context"
	"fmt"
	"time"
)

// Periodic does something each interval, and in between when it is asked to, all in one goroutine.
type Periodic struct {
	interval time.Duration
	requests chan chan error
}

// NewPeriodic makes one of an interval; 0 is a second.
func NewPeriodic(interval time.Duration) *Periodic {
	if interval <= 0 {
		interval = time.Second
	}
	return &Periodic{interval: interval, requests: make(chan chan error)}
}

// Run calls do at each whole interval of the wall clock until ctx ends, or do fails.
func (p *Periodic) Run(ctx context.Context, do func() error) error {
	wake := time.NewTimer(Until(p.interval))
	defer wake.Stop()
	for {
		var done chan error
		select {
		case <-ctx.Done():
			return nil
		case done = <-p.requests:
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

// Flush has the running Run call do, and waits for that.
func (p *Periodic) Flush(ctx context.Context) error {
	done := make(chan error, 1)
	select {
	case p.requests <- done:
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
