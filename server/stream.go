package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/collect"
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/orbit"
	"github.com/orb8-dev/kubectl-orb8/event/wire"
)

const (
	// coverageDelay gathers the changes of several nodes into one message.
	coverageDelay = 30 * time.Millisecond
	// firstRetry and maxRetry limit the time between two attempts to reach an agent.
	firstRetry, maxRetry = 100 * time.Millisecond, 5 * time.Second
	// agentTimeout is how long an agent may take to answer a request.
	agentTimeout = 5 * time.Second
)

// Limits of one request's merge.
const (
	maxFlows        = 100_000
	maxFlowBytes    = 96 << 20
	maxPendingBytes = 16 << 20
	maxClosedBytes  = 16 << 20
)

// batchEventBytes is the approximate memory of an event of a decoded batch.
const batchEventBytes = 1 << 10

// follow is a running stream.
type follow struct {
	*call
	queue     *queue
	collector *collect.Collector
	// since is where the stream begins, nodeSince where that of some nodes does, ns since the Unix epoch; 0: now.
	since     uint64
	nodeSince map[string]uint64
	// reading are the places where batches are decoded.
	reading chan *place
	// gather is how long each agent gathers what it sends.
	gather time.Duration
}

const (
	// maxDelay and joinWindow are how long events wait for older ones, and flows for their second half, where agents
	// send at once.
	maxDelay, joinWindow = 250 * time.Millisecond, 300 * time.Millisecond
	// gatherFrom is the number of agents from which they gather what they send, gatherPerAgent how long for each, and
	// maxGather the longest: a message costs some 30 µs, whatever is in it, so that of 1,000 agents which send every
	// 150 ms take a fifth of a CPU.
	gatherFrom     = 50
	gatherPerAgent = 500 * time.Microsecond
	maxGather      = time.Second
)

// gatherOf is how long each of a stream's agents gathers what it sends.
func gatherOf(agents int) time.Duration {
	if agents < gatherFrom {
		return 0
	}
	return min(time.Duration(agents)*gatherPerAgent, maxGather).Truncate(time.Millisecond)
}

// joinWindowOf is how long flows wait for their second half, where agents gather. The half of an agent that has just
// sent comes that much later.
func joinWindowOf(gather time.Duration) time.Duration { return max(joinWindow, gather+joinWindow/2) }

// maxReading limits the batches of a request that are decoded.
const maxReading = 16

// place is the memory of a batch that is decoded: the merge takes its events, but for flows.
type place struct {
	events []*event.Event
	memory wire.Memory
}

func (p *place) clear() {
	clear(p.events)
	p.events = p.events[:0]
	p.memory.Reset()
}

// maxNodeSince limits the nodes whose beginning a request names.
const maxNodeSince = 20_000

// stream sends events as they happen until ctx ends, or the caller's rights do.
func (s *Service) stream(
	ctx context.Context, request *orbit.StreamRequest, send func(orbit.Wire) error, only ...string,
) error {
	interval := time.Duration(request.GetInterval())
	if interval < 0 || interval > time.Hour {
		return invalid("interval: %v: want 0 to 1h", interval)
	}
	if n := len(request.GetNodeSince()); n > maxNodeSince {
		return invalid("node_since: %d nodes: want at most %d", n, maxNodeSince)
	}
	c, err := s.open(ctx, request.GetProtocol(), request.GetSelection(), nil, only...)
	if err != nil {
		return err
	}
	defer c.close()
	// A client that loses this server before the first event goes on from here at another one.
	wire, err := orbit.EncodeAnswer(&orbit.Answer{Watermark: cmp.Or(request.GetSince(), nowNs())}, nil)
	if err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	if err := send(wire); err != nil {
		return err
	}
	f := &follow{call: c, queue: newQueue(c.share, c.metrics.Dropped), since: request.GetSince(),
		nodeSince: request.GetNodeSince(),
		reading:   make(chan *place, maxReading)}
	for range maxReading {
		f.reading <- &place{}
	}
	f.gather = gatherOf(len(s.agentsOf(c.target)))
	f.collector = c.newCollector(collect.Options{Interval: reportInterval(interval), Updates: leastUpdate(interval),
		MaxDelay: maxDelay + f.gather, JoinWindow: joinWindowOf(f.gather),
		Memory: func(bytes int) bool { return c.share.hold(partMerge, bytes) == nil }})
	ctx, end := context.WithCancelCause(ctx)
	var work sync.WaitGroup
	defer work.Wait()
	defer end(nil)
	// At once: to the client, agents that this server disconnects would seem to be gone.
	defer context.AfterFunc(s.running, func() { end(status.Error(codes.Unavailable, "the server ends")) })()
	work.Go(func() { f.followNodes(ctx) })
	work.Go(func() { f.reportCoverage(ctx) })
	work.Go(func() {
		if err := c.view.Watch(ctx); err != nil && ctx.Err() == nil {
			end(err)
		}
	})
	work.Go(func() {
		_ = f.collector.Run(ctx, f.emit) // emit does not fail
		f.queue.end()
	})
	for {
		wire, ok, err := f.queue.next(ctx)
		if err != nil || !ok {
			return streamError(ctx)
		}
		if err := send(wire); err != nil {
			return err
		}
	}
}

