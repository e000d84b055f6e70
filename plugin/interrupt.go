package plugin

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// interruptKey is the key of the context by which a caller interrupts a command.
type interruptKey struct{}

// withInterrupt returns a context whose command is interrupted when interrupt ends, and not by signals: other commands
// of the same process go on. Cancelling the context itself cuts the orderly end short.
func withInterrupt(ctx, interrupt context.Context) context.Context {
	return context.WithValue(ctx, interruptKey{}, interrupt)
}

// interruptOf returns the context that interrupts a command; nil: signals do.
func interruptOf(ctx context.Context) context.Context {
	interrupt, _ := ctx.Value(interruptKey{}).(context.Context)
	return interrupt
}

// watchInterrupts calls interrupt for each SIGINT, SIGTERM or SIGHUP, or once for a caller's interrupt.
func watchInterrupts(ctx context.Context, interrupt func()) (stop func()) {
	if caller := interruptOf(ctx); caller != nil {
		stop := context.AfterFunc(caller, interrupt)
		return func() { stop() }
	}
	return watchSignals(interrupt)
}

// watchSignals calls interrupt for each SIGINT, SIGTERM or SIGHUP.
func watchSignals(interrupt func()) (stop func()) {
	// A closed pipe is an error of Write, not a death: the tracers must go first.
	signal.Ignore(syscall.SIGPIPE)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	done := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		for {
			select {
			case <-signals:
				interrupt()
			case <-done:
				return
			}
		}
	})
	return func() {
		signal.Stop(signals)
		close(done)
		watch.Wait()
	}
}

// interruptible returns a context that ends with SIGINT, SIGTERM or SIGHUP, or with a caller's interrupt.
func interruptible(parent context.Context) (ctx context.Context, stop func()) {
	caller := interruptOf(parent)
	if caller == nil {
		return signal.NotifyContext(parent, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	}
	ctx, cancel := context.WithCancel(parent)
	detach := context.AfterFunc(caller, cancel)
	return ctx, func() {
		detach()
		cancel()
	}
}
