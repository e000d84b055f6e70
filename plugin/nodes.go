package plugin

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/orb8-dev/kubectl-orb8/cluster"
	"github.com/orb8-dev/kubectl-orb8/collect/losses"
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/plugin/advice"
	"github.com/orb8-dev/kubectl-orb8/plugin/stream"
)

// traceSession is the nodes of a running trace.
type traceSession struct {
	config   *traceConfig
	reporter *reporter
	targets  *cluster.Cluster
	options  *stream.Options
	end      context.CancelCauseFunc
	// ending reports whether the orderly end has begun.
	ending func() bool
	// readerGone reports whether it has begun because nobody reads any more.
	readerGone func() bool

	// settled is closed once no node is on its way any more, or it takes too long.
	settled     chan struct{}
	settledOnce sync.Once

	mu       sync.Mutex
	nodes    map[string]*nodeState
	duration sync.Once
	timer    *time.Timer
	summary  string // the last one printed
	admission
	unseen map[string]time.Duration
	// stopped is when the orderly end began; zero: not yet.
	stopped time.Time
}

type nodeState struct {
	state event.NodeState
	// doing is what a starting node waits for, since when, and whether that was said.
	doing    string
	since    time.Time
	said     bool
	admitted time.Time
	streamed bool // ever
	untraced bool // it was still on its way at the session's end
	failure  string
	failed   time.Time // since when it is not seen any more, though it has streamed; zero: it is
	settled  func()    // called once, when the node streams or has failed
}

// serveNodes runs a node's session for each node that has or gets a target, until running ends, and waits for all.
func (s *traceSession) serveNodes(hard, running context.Context) {
	s.mu.Lock()
	s.nodes = map[string]*nodeState{}
	s.mu.Unlock()
	wait := startPatience
	if _, nodes := s.targets.Targets(); nodes == 0 {
		wait = 0
	}
	latest := time.AfterFunc(wait, func() {
		s.startClock()
		s.settle()
	})
	defer latest.Stop()
	defer s.stopClock()
	var nodes sync.WaitGroup
	defer nodes.Wait()
	nodes.Go(func() { s.sayWaits(running) })
	starting := make(chan struct{}, parallelStarts)
	start := func(name string) {
		nodes.Go(func() {
			if !s.take(running, starting) {
				return
			}
			// A start that takes long waits for something that the others do not.
			slow := time.AfterFunc(slowStart, func() { s.letNext(name) })
			defer slow.Stop()
			err := stream.Run(hard, running, name, s.targets.NewFeed(name), s.options)
			s.ended(name, err)
		})
	}
	nodes.Go(func() { s.admitWaiting(running, starting, start) })
	for {
		name, err := s.targets.NextNode(running)
		if err != nil {
			return
		}
		if s.admit(name, starting) {
			start(name)
		}
	}
}

// take waits for a place among those that start.
func (s *traceSession) take(running context.Context, starting chan struct{}) bool {
	select {
	case starting <- struct{}{}:
		return true
	case <-running.Done():
		return false
	}
}

// settle says that no node is waited for.
func (s *traceSession) settle() { s.settledOnce.Do(func() { close(s.settled) }) }

// letNext lets the next node start.
func (s *traceSession) letNext(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nodes[name].settled()
}

// say hears from each node's stream. Its state is STOPPED at the session's end, or while nothing on it is to be traced.
func (s *traceSession) say(name string, state event.NodeState, message string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.nodes[name]
	if state == event.NodeState_NODE_STATE_STOPPED && s.ending() {
		s.endUntraced(name, n)
	}
	n.state = state
	s.wakeWaiting()
	switch state {
	case event.NodeState_NODE_STATE_STARTING:
		// Most starts are over before it is worth a line: sayWaits says what takes long.
		n.doing, n.since, n.said = message, time.Now(), false
		return
	case event.NodeState_NODE_STATE_STREAMING:
		n.streamed = true
		n.settled()
		s.startClock()
	case event.NodeState_NODE_STATE_FAILED:
		n.settled()
		if n.failure == "" {
			n.failure = message
			s.reportFailure(name, message)
		}
		message = ""
	}
	if message != "" {
		s.reporter.line("%s: %s", name, message)
	}
	s.summarise()
}

// endUntraced counts a node that the session's end finds still on its way, unless it had hardly begun, or the reader left
// before it was there. s.mu is held.
func (s *traceSession) endUntraced(name string, n *nodeState) {
	if n.streamed || n.untraced || n.state == event.NodeState_NODE_STATE_STOPPED || time.Since(n.admitted) < minStart ||
		s.readerGone() {
		return
	}
	n.untraced = true
	s.reporter.line("%s: was never traced: %s", name, n.doing)
}

// notSeen counts how long a node was not seen between two tracers.
func (s *traceSession) notSeen(name string, d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unseen == nil {
		s.unseen = map[string]time.Duration{}
	}
	s.unseen[name] += d
}

// stop notes that the orderly end has begun.
func (s *traceSession) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = time.Now()
}

