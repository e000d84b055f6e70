package live

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"github.com/orb8-dev/kubectl-orb8/collect/losses"
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/plugin/advice"
	"github.com/orb8-dev/kubectl-orb8/plugin/stream"
)

const (
	// parallelStarts is how many tracers start at a time.
	parallelStarts = 8
	// slowStart is how long a starting tracer may keep others from starting.
	slowStart = 10 * time.Second
	// maxSettle is how long nodes may start before the Duration begins without them.
	maxSettle = time.Minute
	// minStart is how long a node may start without having failed when the session ends.
	minStart = 3 * time.Second
)

// nodes are the nodes of a running session.
type nodes struct {
	config *Config
	status Status
	// running, as in Session.
	running context.Context
	end     context.CancelCauseFunc
	stream  func(ctx, running context.Context, node string, feed stream.Feed, o *stream.Options) error
	options *stream.Options

	// settled is closed once no node starts any more, or it takes too long.
	settled     chan struct{}
	settledOnce sync.Once

	mu       sync.Mutex
	byName   map[string]*nodeState
	duration sync.Once
	timer    *time.Timer
	summary  string // the last one logged
	admission
	gaps map[string]time.Duration
	// stopped is when the orderly end began; zero: not yet.
	stopped time.Time
}

type nodeState struct {
	state event.NodeState
	// step is what a starting node waits for, since when, and whether that was logged.
	step     string
	since    time.Time
	logged   bool
	admitted time.Time
	streamed bool // ever
	untraced bool // it still started at the session's end
	failure  string
	failed   time.Time // when it failed after it had streamed; zero: it has not
	settled  func()    // called once, when the node streams or has failed
	drained  func()    // called once, when no more events of the node will come
}

func newNodes(s *Session) *nodes {
	return &nodes{
		config: &s.config, status: s.deps.Status, running: s.running, end: s.end, stream: s.deps.Stream,
		settled: make(chan struct{}), byName: map[string]*nodeState{},
	}
}

// ending reports whether the orderly end has begun.
func (n *nodes) ending() bool { return n.running.Err() != nil }

// serve runs the stream of each node that has targets, or gets some, until running ends, and waits for all. It calls
// drained once no more events will come, before the last tracers are deleted.
func (n *nodes) serve(hard, running context.Context, view View, drained func()) {
	wait := maxSettle
	if _, count := view.Targets(); count == 0 {
		wait = 0
	}
	latest := time.AfterFunc(wait, func() {
		n.startClock()
		n.settle()
	})
	defer latest.Stop()
	defer n.stopClock()
	var streams sync.WaitGroup
	defer streams.Wait()
	streams.Go(func() { n.logSlowSteps(running) })
	starting := make(chan struct{}, parallelStarts)
	var draining, admitting sync.WaitGroup
	defer func() {
		admitting.Wait() // it starts streams, too
		draining.Wait()
		drained()
	}()
	start := func(name string) {
		draining.Add(1)
		done := sync.OnceFunc(draining.Done)
		n.mu.Lock()
		n.byName[name].drained = done
		n.mu.Unlock()
		streams.Go(func() {
			defer done()
			select {
			case starting <- struct{}{}:
			case <-running.Done():
				return
			}
			// A slow start waits for something that the others do not.
			slow := time.AfterFunc(slowStart, func() { n.startNext(name) })
			defer slow.Stop()
			n.onEnd(name, n.stream(hard, running, name, view.NewFeed(name), n.options))
		})
	}
	admitting.Go(func() { n.admitWaiting(running, starting, start) })
	for {
		name, err := view.NextNode(running)
		if err != nil {
			return
		}
		if n.admit(name, starting) {
			start(name)
		}
	}
}

// settle ends the wait for nodes that start.
func (n *nodes) settle() { n.settledOnce.Do(func() { close(n.settled) }) }

// onDrained takes the ends of the nodes' events.
func (n *nodes) onDrained(name string) {
	n.mu.Lock()
	done := n.byName[name].drained
	n.mu.Unlock()
	done()
}

// startNext lets another node start beside this one.
func (n *nodes) startNext(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.byName[name].settled()
}

