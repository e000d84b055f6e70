package server

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/orb8-dev/kubectl-orb8/cluster"
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/orbit"
	"github.com/orb8-dev/kubectl-orb8/event/session"
	"github.com/orb8-dev/kubectl-orb8/server/metrics"
)

// Door says who calls and what they may see; access.Access is one.
type Door interface {
	// Identify returns the caller. Its error is a status for them.
	Identify(ctx context.Context) (*orbit.User, error)
	// Open reviews what a user may see of these kinds in these namespaces. Its error is a status for them.
	Open(ctx context.Context, user *orbit.User, kinds, namespaces []string) (View, error)
}

// View is what a caller may see.
type View interface {
	// MaySee reports whether events of a kind are visible in a namespace; empty: those of nodes.
	MaySee(kind, namespace string) bool
	// All reports whether events of a kind are visible in all namespaces.
	All(kind string) bool
	// Redact withholds what is not visible, and reports whether anything is.
	Redact(ev *event.Event) (visible bool)
	// Watch waits until nothing is visible any more, or ctx ends. Its error is a status for the caller.
	Watch(ctx context.Context) error
}

// Service is the gRPC service for clients.
type Service struct {
	orbit.UnimplementedOrbitServiceServer
	door    Door
	agents  *agents
	cluster *cluster.Cluster
	// past has what agents hold no more; nil: nothing does.
	past    Past
	version string
	log     *slog.Logger
	memory  *memory
	turns   *turns
	metrics *metrics.Metrics
	// agentTimeout is agentTimeout, and longer in tests on a busy machine.
	agentTimeout time.Duration
	// running ends when the server begins to end.
	running context.Context
	// expiry returns the ends of the server's certificate and of its authority.
	expiry func() (own, authority time.Time)

	mu      sync.Mutex
	calls   int
	callsOf map[string]int // by user
}

// maxCalls limits the running requests, maxCallsOfUser those of one user.
const (
	maxCalls       = 256
	maxCallsOfUser = 32
)

// admit counts a request of a user that reads from agents, and reserves its memory. The caller releases both.
func (s *Service) admit(u *orbit.User, agents int) (memory *share, release func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.callsOf == nil {
		s.callsOf = map[string]int{}
	}
	switch {
	case s.callsOf[u.Name] >= maxCallsOfUser:
		return nil, nil, status.Errorf(codes.ResourceExhausted, "you have %d requests at this server: end one",
			maxCallsOfUser)
	case s.calls >= maxCalls:
		return nil, nil, status.Errorf(codes.ResourceExhausted, "this server has %d requests: try again later",
			maxCalls)
	}
	memory, err = s.memory.open(u.Name, agents)
	if err != nil {
		return nil, nil, err
	}
	s.calls++
	s.callsOf[u.Name]++
	return memory, func() {
		memory.close()
		s.mu.Lock()
		defer s.mu.Unlock()
		s.calls--
		if s.callsOf[u.Name]--; s.callsOf[u.Name] == 0 {
			delete(s.callsOf, u.Name)
		}
	}, nil
}

// sender returns a function that sends encoded answers, compressed where the client can read that.
func sender(stream grpc.ServerStream) func(orbit.Wire) error {
	_ = grpc.SetSendCompressor(stream.Context(), session.Compressor)
	return func(wire orbit.Wire) error { return stream.SendMsg(wire) }
}

// StreamEvents implements orbit.OrbitServiceServer.
func (s *Service) StreamEvents(r *orbit.StreamRequest, stream grpc.ServerStreamingServer[orbit.Answer]) error {
	return s.stream(stream.Context(), r, sender(stream))
}

// StreamFlows implements orbit.OrbitServiceServer.
func (s *Service) StreamFlows(r *orbit.StreamRequest, stream grpc.ServerStreamingServer[orbit.Answer]) error {
	return s.stream(stream.Context(), r, sender(stream), "flow")
}

// QueryEvents implements orbit.OrbitServiceServer.
func (s *Service) QueryEvents(r *orbit.QueryRequest, stream grpc.ServerStreamingServer[orbit.Answer]) error {
	return s.query(stream.Context(), r, queryOptions{}, sender(stream))
}

// QueryFlows implements orbit.OrbitServiceServer.
func (s *Service) QueryFlows(r *orbit.QueryFlowsRequest, stream grpc.ServerStreamingServer[orbit.Answer]) error {
	return s.query(stream.Context(), r.GetQuery(), queryOptions{flows: true, aggregateBy: r.GetAggregateBy()},
		sender(stream))
}
