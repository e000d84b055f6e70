package tracer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/session"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// server is the session's gRPC service. It has one client, which may reconnect: only the newest Control stream and the
// newest Events stream run.
type server struct {
	session.UnimplementedSessionServer
	welcome  *session.Welcome
	watchdog *watchdog
	out      *outbox
	// apply applies an update of the node's pods.
	apply func(*session.PodUpdate) error

	control, data turn
	// receivers read the Control streams. Each ends when gRPC ends its stream.
	receivers sync.WaitGroup

	mu     sync.Mutex
	config *session.Config

	configured chan *session.Config // receives the first configuration
	populated  *once                // the first pod update was applied
	stop       *once                // the client sent Stop
	answered   *once                // answer was set
	answer     *session.Started
	sent       *once // the final batch was sent
	left       *once // the client closed Control after the final batch, or after an answer with an error
	closing    *once // the server shuts down
}

func newServer(
	welcome *session.Welcome, watchdog *watchdog, out *outbox, apply func(*session.PodUpdate) error,
) *server {
	return &server{
		welcome:    welcome,
		watchdog:   watchdog,
		out:        out,
		apply:      apply,
		configured: make(chan *session.Config, 1),
		populated:  newOnce(),
		stop:       newOnce(),
		answered:   newOnce(),
		sent:       newOnce(),
		left:       newOnce(),
		closing:    newOnce(),
	}
}

// transport returns the gRPC server of s, with pinned keys and tight limits, because neither end trusts the other.
func (s *server) transport(identity *session.Identity, client session.PublicKey) *grpc.Server {
	g := grpc.NewServer(
		grpc.Creds(admitted{credentials.NewTLS(identity.ServerTLS(client))}),
		grpc.ForceServerCodecV2(newCodec()),
		grpc.MaxRecvMsgSize(session.MaxMessageBytes),
		grpc.MaxSendMsgSize(session.MaxMessageBytes),
		grpc.MaxHeaderListSize(16<<10),
		grpc.StaticStreamWindowSize(session.StreamWindow), grpc.StaticConnWindowSize(session.ConnectionWindow),
		grpc.MaxConcurrentStreams(8),
		grpc.ConnectionTimeout(session.FirstContactTimeout),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: session.HeartbeatTimeout / 3,
			Timeout: session.HeartbeatTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
	)
	session.RegisterSessionServer(g, s)
	return g
}

// start sets the answer to the client's configuration.
func (s *server) start(answer *session.Started) {
	s.answer = answer
	s.answered.happen()
}

// Control serves the client's messages and heartbeats.
func (s *server) Control(stream grpc.BidiStreamingServer[session.ClientMessage, session.TracerMessage]) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	hello := first.GetHello()
	switch {
	case hello == nil:
		return status.Error(codes.InvalidArgument, "the first message must be a Hello")
	case hello.GetProtocol() != s.welcome.GetProtocol():
		return status.Errorf(codes.FailedPrecondition,
			"the tracer (%s) speaks protocol %d, the client (%s) protocol %d",
			s.welcome.GetVersion(), s.welcome.GetProtocol(), hello.GetVersion(), hello.GetProtocol())
	}
	s.watchdog.heard()
	ctx, release := s.control.take(stream.Context())
	defer release()
	if err := stream.Send(&session.TracerMessage{Message: &session.TracerMessage_Welcome{
		Welcome: s.welcome}}); err != nil {
		return err
	}

	c := &conversation{server: s, stream: stream}
	inbox, broken := s.receive(ctx, stream)
	for {
		select {
		case m := <-inbox:
			s.watchdog.heard()
			err = c.take(m)
		case <-c.awaited:
			c.awaited = nil
			err = stream.Send(&session.TracerMessage{Message: &session.TracerMessage_Started{Started: s.answer}})
		case err = <-broken:
			if !errors.Is(err, io.EOF) {
				return err
			}
			if s.sent.happened() || s.answered.happened() && s.answer.GetError() != "" {
				s.left.happen()
			}
			return nil
		case <-s.closing.done:
			return nil
		case <-ctx.Done():
			return ended(ctx)
		}
		if err != nil {
			return err
		}
	}
}

// receive reads a Control stream in a goroutine, so that its handler can wait for other channels as well.
func (s *server) receive(
	ctx context.Context, stream grpc.BidiStreamingServer[session.ClientMessage, session.TracerMessage],
) (<-chan *session.ClientMessage, <-chan error) {
	inbox, broken := make(chan *session.ClientMessage), make(chan error, 1)
	s.receivers.Go(func() {
		for {
			m, err := stream.Recv()
			if err != nil {
				broken <- err
				return
			}
			select {
			case inbox <- m:
			case <-ctx.Done():
				return
			}
		}
	})
	return inbox, broken
}

// conversation is one Control stream after Hello and Welcome.
type conversation struct {
	*server
	stream grpc.BidiStreamingServer[session.ClientMessage, session.TracerMessage]
	// awaited is closed when there is an answer for the client; nil if it does not wait for one.
	awaited <-chan struct{}
	// complete: this connection has sent a complete list of pods.
	complete bool
}