// onStatus takes the states of each node's stream. STOPPED is the session's end, or a node without targets for now.
func (n *nodes) onStatus(name string, state event.NodeState, message string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	node := n.byName[name]
	if state == event.NodeState_NODE_STATE_STOPPED && n.ending() {
		n.endStarting(name, node)
	}
	node.state = state
	n.wakeWaiting()
	switch state {
	case event.NodeState_NODE_STATE_STARTING:
		// Most starts are too short for a line: see logSlowSteps.
		node.step, node.since, node.logged = message, time.Now(), false
		return
	case event.NodeState_NODE_STATE_STREAMING:
		node.streamed = true
		node.settled()
		n.startClock()
	case event.NodeState_NODE_STATE_FAILED:
		node.settled()
		if node.failure == "" {
			node.failure = message
			n.logFailure(name, message)
		}
		message = ""
	}
	if message != "" {
		n.status.Logf("%s: %s", name, message)
	}
	n.logSummary()
}

// endStarting counts a node that still starts at the session's end as untraced, unless it has hardly begun, or the
// reader left before it was there. The lock is held.
func (n *nodes) endStarting(name string, node *nodeState) {
	if node.streamed || node.untraced || node.state == event.NodeState_NODE_STATE_STOPPED ||
		time.Since(node.admitted) < minStart || errors.Is(context.Cause(n.running), ErrReaderGone) {
		return
	}
	node.untraced = true
	n.status.Logf("%s: was never traced: %s", name, node.step)
}

// onGap adds a gap between two tracers of a node.
func (n *nodes) onGap(name string, d time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.gaps == nil {
		n.gaps = map[string]time.Duration{}
	}
	n.gaps[name] += d
}

// onEnd takes the end of a node's stream, with the error that the node has failed with.
func (n *nodes) onEnd(name string, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	node := n.byName[name]
	node.settled()
	if err == nil {
		return
	}
	node.state = event.NodeState_NODE_STATE_FAILED
	if node.streamed && !n.ending() {
		node.failed = time.Now()
	}
	n.wakeWaiting()
	n.logSummary()
	if len(n.waiting) > 0 {
		return // one of them takes its place
	}
	for _, other := range n.byName {
		if other.state != event.NodeState_NODE_STATE_FAILED {
			return
		}
	}
	n.end(ErrAllFailed)
}

// stop notes that the orderly end has begun.
func (n *nodes) stop() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.stopped = time.Now()
}

// startClock starts Config.Duration.
func (n *nodes) startClock() {
	if n.config.Duration == 0 {
		return
	}
	n.duration.Do(func() {
		n.timer = time.AfterFunc(n.config.Duration, func() { n.end(ErrDone) })
	})
}

func (n *nodes) stopClock() {
	n.duration.Do(func() {}) // from here on there is none to start
	if n.timer != nil {
		n.timer.Stop()
	}
}

// failures returns how many nodes have failed, and whether that is all of them.
func (n *nodes) failures() (failed int, all bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, node := range n.byName {
		if node.state == event.NodeState_NODE_STATE_FAILED || node.untraced {
			failed++
		}
	}
	failed += len(n.waiting) // never traced
	return failed, failed > 0 && failed == len(n.byName)+len(n.waiting)
}

// gapTotals returns how long each node that had streamed was not traced, until the session's end. For a node that has
// failed, the gap lasts from the failure to the end. The lock is held.
func (n *nodes) gapTotals() map[string]time.Duration {
	until := cmp.Or(n.stopped, time.Now())
	all := map[string]time.Duration{}
	maps.Copy(all, n.gaps)
	for name, node := range n.byName {
		if !node.failed.IsZero() && node.failed.Before(until) {
			all[name] += until.Sub(node.failed)
		}
	}
	return all
}

// tally sums the session up. It leaves out nodes that had hardly begun to start at the session's end.
func (n *nodes) tally(events int, took time.Duration, lost []losses.Loss) *advice.Tally {
	n.mu.Lock()
	defer n.mu.Unlock()
	t := &advice.Tally{Events: events, Took: took, Losses: lost, Gaps: n.gapTotals(), Nodes: len(n.waiting)}
	for _, node := range n.byName {
		switch {
		case node.streamed:
			t.Traced++
			t.Nodes++
		case node.state == event.NodeState_NODE_STATE_FAILED || node.untraced:
			t.Nodes++
		}
	}
	return t
}
