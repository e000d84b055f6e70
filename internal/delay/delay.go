// Package delay waits for times to pass.
package delay

import (
	"context"
	"time"
)

// Wait waits for a duration, or until ctx ends, whose error it returns then.
func Wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
