package targets

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event/session"
)

// NewFeed returns the pods of a node, for its observer.
func (t *Set) NewFeed(node string) *Feed {
	return &Feed{targets: t, node: node, sent: map[string]*session.Pod{}}
}

// Feed gives one tracer the pods of its node: first all of them, then changes. It is for one goroutine.
type Feed struct {
	targets *Set
	node    string
	sent    map[string]*session.Pod
	started bool
}

// Next waits for the next update. The first one after NewFeed or Reset is complete, and comes at once.
func (f *Feed) Next(ctx context.Context) (*session.PodUpdate, error) {
	for {
		f.targets.mu.Lock()
		update := f.diff()
		changed := f.targets.changed
		f.targets.mu.Unlock()
		if update != nil {
			return update, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Reset makes the next update complete: the tracer at the other end is a new one, or may have missed something.
func (f *Feed) Reset() {
	f.started = false
	clear(f.sent)
}

// Idle reports whether the node has no live target now, and since when; zero means that it never had one.
func (f *Feed) Idle() (since time.Time, idle bool) {
	f.targets.mu.Lock()
	defer f.targets.mu.Unlock()
	n := f.targets.nodes[f.node]
	if n == nil {
		return time.Time{}, true
	}
	return n.idleSince, !n.busy()
}

// Busy waits until the node has a live target.
func (f *Feed) Busy(ctx context.Context) error {
	for {
		f.targets.mu.Lock()
		idle, changed := f.idle(), f.targets.changed
		f.targets.mu.Unlock()
		if !idle {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// idle is Idle under the targets' lock.
func (f *Feed) idle() bool {
	n := f.targets.nodes[f.node]
	return n == nil || !n.busy()
}

// diff returns the changes that f has not sent, nil if there are none. The targets' lock is held.
func (f *Feed) diff() *session.PodUpdate {
	var pods map[string]*session.Pod
	if n := f.targets.nodes[f.node]; n != nil {
		pods = n.pods
	}
	update := &session.PodUpdate{Complete: !f.started}
	for _, uid := range slices.Sorted(maps.Keys(pods)) {
		if f.sent[uid] != pods[uid] {
			update.Upsert = append(update.Upsert, pods[uid])
			f.sent[uid] = pods[uid]
		}
	}
	for _, uid := range slices.Sorted(maps.Keys(f.sent)) {
		if pods[uid] == nil {
			update.DeleteUids = append(update.DeleteUids, uid)
			delete(f.sent, uid)
		}
	}
	if f.started && len(update.Upsert) == 0 && len(update.DeleteUids) == 0 {
		return nil
	}
	f.started = true
	return update
}
