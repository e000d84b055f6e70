package forward

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	gwebsocket "github.com/gorilla/websocket"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/klog/v2"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
)

// tunnel is an API server with nothing but port-forward over WebSockets, which sends back what it gets. It notes the
// connections that it accepts, and the headers of upgrades.
type tunnel struct {
	*httptest.Server
	mu      sync.Mutex
	conns   map[net.Conn]http.ConnState
	opened  int
	headers []http.Header
	drops   int           // upgraded connections that are closed at once
	closed  chan struct{} // gets one for each connection that is closed before it was upgraded
}

func newTunnel(t *testing.T) (*tunnel, *Dialer) {
	t.Helper()
	s := &tunnel{conns: map[net.Conn]http.ConnState{}, closed: make(chan struct{}, 16)}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(s.upgrade))
	s.Config.ConnState = func(c net.Conn, state http.ConnState) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.conns[c] = state; state == http.StateNew {
			s.opened++
		}
		if state == http.StateClosed {
			s.closed <- struct{}{}
		}
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	d := NewDialer(&rest.Config{Host: s.URL, BearerToken: "secret",
		TLSClientConfig: rest.TLSClientConfig{Insecure: true}}, "demo", 9090)
	t.Cleanup(d.Close)
	return s, d
}

func (s *tunnel) upgrade(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.headers = append(s.headers, r.Header)
	s.drops--
	drop := s.drops >= 0
	s.mu.Unlock()
	upgrader := gwebsocket.Upgrader{Subprotocols: []string{"SPDY/3.1+portforward.k8s.io"}}
	ws, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return // the client gets it
	}
	if drop {
		_ = ws.Close()
		return
	}
	streams := make(chan httpstream.Stream, 2)
	conn, err := spdy.NewServerConnection(portforward.NewTunnelingConnectionWithLogger(klog.Background(), ws),
		func(s httpstream.Stream, _ <-chan struct{}) error {
			streams <- s
			return nil
		})
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }() // the client has closed it in most tests
	for range 2 {
		if stream := <-streams; stream.Headers().Get(corev1.StreamType) == corev1.StreamTypeData {
			go func() {
				_, _ = io.Copy(stream, stream) // until the client ends or resets the stream
				_ = stream.Close()
			}()
		}
	}
	<-conn.CloseChan()
}

// count is the number of connections so far.
func (s *tunnel) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.opened
}

func echo(t *testing.T, d *Dialer) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := d.Dial(ctx, "web-0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { check(t, c.Close()) }()
	write(t, c, "hello")
	got := make([]byte, 5)
	if _, err := io.ReadFull(c, got); err != nil || string(got) != "hello" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestDial_UsesTheWarmConnection(t *testing.T) {
	s, d := newTunnel(t)
	d.Ahead("")
	d.Ahead("web-0")
	echo(t, d)
	if n := s.count(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
	echo(t, d)
	if n := s.count(); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
	for _, h := range s.headers {
		if got := h.Get("Authorization"); got != "Bearer secret" {
			t.Errorf("authorization %q", got)
		}
	}
}

func TestDial_Impersonates(t *testing.T) {
	s, d := newTunnel(t)
	d.config.Impersonate = rest.ImpersonationConfig{UserName: "alice", UID: "42", Groups: []string{"dev", "sre"},
		Extra: map[string][]string{"reason": {"on call"}}}
	d.Ahead("")
	d.Ahead("web-0")
	echo(t, d)
	echo(t, d)
	if len(s.headers) != 2 {
		t.Fatalf("%d upgrades, want one ahead and one by Dial", len(s.headers))
	}
	for _, h := range s.headers {
		if h.Get("Impersonate-User") != "alice" || h.Get("Impersonate-Uid") != "42" ||
			len(h["Impersonate-Group"]) != 2 || h.Get("Impersonate-Extra-Reason") != "on call" {
			t.Errorf("an upgrade with %v", h)
		}
	}
}

func TestDial_SurvivesAClosedConnection(t *testing.T) {
	s, d := newTunnel(t)
	d.Ahead("")
	d.pool.work.Wait()
	s.CloseClientConnections() // as a load balancer does
	<-s.closed
	d.Ahead("web-0")
	echo(t, d)
	if n := s.count(); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
}

func TestDial_SurvivesAClosedTunnel(t *testing.T) {
	s, d := newTunnel(t)
	s.drops = 1
	d.Ahead("")
	d.Ahead("web-0")
	d.pool.work.Wait()
	echo(t, d)
	if n := s.count(); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
}

func TestClose_EndsWhatIsNotUsed(t *testing.T) {
	s, d := newTunnel(t)
	d.Ahead("")
	d.pool.work.Wait()
	d.Close()
	<-s.closed
	d.Ahead("") // too late
	d.pool.work.Wait()
	if d.pool.acquire(t.Context(), apiServer) != nil {
		t.Error("a closed Dialer keeps a connection")
	}
}

func TestAhead_NotThroughProxies(t *testing.T) {
	s, d := newTunnel(t)
	proxy, err := d.url("web-0")
	check(t, err)
	d.config.Proxy = http.ProxyURL(proxy)
	d.Ahead("")
	d.pool.work.Wait()
	if d.pool.acquire(t.Context(), apiServer) != nil || s.count() != 0 {
		t.Error("a connection was made past the proxy")
	}
}

func TestPool_ClosesOldConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pool
		client, server := net.Pipe()
		p.begin("", func() io.Closer { return client })
		time.Sleep(maxAge + time.Second) // in the bubble's time
		synctest.Wait()
		if p.acquire(t.Context(), "") != nil {
			t.Error("an old connection was given")
		}
		if _, err := server.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("the old connection is open: %v", err)
		}
	})
}
