package main

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/orb8-dev/kubectl-orb8/event/orbit"
	"github.com/orb8-dev/kubectl-orb8/event/session"
)

// fault is what is wrong with an agent.
type fault uint8

const (
	// none: the agent is prompt and says the truth.
	none fault = iota
	// refuses: nothing listens. silent: it accepts connections, and nothing more. mute: it answers no request.
	refuses
	silent
	mute
	// slow: it sends everything slowAfter later.
	slow
	// future: its clock is ahead by futureAhead. otherNode: its events name another node. oversized: it sends a message
	// that is too large. newer: it speaks another protocol.
	future
	otherNode
	oversized
	newer
	// restarts: it ends and begins anew, again and again. It loses nothing.
	restarts
)

const (
	slowAfter   = 3 * second
	futureAhead = time.Hour
	// newerBy is how much newer the protocol of newer agents is.
	newerBy = 7
	// past is how far back agents answer queries, in ticks.
	past = 300 * second
	// idleTicks is the longest time without a message, as a tracer sends its watermark every 150 ms.
	idleTicks = 3
)

// end is an end of a flow on a node.
type end struct {
	*template
	name string // of the namespace
}

// agent plays the agent of a node.
type agent struct {
	orbit.UnimplementedAgentServer
	plan     *plan
	node     int
	fault    fault
	ends     []end
	instance atomic.Uint64
	now      atomic.Int64 // the newest tick whose events may be sent
	late     *histogram   // how late agents are by themselves

	mu      sync.Mutex
	streams map[chan struct{}]struct{} // each holds a token when there is something to send
}

func newAgent(p *plan, node int, what fault, late *histogram) (*agent, error) {
	a := &agent{plan: p, node: node, fault: what, late: late, streams: map[chan struct{}]struct{}{}}
	a.instance.Store(1)
	perNode := p.flows / 2
	add := func(number, side int) error {
		f := p.flow(number)
		own := f.src
		if side == 1 {
			own = f.dst
		}
		if own.node != node {
			return nil
		}
		t, err := newTemplate(f, side)
		if err != nil {
			return err
		}
		if what == otherNode {
			err = t.rename(nodeName(node), nodeName((node+1)%p.agents))
		}
		a.ends = append(a.ends, end{t, own.namespace()})
		return err
	}
	for i := range perNode {
		if err := add(node*perNode+i, 0); err != nil {
			return nil, err
		}
	}
	// The flows to this node come from the nodes before it.
	for back := 1; back <= max(p.agents/10, 1); back++ {
		from := (node - back + p.agents) % p.agents
		for i := range perNode {
			if err := add(from*perNode+i, 1); err != nil {
				return nil, err
			}
		}
	}
	return a, nil
}

