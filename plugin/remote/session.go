// Package remote shows the events of installed agents, which a server of orb8 merges: a session without tracers, and
// queries of the past.
package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/orb8-dev/kubectl-orb8/collect/losses"
	"github.com/orb8-dev/kubectl-orb8/event/orbit"
	"github.com/orb8-dev/kubectl-orb8/internal/plural"
	"github.com/orb8-dev/kubectl-orb8/plugin/advice"
	"github.com/orb8-dev/kubectl-orb8/plugin/door"
	"github.com/orb8-dev/kubectl-orb8/plugin/live"
)

// Config selects what a session shows.
type Config struct {
	Selection *orbit.Selection
	// Interval is the time between two updates of a flow.
	Interval time.Duration
	// Duration counts from the first node that answers; 0: until the session is ended.
	Duration time.Duration
}

// Conn is a connection to a server; *grpc.ClientConn is one.
type Conn interface {
	grpc.ClientConnInterface
	Close() error
}

// Dial connects to a server, another one than before if that is possible.
type Dial func(ctx context.Context) (Conn, error)

const (
	// settleTimeout is how long nodes may take to answer before the session counts as begun.
	settleTimeout = 3 * time.Second
	// linger is how long events that happened before the end are waited for, besides an interval.
	linger = time.Second
	// firstRetry and maxRetry limit the time between two attempts to reach a server.
	firstRetry, maxRetry = 100 * time.Millisecond, 3 * time.Second
	// giveUpAfter is how long no server may answer.
	giveUpAfter = 2 * time.Minute
	// overlap is how far before the newest event another server begins. Events of that time that were shown already are
	// left out.
	overlap = 5 * time.Second
)

// Session is one session, of one Run.
type Session struct {
	config Config
	dial   Dial
	status live.Status

	hard, running context.Context
	cut           context.CancelFunc
	end           context.CancelCauseFunc
	interrupts    atomic.Int32
	settled       chan struct{}
	settle        func()

	consumer live.Consumer
	nodes    map[string]*orbit.NodeCoverage
	gaps     gaps
	summary  string
	losses   losses.Tally
	clock    sync.Once
	timer    *time.Timer
	shown    *recent
	newest   uint64 // time of the newest event shown
	// reached is how far the stream has come, by the server's clock, ns since the Unix epoch.
	reached uint64
	skews   skews
	begin   uint64 // where the session begins
}

// New makes a session, which ends with ctx at the latest.
func New(ctx context.Context, config Config, dial Dial, status live.Status) *Session {
	s := &Session{config: config, dial: dial, status: status, settled: make(chan struct{}),
		nodes: map[string]*orbit.NodeCoverage{}, gaps: gaps{}, skews: skews{}, shown: newRecent()}
	s.settle = sync.OnceFunc(func() { close(s.settled) })
	s.hard, s.cut = context.WithCancel(ctx)
	s.running, s.end = context.WithCancelCause(s.hard)
	return s
}

// End begins the orderly end.
func (s *Session) End(reason error) { s.end(reason) }

// Interrupt begins the orderly end, and cuts it short when it is called again.
func (s *Session) Interrupt() {
	s.End(live.ErrInterrupted)
	if s.interrupts.Add(1) > 1 {
		s.cut()
	}
}

// Running ends where the orderly end begins.
func (s *Session) Running() context.Context { return s.running }

// Settled is closed when the nodes answer, or take too long.
func (s *Session) Settled() <-chan struct{} { return s.settled }

// Run shows events until the session ends. It calls open once a server has answered.
func (s *Session) Run(open func() (live.Consumer, error)) (*advice.Tally, error) {
	defer s.cut()
	late := time.AfterFunc(settleTimeout, s.settle)
	defer late.Stop()
	defer s.stopClock()
	// What happened before the end still comes.
	defer context.AfterFunc(s.running, func() {
		wait := linger + s.config.Interval
		if errors.Is(context.Cause(s.running), live.ErrReaderGone) {
			wait = 0
		}
		time.AfterFunc(wait, s.cut)
	})()
	began := time.Now()
	err := s.stream(open)
	if s.consumer == nil {
		return nil, s.verdict(err)
	}
	if errors.Is(err, io.ErrClosedPipe) {
		s.End(live.ErrReaderGone)
		err = nil
	}
	s.End(live.ErrDone)
	if closeErr := s.consumer.Close(); err == nil && closeErr != nil && !errors.Is(closeErr, io.ErrClosedPipe) {
		err = fmt.Errorf("%w: %w", errOutput, closeErr)
	}
	return s.tally(time.Since(began)), s.verdict(err)
}

