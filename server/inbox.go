package server

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/event/orbit"
)

// inbox reads the batches of an agent, which sends them a window ahead.
type inbox struct {
	stream grpc.ClientStream
	// progress is the message that says how much was read.
	progress               func(read uint64) proto.Message
	window, read, reported int
	// agent is the one at the other end.
	agent *agent
}

// batch is a batch whose events are not decoded yet.
type batch struct {
	*orbit.AgentBatch
	events [][]byte
	bytes  int
}

// query asks an agent for events of the past.
func (g *agent) query(ctx context.Context, r *orbit.AgentQueryRequest) (*inbox, error) {
	stream, err := g.client.Query(ctx)
	if err != nil {
		return nil, err
	}
	return g.newInbox(stream, r, r.GetWindow(), func(read uint64) proto.Message {
		return &orbit.AgentQueryRequest{Read: read}
	})
}

// follow asks an agent for events as they happen.
func (g *agent) follow(ctx context.Context, r *orbit.AgentStreamRequest) (*inbox, error) {
	stream, err := g.client.Stream(ctx)
	if err != nil {
		return nil, err
	}
	return g.newInbox(stream, r, r.GetWindow(), func(read uint64) proto.Message {
		return &orbit.AgentStreamRequest{Read: read}
	})
}

func (g *agent) newInbox(
	stream grpc.ClientStream, request proto.Message, window uint32, progress func(uint64) proto.Message,
) (*inbox, error) {
	// io.EOF: the agent has refused it, and receive returns why.
	if err := stream.SendMsg(request); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return &inbox{stream: stream, progress: progress, window: int(window), agent: g}, nil
}

// check refuses what checkHello refuses, and keeps whether the agent speaks another protocol.
func (g *agent) check(h *orbit.AgentHello) error {
	err := checkHello(h)
	g.incompatible.Store(status.Code(err) == codes.FailedPrecondition)
	return err
}

// checkHello refuses an agent that does not describe itself, or speaks another protocol.
func checkHello(h *orbit.AgentHello) error {
	if h == nil {
		return status.Error(codes.Internal, "its agent does not describe itself")
	}
	if p := h.GetProtocol(); p < orbit.MinProtocol || p > orbit.Protocol {
		return status.Errorf(codes.FailedPrecondition,
			"its agent (%s) speaks protocol %d, the servers %d to %d: kubectl orb8 upgrade gives both one version",
			h.GetVersion(), p, orbit.MinProtocol, orbit.Protocol)
	}
	return nil
}

// receive waits for the next batch. What it has returned before is read then.
func (i *inbox) receive() (*batch, error) {
	if i.read-i.reported > i.window/2 {
		if err := i.stream.SendMsg(i.progress(uint64(i.read))); err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		i.reported = i.read
	}
	var wire orbit.Wire
	if err := i.stream.RecvMsg(&wire); err != nil {
		if status.Code(err) == codes.FailedPrecondition { // it does not answer this server's protocol
			i.agent.incompatible.Store(true)
		}
		return nil, err
	}
	head, events, err := orbit.DecodeBatch(wire)
	if err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	if h := head.GetHello(); h != nil || i.read == 0 {
		if err := i.agent.check(h); err != nil {
			return nil, err
		}
	}
	i.read += len(wire)
	return &batch{AgentBatch: head, events: events, bytes: len(wire)}, nil
}
