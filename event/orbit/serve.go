package orbit

import (
	"context"
	"fmt"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/peer"
)

// shutdownTimeout is how long streams may take to end when a server does.
const shutdownTimeout = 2 * time.Second

// Serve serves gRPC until ctx ends, and returns nil then. Streams have shutdownTimeout to end.
func Serve(ctx context.Context, g *grpc.Server, l net.Listener) error {
	stopped := make(chan struct{})
	cancel := context.AfterFunc(ctx, func() {
		defer close(stopped)
		hard := time.AfterFunc(shutdownTimeout, g.Stop)
		defer hard.Stop()
		g.GracefulStop()
	})
	err := g.Serve(l)
	if cancel() {
		return fmt.Errorf("serve on %s: %w", l.Addr(), err)
	}
	<-stopped
	return nil
}

// ClientAddress returns the address of a call's client, without the port.
func ClientAddress(ctx context.Context) string {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return "unknown"
	}
	if host, _, err := net.SplitHostPort(p.Addr.String()); err == nil {
		return host
	}
	return p.Addr.String()
}