// reportInterval is within what time the nodes are expected to report an open flow: as often as the client wants to see
// it, which agents do by their own configuration, whose default is the least.
func reportInterval(interval time.Duration) time.Duration {
	return min(max(interval, time.Second), scanInterval)
}

// maxJitter is how much earlier than after an interval an update may come that is not held back: reports are not
// exactly one interval apart.
const maxJitter = 125 * time.Millisecond

// leastUpdate is the least time between two updates of a flow.
func leastUpdate(interval time.Duration) time.Duration { return interval - min(interval/8, maxJitter) }

func nowNs() uint64 { return uint64(time.Now().UnixNano()) }

// streamError is the status of a stream whose context has ended.
func streamError(ctx context.Context) error {
	cause := context.Cause(ctx)
	if cause != nil && !errors.Is(cause, context.Canceled) && !errors.Is(cause, context.DeadlineExceeded) {
		return cause
	}
	return status.FromContextError(ctx.Err()).Err()
}

// emit passes a merged event on to the client.
func (f *follow) emit(ev *event.Event) error {
	f.metrics.Merged(ev, true)
	if f.show(ev) {
		f.queue.add(ev)
	}
	return nil
}

// reportCoverage sends what the answer covers, whenever it changes.
func (f *follow) reportCoverage(ctx context.Context) {
	for {
		f.queue.cover(f.coverage.snapshot())
		select {
		case <-f.coverage.change:
		case <-ctx.Done():
			return
		}
		select {
		case <-time.After(coverageDelay):
		case <-ctx.Done():
			return
		}
	}
}

