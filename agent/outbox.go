package agent

import (
	"context"
	"errors"
	"io"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/orb8-dev/kubectl-orb8/event/orbit"
	"github.com/orb8-dev/kubectl-orb8/event/session"
)

// outbox sends the batches of an answer, not more than a window ahead of the server that reads them.
type outbox struct {
	stream grpc.ServerStream
	// window limits the bytes that were sent and not read; 0: the connection does.
	window int64
	sent   int64

	mu   sync.Mutex
	read int64
	wake chan struct{} // holds a token after a change of read
}

// reading is the part of a request that paces its answer.
type reading interface {
	GetWindow() uint32
	GetRead() uint64
}

// minWindow is the least window that is useful, bytes.
const minWindow = 1 << 10

// openOutbox reads a request, and follows how much of its answer is read until the stream ends.
func openOutbox[R any, P interface {
	*R
	reading
}](stream grpc.BidiStreamingServer[R, orbit.AgentBatch]) (request P, o *outbox, err error) {
	first, err := stream.Recv()
	if errors.Is(err, io.EOF) {
		return nil, nil, status.Error(codes.InvalidArgument, "there is no request")
	}
	if err != nil {
		return nil, nil, err
	}
	request = first
	// Uncompressed without it at the server.
	_ = grpc.SetSendCompressor(stream.Context(), session.Compressor)
	o = &outbox{stream: stream, window: int64(request.GetWindow()), wake: make(chan struct{}, 1)}
	if o.window > 0 {
		o.window = max(o.window, minWindow)
		go func() {
			for {
				next, err := stream.Recv()
				if err != nil {
					return // the stream has ended, or begins to
				}
				o.setRead(P(next).GetRead())
			}
		}()
	}
	return request, o, nil
}

func (o *outbox) setRead(read uint64) {
	o.mu.Lock()
	o.read = int64(min(read, 1<<62))
	o.mu.Unlock()
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// eventFrame is what a batch has for each event besides its encoding, bytes.
const eventFrame = 4

// isFull reports whether a batch with n events has no room for another one, with which the events have so many bytes.
func (o *outbox) isFull(n, bytes int) bool {
	limit := int64(orbit.MaxBatchBytes)
	if o.window > 0 {
		limit = min(o.window/2, limit)
	}
	return n > 0 && (n == orbit.MaxBatchEvents || int64(bytes+(n+1)*eventFrame) > limit)
}

// send sends a batch once at most half of the window is not read.
func (o *outbox) send(head *orbit.AgentBatch, events [][]byte) error {
	wire, err := orbit.EncodeBatch(head, events)
	if err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	if err := o.wait(o.stream.Context()); err != nil {
		return status.FromContextError(err).Err()
	}
	o.sent += int64(len(wire))
	return o.stream.SendMsg(wire)
}

func (o *outbox) wait(ctx context.Context) error {
	for o.window > 0 {
		o.mu.Lock()
		ahead := o.sent - o.read
		o.mu.Unlock()
		if ahead <= o.window/2 {
			return nil
		}
		select {
		case <-o.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// sendAll sends events in as many batches as their sizes need. head goes with the last, so that a reader that resumes
// gets all of them.
func (o *outbox) sendAll(head *orbit.AgentBatch, events [][]byte) error {
	for {
		n, bytes := 0, 0
		for n < len(events) && !o.isFull(n, bytes+len(events[n])) {
			bytes += len(events[n])
			n++
		}
		if n == len(events) {
			return o.send(head, events)
		}
		if err := o.send(&orbit.AgentBatch{GapSummary: head.GetGapSummary()}, events[:n]); err != nil {
			return err
		}
		events = events[n:]
	}
}