// verdict returns the error of the session; nil: none.
func (s *Session) verdict(err error) error {
	switch {
	case errors.Is(context.Cause(s.running), live.ErrInterrupted):
		return live.ErrInterrupted
	case err != nil:
		return err
	}
	for _, n := range s.nodes {
		if n.GetAnswer() != orbit.NodeAnswer_NODE_ANSWER_OK {
			return live.ErrSomeFailed
		}
	}
	return nil
}

// stream streams from one server after another until the session ends.
func (s *Session) stream(open func() (live.Consumer, error)) error {
	pause, lastAnswer := firstRetry, time.Now()
	renewed := false
	for {
		before := s.newest
		err := s.streamOnce(open)
		if s.newest != before {
			renewed = false
			pause, lastAnswer = firstRetry, time.Now()
		}
		switch {
		case s.hard.Err() != nil:
			return nil
		case status.Code(err) == codes.Unauthenticated && !renewed && s.running.Err() == nil:
			// The certificate has expired, or its authority was replaced: the next connection has another one.
			renewed = true
			continue
		case s.running.Err() != nil, s.consumer == nil && !transient(err), final(err):
			return err
		}
		if s.consumer == nil || time.Since(lastAnswer) > giveUpAfter {
			return err
		}
		if unreached := (*dialError)(nil); errors.As(err, &unreached) {
			s.status.LogOncef("no server can be reached: %v: trying again", unreached.error)
		} else {
			s.status.LogOncef("the server's answer was cut: %v: continuing at another server", message(err))
		}
		select {
		case <-time.After(pause):
		case <-s.running.Done():
		}
		pause = min(2*pause, maxRetry)
	}
}

// transient reports whether another server, or the same one later, may answer.
func transient(err error) bool {
	if errors.Is(err, io.EOF) {
		return true
	}
	switch status.Code(err) {
	case codes.Unavailable, codes.Aborted, codes.Canceled, codes.DeadlineExceeded:
		return true
	}
	return false
}

// final reports whether every server would refuse, now and later.
func final(err error) bool {
	switch status.Code(err) {
	case codes.PermissionDenied, codes.Unauthenticated, codes.InvalidArgument, codes.FailedPrecondition:
		return true
	}
	return errors.Is(err, io.ErrClosedPipe) || errors.Is(err, door.ErrForbidden) || errors.Is(err, errOutput)
}

// dialError is that of a Dial.
type dialError struct{ error }

func (e *dialError) Unwrap() error { return e.error }

// errOutput is that of a consumer.
var errOutput = errors.New("write output")

// message is the text of an error, without gRPC's words around it.
func message(err error) string {
	if s, ok := status.FromError(err); ok {
		return s.Message()
	}
	return err.Error()
}

// streamOnce streams from one server.
func (s *Session) streamOnce(open func() (live.Consumer, error)) error {
	conn, err := s.dial(s.running)
	if err != nil {
		return &dialError{err}
	}
	defer func() { _ = conn.Close() }()
	request := &orbit.StreamRequest{Protocol: orbit.Protocol, Selection: s.config.Selection,
		Interval: int64(s.config.Interval)}
	if s.begin > 0 {
		request.Since = max(s.begin, s.reached-min(s.reached, uint64(overlap)))
		request.NodeSince = s.gaps.resume(request.Since)
		s.skews.add(request)
	}
	s.shown.resume(s.newest)
	stream, err := orbit.NewOrbitServiceClient(conn).StreamEvents(s.hard, request)
	if err != nil {
		return err
	}
	for {
		answer, err := stream.Recv()
		if err != nil {
			return err
		}
		if s.consumer == nil {
			if s.consumer, err = open(); err != nil {
				return err
			}
		}
		if err := s.show(answer); err != nil {
			return err
		}
	}
}