// followNodes streams from each agent, also from those that come later.
func (f *follow) followNodes(ctx context.Context) {
	var nodes sync.WaitGroup
	defer nodes.Wait()
	followed := map[string]bool{}
	for {
		all, changed := f.agents.all()
		for _, g := range all {
			if node := g.node; !followed[node] && (f.target.node == "" || f.target.node == node) {
				followed[node] = true
				f.share.reserve(len(followed))
				f.coverage.answer(node, orbit.NodeAnswer_NODE_ANSWER_UNKNOWN, "")
				nodes.Go(func() { f.followNode(ctx, node) })
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// position is how far a node's stream was read.
type position struct {
	instance, next uint64
	watermark      uint64
	gaps           gaps
	// state is the one that was put into the stream last.
	state *event.NodeStatus
	// namespaces are those of the node's events.
	namespaces interned
	decoder    wire.Decoder
}

// followNode streams from the agents of a node, one after another.
func (f *follow) followNode(ctx context.Context, node string) {
	source := f.collector.Add(node)
	defer source.Close()
	at := &position{watermark: cmp.Or(f.nodeSince[node], f.since)}
	pause := firstRetry
	for ctx.Err() == nil {
		g, changed := f.agents.get(node)
		if g == nil {
			f.cut(ctx, source, at, orbit.NodeAnswer_NODE_ANSWER_UNREACHABLE, "no agent is ready")
			select {
			case <-changed:
			case <-ctx.Done():
			}
			continue
		}
		before := at.next
		err := f.followAgent(ctx, g, source, at)
		if ctx.Err() != nil {
			return
		}
		if at.next != before {
			pause = firstRetry
		}
		answer, message := explain(err)
		f.cut(ctx, source, at, answer, message)
		select {
		case <-g.gone:
		case <-time.After(pause):
		case <-ctx.Done():
		}
		pause = min(2*pause, maxRetry)
	}
}

// cut reports that a node's stream has no agent. One that has had none yet begins now.
func (f *follow) cut(
	ctx context.Context, source *collect.Source, at *position, answer orbit.NodeAnswer, message string,
) {
	at.watermark = cmp.Or(at.watermark, nowNs())
	source.Close() // flows do not wait for its halves
	f.coverage.cut(source.Node(), answer, message, at.gaps.cut(at.watermark))
	state := event.NodeState_NODE_STATE_RECONNECTING
	if answer == orbit.NodeAnswer_NODE_ANSWER_INCOMPATIBLE {
		state = event.NodeState_NODE_STATE_FAILED
	}
	f.setState(ctx, source, at, &event.NodeStatus{State: state, Message: message})
}

// setState puts the state of a node into the stream, unless it is the one before.
func (f *follow) setState(ctx context.Context, source *collect.Source, at *position, s *event.NodeStatus) {
	if proto.Equal(at.state, s) {
		return
	}
	at.state = s
	// The only error is that nobody takes events any more.
	_ = source.Status(ctx, proto.CloneOf(s))
}

// stateOf is the state of a node whose agent answers. The agent's events have the changes to come.
func stateOf(h *orbit.AgentHello) *event.NodeStatus {
	gaps := h.GetGaps()
	if h.GetKnownSince() > 0 && (len(gaps) == 0 || gaps[len(gaps)-1].GetTo() > 0) {
		return &event.NodeStatus{State: event.NodeState_NODE_STATE_STREAMING}
	}
	return &event.NodeStatus{State: event.NodeState_NODE_STATE_STARTING, Message: "its agent does not observe yet"}
}

// explain says how a node answers that failed with err.
func explain(err error) (orbit.NodeAnswer, string) {
	s, _ := status.FromError(err)
	switch {
	case errors.Is(err, io.EOF):
		return orbit.NodeAnswer_NODE_ANSWER_UNREACHABLE, "the agent has ended the stream"
	case s.Code() == codes.FailedPrecondition:
		return orbit.NodeAnswer_NODE_ANSWER_INCOMPATIBLE, s.Message()
	case s.Code() == codes.DeadlineExceeded:
		return orbit.NodeAnswer_NODE_ANSWER_LATE, fmt.Sprintf("no answer within %v", agentTimeout)
	}
	return orbit.NodeAnswer_NODE_ANSWER_UNREACHABLE, unframed(s.Message())
}

// unframed takes gRPC's frame off a message about a connection.
func unframed(message string) string {
	if strings.Contains(message, "graceful_stop") {
		return "its agent ends"
	}
	// The time in such a message would make another message each time.
	message, _, _ = strings.Cut(message, ": current time ")
	if _, cause, framed := strings.Cut(message, "Error while dialing: "); framed {
		return strings.Trim(cause, `"`)
	}
	if _, cause, framed := strings.Cut(message, `connection error: desc = "`); framed {
		return "connection cut: " + strings.TrimSuffix(cause, `"`)
	}
	return message
}

// followAgent streams from one agent.
func (f *follow) followAgent(ctx context.Context, g *agent, source *collect.Source, at *position) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// Until the first answer only: a stream lasts.
	late := time.AfterFunc(f.agentTimeout, func() { cancel(context.DeadlineExceeded) })
	defer late.Stop()
	asked := time.Now()
	in, err := g.follow(ctx, &orbit.AgentStreamRequest{
		Protocol: orbit.Protocol, Selection: f.target.pushed(), ResumeFrom: at.next, Instance: at.instance,
		Since: at.watermark, Window: uint32(f.share.window), GatherMillis: uint32(f.gather.Milliseconds()),
	})
	if err != nil {
		return err
	}
	var kernel string
	var skew int64
	answered := false
	for {
		b, err := in.receive()
		if err != nil {
			if !answered && time.Since(asked) > lateTimeout {
				g.missed(f.agentTimeout)
			}
			if errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
				return status.FromContextError(context.DeadlineExceeded).Err()
			}
			return err
		}
		late.Stop()
		g.answered()
		if h := b.GetHello(); h != nil {
			if kernel = h.GetBootId(); !answered { // a later one did not come at once
				skew = skewOf(h, asked, time.Now())
			}
			if h.GetInstance() != at.instance {
				at.instance, at.next = h.GetInstance(), 0
			}
			if at.watermark == 0 {
				at.watermark = h.GetTime()
			}
			f.coverage.hello(g.node, h, at.gaps.follow(h, at.watermark), skew)
			if !answered {
				answered = true
				source.Open()
				f.setState(ctx, source, at, stateOf(h))
			}
		}
		if err := f.feed(ctx, source, at, b, collect.Batch{Instance: at.instance, Kernel: kernel}); err != nil {
			return err
		}
		if b.GetSequence() > 0 {
			at.next = b.GetSequence() + 1
		}
		at.watermark = max(at.watermark, b.GetWatermark())
	}
}

// feed passes what is visible of a batch on to the merge, which may let it wait.
func (f *follow) feed(
	ctx context.Context, source *collect.Source, at *position, b *batch, into collect.Batch,
) error {
	var p *place
	select {
	case p = <-f.reading:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() {
		p.clear()
		f.reading <- p
	}()
	f.metrics.Received(len(b.events))
	bytes := len(b.events) * batchEventBytes
	f.share.add(partBatches, bytes)
	defer f.share.add(partBatches, -bytes)
	seesAll := f.seesAll()
	for _, encoded := range b.events {
		if !seesAll && f.isForbidden(encoded, &at.namespaces) {
			continue
		}
		ev, err := decode(&at.decoder, encoded, &p.memory)
		if err != nil {
			return err
		}
		if f.isVisible(ev) {
			p.events = append(p.events, ev)
		}
	}
	into.Events, into.Watermark, into.GapSummary = p.events, b.GetWatermark(), b.GetGapSummary()
	return source.Feed(ctx, into)
}