// advance lets the agent send the events of all ticks up to now, and wakes its streams where there may be some.
func (a *agent) advance(now int64) {
	a.now.Store(now)
	at := now
	if a.fault == slow {
		at -= slowAfter
	}
	phase := (at - a.plan.phase(a.node)) % second
	due := phase == 0 || phase > second/2-idleTicks && phase <= second/2 || at%idleTicks == int64(a.node)%idleTicks
	if !due {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for wake := range a.streams {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
}

// newest is the newest tick that may be sent.
func (a *agent) newest() int64 {
	if a.fault == slow {
		return a.now.Load() - slowAfter
	}
	return a.now.Load()
}

// clock is the time of a tick by the agent's own clock.
func (a *agent) clock(at int64) uint64 {
	t := a.plan.timeOf(at)
	if a.fault == future {
		t += uint64(futureAhead)
	}
	return t
}

// appendTick appends the events of a tick.
func (a *agent) appendTick(events [][]byte, at int64, match func(namespace string) bool) [][]byte {
	for i := range a.ends {
		e := &a.ends[i]
		if s, ok := e.flow.at(e.side, at); ok && match(e.name) {
			events = append(events, e.appendEvent(make([]byte, 0, len(e.encoded)), s, a.clock(at)))
		}
	}
	return events
}

func (a *agent) hello() *orbit.AgentHello {
	now := a.newest()
	h := &orbit.AgentHello{Protocol: orbit.Protocol, Version: "fleet", Node: nodeName(a.node),
		Instance: a.instance.Load(),
		BootId:   nodeName(a.node), Kinds: []string{"flow"}, Reach: a.clock(now - past), Time: a.clock(a.now.Load()),
		KnownSince: a.clock(now - past)}
	if a.fault == newer {
		h.Protocol += newerBy
	}
	return h
}

// matcher returns which namespaces a selection selects.
func matcher(s *orbit.NodeSelection) func(string) bool {
	names := s.GetNamespaces()
	flows := len(s.GetKinds()) == 0 || slices.Contains(s.GetKinds(), "flow")
	return func(namespace string) bool {
		return flows && (len(names) == 0 || slices.Contains(names, namespace))
	}
}

// firstRequest is one of a server: the first names the window, later ones how much was read.
type firstRequest[R any] interface {
	*R
	GetWindow() uint32
	GetRead() uint64
}

// begin reads the first request of a stream and answers with a hello. A mute agent does not.
func begin[R any, P firstRequest[R]](
	a *agent, stream grpc.BidiStreamingServer[R, orbit.AgentBatch],
) (P, *outbox, error) {
	first, err := stream.Recv()
	if err != nil {
		return nil, nil, err
	}
	if a.fault == mute {
		<-stream.Context().Done()
		return nil, nil, stream.Context().Err()
	}
	out := newOutbox(stream, P(first).GetWindow(), func() (uint64, error) {
		more, err := stream.Recv()
		return P(more).GetRead(), err
	})
	return first, out, out.send(&orbit.AgentBatch{Hello: a.hello()}, nil)
}

// Stream implements orbit.AgentServer.
func (a *agent) Stream(stream grpc.BidiStreamingServer[orbit.AgentStreamRequest, orbit.AgentBatch]) error {
	r, out, err := begin(a, stream)
	if err != nil {
		return err
	}
	if a.fault == oversized {
		big := make([]byte, orbit.MaxMessageBytes)
		return out.send(&orbit.AgentBatch{}, [][]byte{big})
	}
	next := a.newest() + 1
	if r.GetResumeFrom() > 0 && r.GetInstance() == a.instance.Load() {
		next = min(next, int64(r.GetResumeFrom()))
	} else if since := r.GetSince(); since > 0 {
		for next > a.newest()-past && a.clock(next-1) >= since {
			next--
		}
	}
	gather := int64(r.GetGatherMillis()) * second / 1000
	return a.follow(stream.Context(), out, next, gather, matcher(r.GetSelection()))
}

// follow sends the events of the ticks from next on, gathered for so many ticks.
func (a *agent) follow(ctx context.Context, out *outbox, next, gather int64, match func(string) bool) error {
	wake := make(chan struct{}, 1)
	a.mu.Lock()
	a.streams[wake] = struct{}{}
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.streams, wake)
	}()
	sent := next
	var events [][]byte
	for {
		newest := a.newest()
		if a.fault == none && next <= newest {
			a.late.add(time.Since(time.Unix(0, int64(a.plan.timeOf(newest)))))
		}
		for ; next <= newest; next++ {
			events = a.appendTick(events, next, match)
			if next-sent < gather || len(events) == 0 && next-sent < idleTicks {
				continue
			}
			sent = next
			// Nothing comes of this tick any more.
			head := &orbit.AgentBatch{Sequence: uint64(next), Watermark: a.clock(next) + 1}
			if err := out.sendAll(head, events); err != nil {
				return err
			}
			events = events[:0]
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return nil
		}
	}
}

// Query implements orbit.AgentServer.
func (a *agent) Query(stream grpc.BidiStreamingServer[orbit.AgentQueryRequest, orbit.AgentBatch]) error {
	r, out, err := begin(a, stream)
	if err != nil {
		return err
	}
	if r.GetNewest() == 0 {
		return a.sendHistory(out, r)
	}
	events, truncated := a.newestEvents(r)
	return out.sendAll(&orbit.AgentBatch{Truncated: truncated}, events)
}

