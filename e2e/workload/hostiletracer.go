package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/session"
)

// hostileTracer speaks the session's protocol as a tracer on a hostile node would. Each of its batches has one valid
// event, events that no viewer must accept, and a warning. With an interval of hugeInterval its batches have hundreds
// of thousands of events.
type hostileTracer struct {
	session.UnimplementedSessionServer
	stop chan struct{}
	// interval is that of the client's Config. It is set before configured is closed.
	interval   time.Duration
	configured chan struct{}
}

// hugeInterval is the interval for which hostileTracer sends batches that are too large.
const hugeInterval = 7 * time.Second

// serveHostile serves one client, whose key is in the environment as a tracer's Job sets it.
func serveHostile(ctx context.Context) error {
	client, err := session.ParsePublicKey(os.Getenv(session.EnvClientKey))
	if err != nil {
		return err
	}
	identity, err := session.NewIdentity()
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", fmt.Sprintf("localhost:%d", session.Port))
	if err != nil {
		return err
	}
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(identity.ServerTLS(client))))
	session.RegisterSessionServer(server, &hostileTracer{stop: make(chan struct{}), configured: make(chan struct{})})
	context.AfterFunc(ctx, server.Stop)
	fmt.Println(session.Ready{Protocol: session.Protocol, Version: "v0", Key: identity.PublicKey().String(),
		Instance: 1}.Line())
	return server.Serve(listener)
}

func (h *hostileTracer) Control(stream session.Session_ControlServer) error {
	send := func(m *session.TracerMessage) error { return stream.Send(m) }
	for {
		m, err := stream.Recv()
		if err != nil {
			return nil
		}
		switch {
		case m.GetHello() != nil:
			err = send(&session.TracerMessage{Message: &session.TracerMessage_Welcome{Welcome: &session.Welcome{
				Protocol: session.Protocol, Instance: 1, Version: "v0",
			}}})
		case m.GetConfig() != nil:
			h.interval = time.Duration(m.GetConfig().GetInterval())
			close(h.configured)
		case m.GetPods() != nil:
			warnings := []string{"hostile warning \x1b[2J" + strings.Repeat("w", 100_000)}
			err = send(&session.TracerMessage{Message: &session.TracerMessage_Started{
				Started: &session.Started{Warnings: warnings}}})
		case m.GetHeartbeat() != nil:
			err = send(&session.TracerMessage{Message: &session.TracerMessage_Heartbeat{
				Heartbeat: &session.Heartbeat{}}})
		case m.GetStop() != nil:
			close(h.stop)
		}
		if err != nil {
			return err
		}
	}
}

func (h *hostileTracer) Events(_ *session.EventsRequest, stream session.Session_EventsServer) error {
	select {
	case <-h.configured:
	case <-stream.Context().Done():
		return nil
	}
	turn := time.NewTicker(10 * time.Millisecond)
	defer turn.Stop()
	for n := uint64(1); ; n++ {
		batch := &session.Batch{Sequence: n, Watermark: uint64(time.Now().UnixNano()), Events: hostileEvents(n)}
		if h.interval == hugeInterval {
			for range 300_000 {
				batch.Events = append(batch.Events, &event.Event{})
			}
		}
		select {
		case <-turn.C:
		case <-h.stop:
			batch.Final = true
		case <-stream.Context().Done():
			return nil
		}
		if err := stream.Send(batch); err != nil || batch.Final {
			return err
		}
	}
}

// hostileEvents returns a valid event of a GPU, nine that a viewer must reject, and a warning.
func hostileEvents(n uint64) []*event.Event {
	now := uint64(time.Now().UnixNano())
	gpu := func(at uint64, uuid, parent string) *event.Event {
		return &event.Event{Time: at,
			Kind: &event.Event_Gpu{Gpu: &event.Gpu{Gpu: &event.GpuDevice{Uuid: uuid, Parent: parent}}}}
	}
	status := &event.NodeStatus{State: event.NodeState_NODE_STATE_STREAMING, Message: fmt.Sprint("hostile warning ", n)}
	verdict := &event.GpuVerdict{Words: "forged"}
	return []*event.Event{
		gpu(now, fmt.Sprint("GPU-good-", n%4), ""),
		{Time: now, Kind: &event.Event_GpuVerdict{GpuVerdict: verdict}},
		{Time: now, Kind: &event.Event_Exec{Exec: &event.Exec{Args: []byte("forged")}}},
		gpu(1<<63, "forged", ""), gpu(1, "forged", ""), gpu(now+uint64(1000*time.Hour), "forged", ""),
		gpu(now, "forged", "forged"), gpu(now, strings.Repeat("forged", 10_000), ""),
		{Time: now}, {},
		{Time: now, Kind: &event.Event_NodeStatus{NodeStatus: status}},
	}
}
