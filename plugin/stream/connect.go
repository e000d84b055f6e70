package stream

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/orb8-dev/kubectl-orb8/collect"
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/session"
	"github.com/orb8-dev/kubectl-orb8/plugin/internal/preface"
)

// maxLogBytes is how much of a tracer's log is read for its ready line: a tracer says next to nothing before it.
const maxLogBytes = 1 << 20

// closeTimeout bounds the wait for a tracer to close Control behind its last batch.
const closeTimeout = time.Second

var errNoReady = errors.New("the tracer's log ends without its key")

func readReady(log io.Reader) (ready session.Ready, key session.PublicKey, err error) {
	lines := bufio.NewScanner(io.LimitReader(log, maxLogBytes))
	for lines.Scan() {
		ready, key, ok, err := session.ParseReady(lines.Text())
		if ok {
			return ready, key, err
		}
	}
	if err := lines.Err(); err != nil {
		return ready, key, fmt.Errorf("read the tracer's log: %w", err)
	}
	return ready, key, errNoReady
}

// connect makes one connection and serves it to its end: nil after an orderly end.
func (n *node) connect(ctx, running context.Context) error {
	dialing, cancel := context.WithTimeout(running, dialTimeout)
	raw, err := n.Dial(dialing, n.pod)
	cancel()
	if err != nil {
		return err
	}
	codec := session.NewCodec()
	// gRPC is handed the one connection and may not make another: what a cut means is decided here.
	var once sync.Once
	conn, err := grpc.NewClient("passthrough:///tracer",
		grpc.WithContextDialer(func(context.Context, string) (c net.Conn, err error) {
			err = errors.New("cut")
			once.Do(func() { c, err = raw, nil })
			return c, err
		}),
		grpc.WithTransportCredentials(preface.Eager(credentials.NewTLS(n.Identity.ClientTLS(n.key)))),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(session.MaxBatchBytes), grpc.ForceCodecV2(codec)),
		grpc.WithMaxHeaderListSize(maxHeaderBytes),
		grpc.WithStaticStreamWindowSize(session.StreamWindow), grpc.WithStaticConnWindowSize(session.ConnectionWindow),
		grpc.WithDisableRetry(), grpc.WithDisableServiceConfig(), grpc.WithIdleTimeout(0),
	)
	if err != nil {
		raw.Close()
		return err
	}
	defer raw.Close()
	defer func() { _ = conn.Close() }() // fails only where it is closed already

	calls, hangUp := context.WithCancel(ctx)
	defer hangUp()
	client := session.NewSessionClient(conn)
	// A tracer that takes longer has given this client up anyway.
	timeout := time.AfterFunc(session.HeartbeatTimeout, hangUp)
	control, stream, err := n.greet(calls, client)
	if !timeout.Stop() && ctx.Err() == nil {
		return fmt.Errorf("the tracer does not answer within %v", session.HeartbeatTimeout)
	}
	if err != nil {
		return err
	}
	group, serving := errgroup.WithContext(calls)
	finished := make(chan struct{}) // the final batch is in
	group.Go(func() error {
		err := n.receive(calls, stream)
		if err == nil {
			close(finished)
		}
		return err
	})
	group.Go(func() error {
		orderly, err := n.talk(serving, running, control, finished)
		if !orderly {
			// A cut ends both directions at once: no goroutine waits for another's stream.
			hangUp()
			return err
		}
		// The tracer ends Control when it has seen our end of it. One that does not is not waited for.
		time.AfterFunc(closeTimeout, hangUp)
		return err
	})
	group.Go(func() error { return n.listen(control, serving, finished) })
	err = group.Wait()
	if refused := codec.Refused(); refused != nil {
		return &fatalError{fmt.Errorf("the tracer breaks the protocol: it sent %w", refused)}
	}
	return err
}

// greet opens Control and Events, and sends what the tracer must know before it starts, all without waiting: only then
// it reads the Welcome. The batches are of the instance that the Welcome names.
func (n *node) greet(ctx context.Context, client session.SessionClient) (
	session.Session_ControlClient, session.Session_EventsClient, error,
) {
	control, err := client.Control(ctx)
	if err != nil {
		return nil, nil, explain(err)
	}
	n.feed.Reset()
	update, err := n.feed.Next(ctx)
	if err != nil {
		return nil, nil, err
	}
	for _, message := range []*session.ClientMessage{
		{Message: &session.ClientMessage_Hello{Hello: &session.Hello{Protocol: session.Protocol, Version: n.Version}}},
		{Message: &session.ClientMessage_Config{Config: n.Config}},
		{Message: &session.ClientMessage_Pods{Pods: update}},
	} {
		// After EOF the reason is what Recv gets.
		if err := control.Send(message); err != nil && !errors.Is(err, io.EOF) {
			return nil, nil, explain(err)
		}
	}
	events, err := client.Events(ctx, &session.EventsRequest{ResumeFrom: n.next, Instance: n.instance})
	if err != nil {
		return nil, nil, explain(err)
	}
	message, err := control.Recv()
	if err != nil {
		return nil, nil, explain(err)
	}
	welcome := message.GetWelcome()
	if welcome == nil || welcome.Protocol != session.Protocol {
		return nil, nil, &fatalError{n.mismatch(fmt.Sprintf("speaks protocol %d", welcome.GetProtocol()),
			welcome.GetVersion())}
	}
	n.kernel = welcome.BootId
	if welcome.Instance != n.instance {
		n.instance, n.next = welcome.Instance, 0 // it sends all that it has
	}
	n.heard.now()
	return control, events, nil
}

