package launch

import (
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/orb8-dev/kubectl-orb8/event/session"
)

// SharedDeadline is how long a Job whose pod has foreign containers may outlive its client: these containers do not end
// with the tracer.
const SharedDeadline = session.HeartbeatTimeout

const (
	// deadline ends the Job of a killed client. Each extension is a write to the API server.
	deadline = time.Minute
	// fixedDeadline is the deadline for a user who may not extend it.
	fixedDeadline = time.Hour
)

// JobDeadline returns how long a Job outlives its session, or lasts at all if the user may not extend deadlines.
func JobDeadline(mayExtend bool) time.Duration {
	if mayExtend {
		return deadline
	}
	return fixedDeadline
}

// Extender moves the deadlines of Jobs; *Launcher is one.
type Extender interface {
	// Extend has the Job end d after its start.
	Extend(ctx context.Context, job string, d time.Duration) error
	// Shared reports whether the Job's pod has containers besides the tracer's.
	Shared(job string) bool
}

// Keep extends a Job's deadline until ctx ends. It is the heartbeat of the Job: the tracer ends without its client's
// heartbeats, but only the Job's deadline ends the containers that admission has added.
//
// The deadline is spec.Deadline from now. Keep extends it when half of that has passed, since each extension is a write
// to the API server. Once the pod has foreign containers, the deadline is SharedDeadline, extended with every
// heartbeat. An extension that fails is retried well before the deadline, and failed is called with each different
// error once.
func Keep(ctx context.Context, e Extender, spec *Spec, created time.Time, failed func(error)) {
	job, last := spec.JobName(), ""
	window := spec.Deadline
	every := window / 2
	tick := time.NewTicker(min(session.HeartbeatInterval, spec.Deadline/20))
	defer tick.Stop()
	next := created.Add(every)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if window > SharedDeadline && e.Shared(job) {
			window, every, next = SharedDeadline, session.HeartbeatInterval, time.Time{}
		}
		if time.Now().Before(next) {
			continue
		}
		err := extend(ctx, e, job, time.Since(created)+window)
		switch {
		case err == nil:
			next, last = time.Now().Add(every), ""
			continue
		case apierrors.IsForbidden(err):
			next = time.Now().Add(spec.Deadline / 20) // it will hardly be allowed within seconds
		}
		if ctx.Err() == nil && err.Error() != last {
			last = err.Error()
			failed(err)
		}
	}
}

// extend extends the deadline with a timeout of one heartbeat, after which Keep retries.
func extend(ctx context.Context, e Extender, job string, d time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, session.HeartbeatInterval)
	defer cancel()
	return e.Extend(ctx, job, d)
}
