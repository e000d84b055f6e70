package server

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// handshakes are credentials that count how many handshakes go on. The first ones end when there are enough.
type handshakes struct {
	credentials.TransportCredentials
	enough chan struct{}

	mu          sync.Mutex
	going, most int
}

func (h *handshakes) ClientHandshake(
	ctx context.Context, name string, conn net.Conn,
) (net.Conn, credentials.AuthInfo, error) {
	h.mu.Lock()
	h.going++
	if h.most = max(h.most, h.going); h.going == maxConnecting {
		select {
		case <-h.enough:
		default:
			close(h.enough)
		}
	}
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		h.going--
		h.mu.Unlock()
	}()
	select {
	case <-h.enough:
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	return h.TransportCredentials.ClientHandshake(ctx, name, conn)
}

func (h *handshakes) Clone() credentials.TransportCredentials { return h }

func TestConnectAhead_FewAtATime(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	address := listen(t, func(*grpc.Server) {})
	shakes := &handshakes{TransportCredentials: insecure.NewCredentials(), enough: make(chan struct{})}
	a := newAgents(func(string) credentials.TransportCredentials { return shakes },
		slog.New(slog.NewTextHandler(t.Output(), nil)))
	a.connectTimeout = time.Minute
	var running sync.WaitGroup
	defer running.Wait()
	defer a.closeAll()
	defer cancel()
	running.Go(func() { a.connectAhead(ctx) })
	add := func(n int) {
		a.mu.Lock()
		defer a.mu.Unlock()
		for range n {
			node := fmt.Sprint("node-", len(a.nodes))
			g, err := a.connect(endpoint{node: node, address: address})
			if err != nil {
				t.Fatal(err)
			}
			a.nodes[node] = g
		}
		close(a.changed)
		a.changed = make(chan struct{})
	}
	for _, more := range []int{3 * maxConnecting, 1} {
		add(more)
		all, _ := a.all()
		for _, g := range all {
			for state := g.conn.GetState(); state != connectivity.Ready; state = g.conn.GetState() {
				if !g.conn.WaitForStateChange(ctx, state) {
					t.Fatalf("%s is %v: %v", g.node, state, ctx.Err())
				}
			}
		}
	}
	if shakes.most != maxConnecting {
		t.Errorf("%d handshakes at a time, want %d", shakes.most, maxConnecting)
	}
}