// receive feeds batches to the merge until the final one.
func (n *node) receive(ctx context.Context, stream session.Session_EventsClient) error {
	for {
		batch, err := stream.Recv()
		if err != nil {
			return explain(err)
		}
		n.heard.now()
		if batch.Sequence >= n.next {
			n.relayStatuses(batch.Events)
		}
		if err := n.source.Feed(ctx, collect.Batch{
			Instance: n.instance, Sequence: batch.Sequence, Events: batch.Events, Watermark: batch.Watermark,
			Kernel: n.kernel, GapSummary: batch.GapSummary,
		}); err != nil {
			return err
		}
		n.next = batch.Sequence + 1
		n.seen.now()
		if batch.Final {
			n.last = lastStatus(batch.Events)
			n.orderly = n.stopSent.Load() && !ownEnd(n.last)
			return nil
		}
	}
}

// relayStatuses reports the tracer's warnings while it streams.
func (n *node) relayStatuses(events []*event.Event) {
	for _, ev := range events {
		if s := ev.GetNodeStatus(); s.GetState() == event.NodeState_NODE_STATE_STREAMING && s.GetMessage() != "" {
			n.relay(s.GetMessage())
		}
	}
}

// lastStatus returns the status in which a tracer reports its own end: the last one of a final batch.
func lastStatus(events []*event.Event) *event.NodeStatus {
	for _, ev := range slices.Backward(events) {
		if s := ev.GetNodeStatus(); s != nil {
			return s
		}
	}
	return nil
}

// ownEnd reports whether a tracer has ended by itself, and not because of a Stop.
func ownEnd(s *event.NodeStatus) bool {
	return s.GetState() == event.NodeState_NODE_STATE_STOPPED || s.GetState() == event.NodeState_NODE_STATE_FAILED
}

// talk is all that is sent on Control: heartbeats, news of pods, and in the end Stop. It returns when the final batch
// is in, which is the orderly end, or the wait for it is over.
func (n *node) talk(
	ctx, running context.Context, control session.Session_ControlClient, finished <-chan struct{},
) (orderly bool, err error) {
	updates := make(chan *session.PodUpdate)
	feeding, cancel := context.WithCancel(ctx)
	var feed sync.WaitGroup
	defer feed.Wait()
	defer cancel()
	feed.Go(func() {
		for {
			update, err := n.feed.Next(feeding)
			if err != nil {
				return
			}
			select {
			case updates <- update:
			case <-feeding.Done():
				return
			}
		}
	})
	beat := time.NewTicker(session.HeartbeatInterval)
	defer beat.Stop()
	stop := running.Done()
	var giveUp <-chan time.Time
	for {
		var message *session.ClientMessage
		select {
		case <-beat.C:
			// A connection may be lost without an error, and a tracer may be stopped. The tracer answers each
			// heartbeat, so missing answers reveal both.
			if silent := time.Since(n.heard.get()); silent > session.HeartbeatTimeout {
				return false, fmt.Errorf("not a word from the tracer for %.1f s", silent.Seconds())
			}
			message = &session.ClientMessage{Message: &session.ClientMessage_Heartbeat{Heartbeat: &session.Heartbeat{}}}
		case update := <-updates:
			message = &session.ClientMessage{Message: &session.ClientMessage_Pods{Pods: update}}
		case <-stop:
			stop = nil
			timer := time.NewTimer(drainTimeout)
			defer timer.Stop()
			giveUp = timer.C
			n.stopSent.Store(true)
			message = &session.ClientMessage{Message: &session.ClientMessage_Stop{Stop: &session.Stop{}}}
		case <-giveUp:
			n.report(event.NodeState_NODE_STATE_STOPPED,
				fmt.Sprintf("the tracer did not send its last events within %v", drainTimeout))
			return false, nil
		case <-finished:
			// All is in: closing our side lets the tracer end at once.
			return true, control.CloseSend()
		case <-ctx.Done():
			return false, ctx.Err()
		}
		if err := control.Send(message); err != nil {
			// The reason is what Recv gets, in listen.
			if errors.Is(err, io.EOF) {
				select {
				case <-finished:
				case <-ctx.Done():
				}
				return false, nil
			}
			return false, explain(err)
		}
	}
}

// listen reads the tracer's side of Control.
func (n *node) listen(control session.Session_ControlClient, serving context.Context, finished <-chan struct{}) error {
	started := false
	for {
		message, err := control.Recv()
		if err != nil {
			select {
			case <-finished:
				return nil // the tracer is done, and so are we
			case <-serving.Done():
				return nil // another goroutine has the reason
			default:
			}
			if errors.Is(err, io.EOF) {
				// The tracer ended Control first: the end of Events decides whether all events were received.
				select {
				case <-finished:
				case <-serving.Done():
				}
				return nil
			}
			return explain(err)
		}
		n.heard.now()
		if s := message.GetStarted(); s != nil && !started {
			started = true // reported once per connection
			if s.Error != "" {
				return &fatalError{errors.New(clip(s.Error))}
			}
			for _, w := range s.Warnings {
				n.relay("warning: " + w)
			}
			n.back(serving)
		}
	}
}

// explain strips a gRPC error to its message, and marks the errors that a retry does not fix.
func explain(err error) error {
	s, ok := status.FromError(err)
	if !ok {
		return err
	}
	err = errors.New(clip(s.Message()))
	switch s.Code() {
	case codes.ResourceExhausted: // gRPC found it too long, on this side or on the other
		if strings.Contains(s.Message(), "larger than max") {
			return &fatalError{fmt.Errorf("the tracer breaks the protocol: it sent a message of more than %d bytes",
				session.MaxBatchBytes)}
		}
	case codes.FailedPrecondition, codes.InvalidArgument, codes.Unimplemented:
		return &fatalError{err}
	}
	return err
}