// allUnseen is how long nodes were not seen that had streamed, until the session's end. Those that failed are not seen
// from then on.
func (s *traceSession) allUnseen() map[string]time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	until := cmp.Or(s.stopped, time.Now())
	all := map[string]time.Duration{}
	maps.Copy(all, s.unseen)
	for name, n := range s.nodes {
		if !n.failed.IsZero() && n.failed.Before(until) {
			all[name] += until.Sub(n.failed)
		}
	}
	return all
}

// maxAlike is how many nodes that can not run a tracer are named with the same reason.
const maxAlike = 20

// reportFailure says why a node failed: once for all nodes that failed for the same reason, but by the node where it is the node's own.
// s.mu is held.
func (s *traceSession) reportFailure(name, message string) {
	alike := 0
	for other, n := range s.nodes {
		if other != name && n.failure == message {
			alike++
		}
	}
	switch {
	case alike == maxAlike:
		s.reporter.line("… and more nodes: %s", message)
		return
	case alike > 0 && !ofTheNode(message) || alike > maxAlike:
		return
	}
	s.reporter.line("%s: %s", name, message)
}

// minStart is how long a node may be on its way without that being a failure at the session's end.
const minStart = 3 * time.Second

// longWait is how long a starting node may stay at one thing before that is said.
const longWait = time.Second

// sayWaits tells what starting nodes wait for, when it takes long.
func (s *traceSession) sayWaits(running context.Context) {
	look := time.NewTicker(longWait / 4)
	defer look.Stop()
	for {
		select {
		case <-running.Done():
			return
		case now := <-look.C:
			s.mu.Lock()
			for name, n := range s.nodes {
				if n.state == event.NodeState_NODE_STATE_STARTING && !n.said && n.doing != "" && now.Sub(n.since) > longWait {
					n.said = true
					s.reporter.line("%s: %s", name, n.doing)
				}
			}
			s.mu.Unlock()
		}
	}
}

// commonFailure is what all nodes failed of, or where to read what each did.
func (s *traceSession) commonFailure() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	common := ""
	for _, n := range s.nodes {
		if common != "" && n.failure != common {
			return "see above what each node failed of"
		}
		common = n.failure
	}
	return common
}

func (s *traceSession) ended(name string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.nodes[name]
	n.settled()
	if err == nil {
		return
	}
	n.state = event.NodeState_NODE_STATE_FAILED
	if n.streamed && !s.ending() {
		n.failed = time.Now()
	}
	s.wakeWaiting()
	s.summarise()
	if len(s.waiting) > 0 {
		return // one of them takes its place
	}
	for _, other := range s.nodes {
		if other.state != event.NodeState_NODE_STATE_FAILED {
			return
		}
	}
	s.end(errAllFailed)
}

// summarise says how many nodes stream, once no node is on its way any more, and again when that changes. s.mu is held.
func (s *traceSession) summarise() {
	if s.ending() {
		return
	}
	streaming, all := 0, 0
	var failed []string
	for name, n := range s.nodes {
		all++
		switch n.state {
		case event.NodeState_NODE_STATE_STOPPED:
			all--
		case event.NodeState_NODE_STATE_STREAMING:
			streaming++
		case event.NodeState_NODE_STATE_FAILED:
			failed = append(failed, name+": "+firstClause(n.failure))
		default:
			return
		}
	}
	if all > 0 {
		s.settle()
	}
	noun := "nodes"
	if all == 1 {
		noun = "node"
	}
	summary := fmt.Sprintf("%d/%d %s streaming", streaming, all, noun)
	if len(failed) > 0 {
		slices.Sort(failed)
		summary += "; " + strings.Join(failed, "; ")
	}
	if len(failed) == all && s.summary == "" {
		return // that was all, and the session ends with the reason
	}
	if summary != s.summary && all > 0 {
		s.summary = summary
		s.reporter.line("%s", summary)
	}
}

// firstClause keeps the summary short: the whole message has its own line.
func firstClause(s string) string {
	clause, _, _ := strings.Cut(s, ": ")
	return clause
}

// startClock starts --duration.
func (s *traceSession) startClock() {
	if s.config.duration == 0 {
		return
	}
	s.duration.Do(func() {
		s.timer = time.AfterFunc(s.config.duration, func() { s.end(errDone) })
	})
}

func (s *traceSession) stopClock() {
	s.duration.Do(func() {}) // from here on there is none to start
	if s.timer != nil {
		s.timer.Stop()
	}
}

// failures returns how many nodes have failed, and whether that is all of them.
func (s *traceSession) failures() (failed int, all bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.nodes {
		if n.state == event.NodeState_NODE_STATE_FAILED || n.untraced {
			failed++
		}
	}
	failed += len(s.waiting) // never traced
	return failed, failed > 0 && failed == len(s.nodes)+len(s.waiting)
}

// tally sums the session up. It leaves out nodes that had hardly begun to start at the session's end.
func (s *traceSession) tally(events int, took time.Duration, lost []losses.Loss) *advice.Tally {
	t := &advice.Tally{Events: events, Took: took, Losses: lost, Unseen: s.allUnseen()}
	s.mu.Lock()
	defer s.mu.Unlock()
	t.Nodes = len(s.waiting)
	for _, n := range s.nodes {
		switch {
		case n.streamed:
			t.Traced++
			t.Nodes++
		case n.state == event.NodeState_NODE_STATE_FAILED || n.untraced:
			t.Nodes++
		}
	}
	return t
}
