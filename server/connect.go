package server

import (
	"context"
	"net"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/keepalive"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/orb8-dev/kubectl-orb8/event/orbit"
)

const (
	// connectionBuffer is the size of each buffer of a connection to an agent, bytes: there are many connections, and
	// TLS has buffers of its own.
	connectionBuffer = 4 << 10
	// maxConnecting limits the connections that are made at a time ahead of requests. A thousand handshakes at once
	// take longer than agentTimeout on a busy machine, and then begin anew.
	maxConnecting = 16
)

// endpointsOf are the agents of an EndpointSlice.
func endpointsOf(slice *discoveryv1.EndpointSlice) (found []endpoint) {
	for i := range slice.Endpoints {
		e := &slice.Endpoints[i]
		if e.NodeName == nil || len(e.Addresses) == 0 {
			continue
		}
		// A terminating agent still answers; a new one takes its place once it is ready.
		serving := e.Conditions.Serving == nil || *e.Conditions.Serving
		if !serving {
			continue
		}
		found = append(found, endpoint{*e.NodeName, net.JoinHostPort(e.Addresses[0], strconv.Itoa(orbit.AgentPort)),
			e.Conditions.Ready == nil || *e.Conditions.Ready})
	}
	return found
}

// connect makes the connection to an agent, which is made up on its first use.
func (a *agents) connect(e endpoint) (*agent, error) {
	conn, err := grpc.NewClient("passthrough:///"+e.address,
		grpc.WithTransportCredentials(a.credentials(e.node)),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(orbit.MaxMessageBytes),
			grpc.ForceCodecV2(orbit.NewCodec())),
		grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: a.connectTimeout,
			Backoff: backoff.Config{BaseDelay: 200 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2,
				MaxDelay: 5 * time.Second}}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 5 * time.Second,
			PermitWithoutStream: true}),
		grpc.WithIdleTimeout(0), // else all are made up at once for the first request after half an hour
		grpc.WithStaticStreamWindowSize(maxWindow), grpc.WithStaticConnWindowSize(4<<20),
		grpc.WithReadBufferSize(connectionBuffer), grpc.WithWriteBufferSize(connectionBuffer),
		grpc.WithMaxHeaderListSize(16<<10),
		grpc.WithDisableServiceConfig(), grpc.WithNoProxy(),
	)
	if err != nil {
		return nil, err
	}
	return &agent{node: e.node, address: e.address, conn: conn, client: orbit.NewAgentClient(conn),
		gone: make(chan struct{}), work: &a.work}, nil
}

// connectAhead connects to all agents, few at a time, before a request needs them, also to those that come later. It
// ends with ctx.
func (a *agents) connectAhead(ctx context.Context) {
	var connecting sync.WaitGroup
	defer connecting.Wait()
	places := make(chan struct{}, maxConnecting)
	for {
		all, changed := a.all()
		for _, g := range all {
			if g.ahead {
				continue
			}
			g.ahead = true
			select {
			case places <- struct{}{}:
			case <-ctx.Done():
				return
			}
			connecting.Go(func() {
				g.connectAhead(ctx)
				<-places
			})
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// connectAhead returns when the first attempt to connect is over.
func (g *agent) connectAhead(ctx context.Context) {
	g.conn.Connect()
	for {
		state := g.conn.GetState()
		if state != connectivity.Idle && state != connectivity.Connecting || !g.conn.WaitForStateChange(ctx, state) {
			return
		}
	}
}
