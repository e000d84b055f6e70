package main

import (
	"context"
	"slices"
	"strings"
	"time"
)

// loop builds once, and again after each change.
type loop struct {
	debounce time.Duration
	build    func(ctx context.Context, changed []string) error
	restart  func() error
	logf     func(format string, args ...any)
}

// run runs until ctx ends. Files that change during a build are built next.
func (l *loop) run(ctx context.Context, changes <-chan string) error {
	changed := []string{} // nothing yet: build everything
	for {
		start := time.Now()
		if err := l.build(ctx, changed); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			l.logf("%v", err)
		} else {
			l.logf("built in %.1f s", time.Since(start).Seconds())
			if err := l.restart(); err != nil {
				return err
			}
		}
		if changed = l.collect(ctx, changes); changed == nil {
			return nil
		}
		l.logf("changed: %s", strings.Join(changed, ", "))
	}
}

// collect waits for a change, and then until nothing has changed for a while. It returns nil when ctx ends.
func (l *loop) collect(ctx context.Context, changes <-chan string) []string {
	var changed []string
	var quiet <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case path, ok := <-changes:
			if !ok {
				return nil
			}
			if !slices.Contains(changed, path) {
				changed = append(changed, path)
			}
			quiet = time.After(l.debounce)
		case <-quiet:
			slices.Sort(changed)
			return changed
		}
	}
}
