package agent

import (
	"bytes"
	"context"
	"errors"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/orbit"
	"github.com/orb8-dev/kubectl-orb8/history"
)

// service is the gRPC service of an agent.
type service struct {
	orbit.UnimplementedAgentServer
	feed    *feed
	history *history.Rolling
	seen    *seen
	// hello returns the head of an answer with its version in seen, status the state of the agent.
	hello  func() (*orbit.AgentHello, uint64)
	status func() *orbit.AgentStatus
}

// Limits of a selection.
const (
	maxSelectedNames = 1024
	maxNameBytes     = 512
)

// check refuses a request of another protocol, or with too large a selection.
func check(protocol uint32, s *orbit.NodeSelection) error {
	if protocol < orbit.MinProtocol || protocol > orbit.Protocol {
		return status.Errorf(codes.FailedPrecondition, "this agent speaks protocol %d to %d, the server %d",
			orbit.MinProtocol, orbit.Protocol, protocol)
	}
	for _, names := range [][]string{s.GetKinds(), s.GetNamespaces(), s.GetPods(), s.GetWorkloads()} {
		if len(names) > maxSelectedNames {
			return status.Errorf(codes.InvalidArgument, "%d names in a selection: want at most %d", len(names),
				maxSelectedNames)
		}
		for _, name := range names {
			if len(name) > maxNameBytes {
				return status.Errorf(codes.InvalidArgument, "a name of %d bytes in a selection: want at most %d",
					len(name), maxNameBytes)
			}
		}
	}
	return nil
}

// maxGather limits how long a server lets events wait for more.
const maxGather = 2 * time.Second

// Stream implements orbit.AgentServer.
func (s *service) Stream(stream grpc.BidiStreamingServer[orbit.AgentStreamRequest, orbit.AgentBatch]) error {
	request, out, err := openOutbox(stream)
	if err != nil {
		return err
	}
	if err := check(request.GetProtocol(), request.GetSelection()); err != nil {
		return err
	}
	hello, version := s.hello()
	from := uint64(0)
	if request.GetInstance() == hello.GetInstance() {
		from = request.GetResumeFrom()
	}
	selected := newSelection(request.GetSelection())
	past := history.Selection{Since: request.GetSince()}
	r, ok := s.feed.open(selected, from, func() { past.Before = s.history.Mark() })
	if !ok {
		return status.Errorf(codes.OutOfRange, "resume from %d: no batch with that number was sent yet", from)
	}
	defer r.close()
	if err := out.send(&orbit.AgentBatch{Hello: hello}, nil); err != nil {
		return err
	}
	if past.Since > 0 && from == 0 {
		if err := s.sendHistory(out, selected, past); err != nil {
			return err
		}
	}
	gather := min(time.Duration(request.GetGatherMillis())*time.Millisecond, maxGather)
	for {
		var ripe <-chan time.Time
		if gather > 0 {
			ripe = time.After(gather)
		}
		p, err := r.read(stream.Context(), orbit.MaxBatchEvents, ripe)
		if err != nil {
			return status.FromContextError(err).Err()
		}
		// A state of the node comes with each change.
		if s.seen.changed(version) {
			hello, version = s.hello()
			if err := out.send(&orbit.AgentBatch{Hello: hello}, nil); err != nil {
				return err
			}
		}
		head := orbit.AgentBatch{Sequence: p.sequence, Watermark: p.watermark, GapSummary: p.gap}
		if err := out.sendAll(&head, p.events); err != nil {
			return err
		}
	}
}

// Query implements orbit.AgentServer.
func (s *service) Query(stream grpc.BidiStreamingServer[orbit.AgentQueryRequest, orbit.AgentBatch]) error {
	request, out, err := openOutbox(stream)
	if err != nil {
		return err
	}
	if err := check(request.GetProtocol(), request.GetSelection()); err != nil {
		return err
	}
	hello, _ := s.hello()
	if err := out.send(&orbit.AgentBatch{Hello: hello}, nil); err != nil {
		return err
	}
	return s.sendHistory(out, newSelection(request.GetSelection()), history.Selection{
		Since: request.GetSince(), Until: request.GetUntil(), Newest: int(request.GetNewest()),
		LastStates: request.GetLastStates(),
	})
}

// aliveInterval is the longest time without a batch while a query is decoded: the server waits 5 s for each.
const aliveInterval = time.Second

// sendHistory sends the selected events of the history.
func (s *service) sendHistory(out *outbox, selected *selection, wanted history.Selection) error {
	wanted.Kinds = selected.selectedKinds()
	if len(selected.namespaces) > 0 || len(selected.pods) > 0 || len(selected.workloads) > 0 {
		wanted.Match = func(n history.Names) bool {
			// Losses of unknown pods and states of the node are part of every answer, and have no names.
			return len(n.Namespace) == 0 || selected.matchNames(n.Namespace, n.Pod, n.Workload)
		}
	}
	var (
		held [][]byte
		size int
		last uint64
		sent = time.Now()
	)
	pass := func(truncated bool) error {
		sent = time.Now()
		err := out.send(&orbit.AgentBatch{Watermark: last, Truncated: truncated}, held)
		held, size = held[:0], 0
		return err
	}
	wanted.Progress = func() error {
		if time.Since(sent) < aliveInterval {
			return nil
		}
		return pass(false)
	}
	truncated, err := s.history.Query(out.stream.Context(), wanted, func(ev []byte) error {
		h, ok := event.ReadHeader(ev)
		if !ok || !selected.matchHeader(&h) {
			return nil // of the node, and of a kind that is selected by names
		}
		last = max(last, h.Time)
		if out.isFull(len(held), size+len(ev)) {
			if err := pass(false); err != nil {
				return err
			}
		}
		held, size = append(held, bytes.Clone(ev)), size+len(ev)
		return nil
	})
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return status.FromContextError(err).Err()
	case err != nil:
		return err
	}
	return pass(truncated)
}

// Status implements orbit.AgentServer.
func (s *service) Status(_ context.Context, request *orbit.AgentStatusRequest) (*orbit.AgentStatus, error) {
	if err := check(request.GetProtocol(), nil); err != nil {
		return nil, err
	}
	return s.status(), nil
}