func (c *conversation) take(m *session.ClientMessage) error {
	switch m := m.GetMessage().(type) {
	case *session.ClientMessage_Config:
		if err := c.configure(m.Config); err != nil {
			return err
		}
		c.awaited = c.answered.done
	case *session.ClientMessage_Pods:
		if !c.complete && !m.Pods.GetComplete() {
			return status.Error(codes.InvalidArgument, "the first pod update of a connection must be complete")
		}
		c.complete = true
		if err := c.apply(m.Pods); err != nil {
			return status.Error(codes.InvalidArgument, err.Error())
		}
		c.populated.happen()
	case *session.ClientMessage_Heartbeat:
		return c.stream.Send(&session.TracerMessage{Message: &session.TracerMessage_Heartbeat{
			Heartbeat: &session.Heartbeat{}}})
	case *session.ClientMessage_Stop:
		c.server.stop.happen()
	case *session.ClientMessage_Hello:
		return status.Error(codes.InvalidArgument, "a second Hello")
	default:
		// An optional message of a newer client. A mandatory one would change the protocol's number.
	}
	return nil
}

// configure stores the first configuration and refuses a different one.
func (s *server) configure(config *session.Config) error {
	if err := checkConfig(config); err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.config == nil:
		s.config = config
		s.configured <- config
	case !proto.Equal(s.config, config):
		return status.Error(codes.FailedPrecondition, "the tracer runs with another configuration")
	}
	return nil
}

// Limits of a client's configuration.
const (
	minInterval  = 50 * time.Millisecond
	maxInterval  = time.Hour
	maxRingBytes = 64 << 20
	maxMaxFlows  = 4 << 20
	maxKinds     = 32
)

func checkConfig(c *session.Config) error {
	interval := time.Duration(c.GetInterval())
	switch ring := c.GetRingBytes(); {
	case len(c.GetKinds()) == 0 || len(c.GetKinds()) > maxKinds:
		return fmt.Errorf("%d kinds of events: want 1 to %d", len(c.GetKinds()), maxKinds)
	case interval != 0 && (interval < minInterval || interval > maxInterval):
		return fmt.Errorf("interval %v is not between %v and %v", interval, minInterval, maxInterval)
	case ring > maxRingBytes || ring&(ring-1) != 0:
		return fmt.Errorf("ring buffer of %d bytes: not a power of two up to %d", ring, maxRingBytes)
	case c.GetMaxFlows() > maxMaxFlows:
		return fmt.Errorf("%d flows are more than %d", c.GetMaxFlows(), maxMaxFlows)
	}
	if filter := c.GetCapture().GetFilter(); len(filter) > session.MaxFilter {
		return fmt.Errorf("a filter of %d instructions: want at most %d", len(filter), session.MaxFilter)
	}
	return nil
}

// Events streams batches until the final one.
func (s *server) Events(request *session.EventsRequest, stream grpc.ServerStreamingServer[session.Batch]) error {
	// Batches missing for a first reader did not fit into the queue. Batches missing for a resuming one were lost in
	// the gap.
	from, stage := uint64(1), event.LossStage_LOSS_STAGE_QUEUE
	if request.GetInstance() == s.welcome.GetInstance() && request.GetResumeFrom() > 0 {
		from, stage = request.GetResumeFrom(), event.LossStage_LOSS_STAGE_STREAM_GAP
	}
	if err := s.out.check(from); err != nil {
		return status.Errorf(codes.OutOfRange, "resume from %d: %v", from, err)
	}
	ctx, release := s.data.take(stream.Context())
	defer release()
	// Without this compressor at the client, batches are sent uncompressed.
	compressed := grpc.SetSendCompressor(ctx, session.Compressor) == nil
	for ctx.Err() == nil {
		wire, next, changed, final := s.out.read(from, stage)
		switch {
		case wire != nil:
			if err := sendBatch(stream, wire, compressed); err != nil {
				return err
			}
			from, stage = next, event.LossStage_LOSS_STAGE_QUEUE
		case final:
			s.sent.happen()
			return nil
		default:
			select {
			case <-changed:
			case <-ctx.Done():
			case <-s.closing.done:
				return status.Error(codes.Unavailable, "the tracer has ended")
			}
		}
	}
	return ended(ctx)
}

// sendBatch sends a batch, uncompressed to a client that does not know the compressor.
func sendBatch(stream grpc.ServerStream, wire wireBatch, compressed bool) (err error) {
	if !compressed {
		if wire, err = session.Unpack(wire); err != nil {
			return status.Errorf(codes.Internal, "a batch in memory is broken: %v", err)
		}
	}
	return stream.SendMsg(wire)
}

// ended returns the status of a stream whose context has ended.
func ended(ctx context.Context) error {
	if errors.Is(context.Cause(ctx), errSuperseded) {
		return status.Error(codes.Aborted, errSuperseded.Error())
	}
	return status.FromContextError(ctx.Err()).Err()
}

// close ends all streams and connections, with time for pending messages, and waits for their goroutines.
func (s *server) close(g *grpc.Server) {
	s.closing.happen()
	hard := time.AfterFunc(goodbye, g.Stop)
	g.GracefulStop()
	hard.Stop()
	s.receivers.Wait()
}

// goodbye is how long connections may take to end.
const goodbye = time.Second