// newestEvents returns the newest events of the past, oldest first.
func (a *agent) newestEvents(r *orbit.AgentQueryRequest) (events [][]byte, truncated bool) {
	match, newest := matcher(r.GetSelection()), int(r.GetNewest())
	first := a.newest()
	for at := first; at > first-past && a.clock(at) >= r.GetSince() && !truncated; at-- {
		if r.GetUntil() > 0 && a.clock(at) >= r.GetUntil() {
			continue
		}
		begin := len(events)
		events = a.appendTick(events, at, match)
		slices.Reverse(events[begin:])
		if truncated = len(events) > newest; truncated {
			events = events[:newest]
		}
	}
	slices.Reverse(events)
	return events, truncated
}

// sendHistory sends all events of the past, or the last ones of each connection.
func (a *agent) sendHistory(out *outbox, r *orbit.AgentQueryRequest) error {
	match, last := matcher(r.GetSelection()), a.newest()
	var events [][]byte
	for at := last - past + 1; at <= last; at++ {
		if t := a.clock(at); t < r.GetSince() || r.GetUntil() > 0 && t >= r.GetUntil() {
			continue
		}
		events = events[:0]
		for i := range a.ends {
			e := &a.ends[i]
			s, ok := e.flow.at(e.side, at)
			if ok && match(e.name) && (!r.GetLastStates() || s.isLast() || at > last-second) {
				events = append(events, e.appendEvent(nil, s, a.clock(at)))
			}
		}
		if len(events) > 0 {
			if err := out.sendAll(&orbit.AgentBatch{}, events); err != nil {
				return err
			}
		}
	}
	return out.send(&orbit.AgentBatch{}, nil)
}

// Status implements orbit.AgentServer.
func (a *agent) Status(ctx context.Context, _ *orbit.AgentStatusRequest) (*orbit.AgentStatus, error) {
	if a.fault == mute {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return &orbit.AgentStatus{Hello: a.hello()}, nil
}

// outbox sends the batches of an answer, not more than a window ahead of the server that reads them.
type outbox struct {
	stream       grpc.ServerStream
	window, sent int64
	read         atomic.Int64
	wake         chan struct{}
}

// newOutbox returns an outbox. next returns what the server has read, each time it says so.
func newOutbox(stream grpc.ServerStream, window uint32, next func() (uint64, error)) *outbox {
	_ = grpc.SetSendCompressor(stream.Context(), session.Compressor) // uncompressed where the server has none
	o := &outbox{stream: stream, window: int64(window), wake: make(chan struct{}, 1)}
	go func() {
		for {
			read, err := next()
			if err != nil {
				return // the stream has ended
			}
			o.read.Store(int64(read))
			select {
			case o.wake <- struct{}{}:
			default:
			}
		}
	}()
	return o
}

func (o *outbox) send(head *orbit.AgentBatch, events [][]byte) error {
	wire, err := orbit.EncodeBatch(head, events)
	if err != nil {
		return err
	}
	for o.window > 0 && o.sent-o.read.Load() > o.window/2 {
		select {
		case <-o.wake:
		case <-o.stream.Context().Done():
			return o.stream.Context().Err()
		}
	}
	o.sent += int64(len(wire))
	return o.stream.SendMsg(wire)
}

// sendAll sends events in batches of at most half of the window. head goes with the last one.
func (o *outbox) sendAll(head *orbit.AgentBatch, events [][]byte) error {
	limit := int64(orbit.MaxBatchBytes)
	if o.window > 0 {
		limit = min(limit, o.window/2)
	}
	n, size := 0, int64(0)
	for i, ev := range events {
		const frame = 4 // bytes of an event's tag and length
		if more := size + int64(len(ev)) + frame; i > n && (more > limit || i-n == orbit.MaxBatchEvents) {
			if err := o.send(&orbit.AgentBatch{}, events[n:i]); err != nil {
				return err
			}
			n, size = i, 0
		}
		size += int64(len(ev)) + frame
	}
	return o.send(head, events[n:])
}