// show shows an answer.
func (s *Session) show(answer *orbit.Answer) error {
	if s.begin == 0 {
		s.begin = answer.GetWatermark()
	}
	if c := answer.GetCoverage(); c != nil {
		s.cover(c)
	}
	for _, ev := range answer.GetEvents() {
		if s.shown.repeated(ev) {
			continue
		}
		switch {
		case ev.GetLost() != nil:
			s.losses.Add(losses.Of(ev))
		case ev.GetNodeStatus() == nil:
			s.newest = max(s.newest, ev.GetTime())
			s.reached = max(s.reached, s.skews.serverTime(ev))
		}
		if err := s.consumer.Show(ev); errors.Is(err, io.ErrClosedPipe) {
			return err
		} else if err != nil {
			return fmt.Errorf("%w: %w", errOutput, err)
		}
	}
	return nil
}

// cover takes what the answer covers.
func (s *Session) cover(c *orbit.Coverage) {
	waiting := false
	for _, n := range c.GetNodes() {
		before := s.nodes[n.GetNode()]
		s.nodes[n.GetNode()] = n
		s.skews.set(n)
		text := s.gaps.set(n)
		switch n.GetAnswer() {
		case orbit.NodeAnswer_NODE_ANSWER_OK:
			s.startClock()
			if text != "" {
				s.status.Logf("%s: %s", n.GetNode(), text)
			}
		case orbit.NodeAnswer_NODE_ANSWER_UNKNOWN:
			waiting = true
		default:
			if before.GetAnswer() != n.GetAnswer() || before.GetMessage() != n.GetMessage() {
				s.status.Logf("%s: %s", n.GetNode(), n.GetMessage())
			}
		}
	}
	if len(c.GetNodes()) > 0 && !waiting {
		s.settle()
		s.logSummary(c)
	}
}

// logSummary reports how many nodes answer, and of which namespaces.
func (s *Session) logSummary(c *orbit.Coverage) {
	answering := 0
	for _, n := range s.nodes {
		if n.GetAnswer() == orbit.NodeAnswer_NODE_ANSWER_OK {
			answering++
		}
	}
	summary := fmt.Sprintf("%d/%s streaming from installed agents", answering, plural.Count(len(s.nodes), "node"))
	if !c.GetAllNamespaces() && len(s.config.Selection.GetNamespaces()) == 0 {
		summary += "; all you may see: " + strings.Join(c.GetNamespaces(), ", ")
	}
	if len(c.GetForbiddenKinds()) > 0 {
		summary += "; not visible to you: " + strings.Join(c.GetForbiddenKinds(), ", ")
	}
	if missing := s.unrecorded(); len(missing) > 0 {
		summary += "; not recorded: " + strings.Join(missing, ", ")
	}
	if summary != s.summary {
		s.summary = summary
		s.status.Logf("%s", summary)
	}
}

// unrecorded returns the selected kinds that a node's agent does not record.
func (s *Session) unrecorded() (missing []string) {
	return Unrecorded(s.config.Selection.GetKinds(), s.nodes)
}

// Unrecorded returns the kinds that the agent of some node does not record.
func Unrecorded(kinds []string, nodes map[string]*orbit.NodeCoverage) (missing []string) {
	for _, kind := range kinds {
		for _, n := range nodes {
			if n.GetAnswer() == orbit.NodeAnswer_NODE_ANSWER_OK && !slices.Contains(n.GetKinds(), kind) {
				missing = append(missing, kind)
				break
			}
		}
	}
	return missing
}

func (s *Session) startClock() {
	if s.config.Duration == 0 {
		return
	}
	s.clock.Do(func() { s.timer = time.AfterFunc(s.config.Duration, func() { s.End(live.ErrDone) }) })
}

func (s *Session) stopClock() {
	s.clock.Do(func() {})
	if s.timer != nil {
		s.timer.Stop()
	}
}

// tally sums up the session.
func (s *Session) tally(took time.Duration) *advice.Tally {
	t := &advice.Tally{Events: s.consumer.Shown(), Nodes: len(s.nodes), Took: took, Losses: s.losses.All(),
		Gaps: s.gaps.sums(time.Now())}
	for _, n := range s.nodes {
		if n.GetAnswer() == orbit.NodeAnswer_NODE_ANSWER_OK {
			t.Traced++
		}
	}
	return t
}

// Explain returns an error of a server in the user's words.
func Explain(err error) error {
	s, ok := status.FromError(err)
	if !ok || err == nil {
		return err
	}
	switch s.Code() {
	case codes.PermissionDenied, codes.InvalidArgument:
		return errors.New(s.Message())
	}
	return fmt.Errorf("the server of orb8: %s", s.Message())
}
