package identity

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/orb8-dev/kubectl-orb8/event/orbit"
	"github.com/orb8-dev/kubectl-orb8/event/orbit/orbittest"
)

// server issues certificates, over real TLS on pipes.
type server struct {
	orbit.UnimplementedCertificatesServer
	t     *testing.T
	conns chan net.Conn

	mu     sync.Mutex
	ca     *orbittest.Authority
	node   string
	fail   error
	tokens []string
	closed sync.Once
}

func (s *server) Certify(_ context.Context, r *orbit.CertifyRequest) (*orbit.CertifyAnswer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens = append(s.tokens, r.GetToken())
	if s.fail != nil {
		return nil, s.fail
	}
	key, err := orbit.ParseRequest(r.GetRequest())
	if err != nil {
		return nil, err
	}
	template, err := orbit.Peer{Role: orbit.RoleAgent, Node: s.node}.Template(time.Now(), orbit.AgentLife)
	if err != nil {
		return nil, err
	}
	return &orbit.CertifyAnswer{Chain: [][]byte{s.ca.Sign(s.t, template, key).Raw}}, nil
}

// calls returns the tokens of the calls so far.
func (s *server) calls() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.tokens...)
}

func (s *server) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func (s *server) Accept() (net.Conn, error) {
	c, ok := <-s.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

// Close ends Accept. gRPC calls it when it stops, and expects the error of Accept only then.
func (s *server) Close() error {
	s.closed.Do(func() { close(s.conns) })
	return nil
}

func (s *server) Addr() net.Addr { return &net.TCPAddr{} }

// dial connects an agent to the server by a pipe.
func (s *server) dial(context.Context, string) (net.Conn, error) {
	a, b := net.Pipe()
	s.conns <- a
	return b, nil
}

// world is an agent and its server, in a bubble.
type world struct {
	*server
	dir string
	id  *Identity
}

func start(t *testing.T) *world {
	t.Helper()
	w := &world{dir: t.TempDir(), server: &server{t: t, ca: orbittest.New(t), node: "n1"}}
	w.conns = make(chan net.Conn, 8)
	credential := orbit.Credentials{
		Bundle: func() (*orbit.Bundle, error) { return w.ca.Bundle(), nil },
		Certificate: func() (*tls.Certificate, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.ca.Issue(t, orbit.Peer{Role: orbit.RoleServer}, time.Hour), nil
		},
	}
	g := grpc.NewServer(grpc.Creds(credentials.NewTLS(orbit.ServerTLS(credential, true,
		orbit.Accept(orbit.RoleViewer)))))
	orbit.RegisterCertificatesServer(g, w.server)
	served := make(chan error)
	go func() { served <- g.Serve(w.server) }()
	w.write(t, "token", "one\n")
	id, err := Open(Options{Node: "n1", Server: "orb8-server:8080", TokenFile: filepath.Join(w.dir, "token"),
		AuthorityFile: filepath.Join(w.dir, "ca.crt"), Dial: w.dial})
	if err != nil {
		t.Fatal(err)
	}
	w.id = id
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { id.Run(ctx); close(done) }()
	t.Cleanup(func() {
		cancel()
		<-done
		g.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *world) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// isReady reports whether the agent has a certificate.
func (w *world) isReady() bool {
	select {
	case <-w.id.Ready():
		return true
	default:
		return false
	}
}

func TestIdentity_RenewsAtTwoThirds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t)
		time.Sleep(5 * time.Second)
		if w.isReady() || len(w.calls()) > 0 {
			t.Error("it is ready, or has called, without an authority")
		}
		w.write(t, "ca.crt", string(w.ca.Bundle().PEM()))
		time.Sleep(5 * time.Second)
		if !w.isReady() {
			t.Fatal("no certificate")
		}
		if until := time.Until(w.id.Expiry()); until > 24*time.Hour || until < 23*time.Hour {
			t.Errorf("expiry in %v", until)
		}
		first := w.id.Expiry()
		w.write(t, "token", "two\n")
		time.Sleep(15*time.Hour + 50*time.Minute)
		if !w.id.Expiry().Equal(first) {
			t.Error("renewed before two thirds of its life are over")
		}
		time.Sleep(11 * time.Minute)
		if !w.id.Expiry().After(first) {
			t.Error("not renewed when two thirds of its life are over")
		}
		if got := strings.Join(w.calls(), " "); got != "one two" {
			t.Errorf("tokens %q", got)
		}
	})
}

func TestIdentity_BacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t)
		w.set(func() { w.fail = status.Error(codes.ResourceExhausted, "too many") })
		w.write(t, "ca.crt", string(w.ca.Bundle().PEM()))
		time.Sleep(10 * time.Minute)
		// 1, 2, 4, 8 s, then one each 10 s: it has none yet.
		if n := len(w.calls()); n < 50 || n > 80 {
			t.Errorf("%d calls in 10 min", n)
		}
		w.set(func() { w.fail = nil })
		time.Sleep(2 * time.Minute)
		if !w.isReady() {
			t.Error("no certificate after the server has recovered")
		}
	})
}

func TestIdentity_RefusesBadCertificates(t *testing.T) {
	for name, change := range map[string]func(*world){
		"another node":      func(w *world) { w.node = "n2" },
		"another authority": func(w *world) { w.ca = orbittest.New(w.t) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := start(t)
				w.t = t
				bundle := w.ca.Bundle().PEM()
				w.set(func() { change(w) })
				w.write(t, "ca.crt", string(bundle))
				time.Sleep(time.Minute)
				if w.isReady() {
					t.Error("it is accepted")
				}
				if _, err := w.id.certificate(); err == nil {
					t.Error("there is a certificate")
				}
			})
		})
	}
}

// TestIdentity_FollowsAuthorities replaces the authority at once, as a deleted Secret does, and leaves a file that
// cannot be read for a while.
func TestIdentity_FollowsAuthorities(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t)
		w.write(t, "ca.crt", string(w.ca.Bundle().PEM()))
		time.Sleep(5 * time.Second)
		old, err := w.id.certificate()
		if err != nil {
			t.Fatal(err)
		}
		w.write(t, "ca.crt", "half a file")
		time.Sleep(time.Minute)
		if now, err := w.id.certificate(); err != nil || now != old || len(w.calls()) != 1 {
			t.Errorf("a bad file changes it: %v, %d calls", err, len(w.calls()))
		}
		other := orbittest.New(t)
		w.set(func() { w.ca = other })
		w.write(t, "ca.crt", string(other.Bundle().PEM()))
		time.Sleep(30 * time.Second)
		now, err := w.id.certificate()
		if err != nil || now == old {
			t.Fatalf("not renewed by the new authority: %v", err)
		}
		if _, err := other.Bundle().Verify([]*x509.Certificate{now.Leaf}, x509.ExtKeyUsageServerAuth); err != nil {
			t.Error(err)
		}
	})
}

func TestIdentity_ServesServersOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t)
		w.write(t, "ca.crt", string(w.ca.Bundle().PEM()))
		time.Sleep(5 * time.Second)
		viewer := orbit.Peer{Role: orbit.RoleViewer, User: &orbit.User{Name: "alice"}}
		for name, test := range map[string]struct {
			cert *tls.Certificate
			ok   bool
		}{
			"a server": {w.ca.Issue(t, orbit.Peer{Role: orbit.RoleServer}, time.Hour), true},
			"a viewer": {w.ca.Issue(t, viewer, time.Hour), false},
			"nobody":   {nil, false},
		} {
			a, b := net.Pipe()
			done := make(chan error, 1)
			go func() {
				done <- tls.Server(a, w.id.ServerTLS()).Handshake()
				a.Close()
			}()
			c := tls.Client(b, orbit.ClientTLS(w.ca.Credentials(test.cert), orbit.AcceptAgent("n1")))
			_, _ = c.Read(make([]byte, 1)) // until the server closes
			b.Close()
			if err := <-done; (err == nil) != test.ok {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// Prometheus has no certificate and knows the agent by a DNS name.
func TestIdentity_ServesMetricsByName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t)
		dial := func(name string) error {
			roots := x509.NewCertPool()
			roots.AppendCertsFromPEM(w.ca.Bundle().PEM())
			a, b := net.Pipe()
			defer a.Close()
			// A pipe has no buffer: a client that refuses in the middle of the server's flight would wait for it.
			_ = a.SetDeadline(time.Now().Add(time.Second))
			done := make(chan struct{})
			go func() {
				defer close(done)
				_ = tls.Server(a, w.id.MetricsTLS()).Handshake() // it is the client's error that counts
				a.Close()
			}()
			err := tls.Client(b, &tls.Config{RootCAs: roots, ServerName: name,
				MinVersion: tls.VersionTLS12}).Handshake()
			b.Close()
			<-done
			return err
		}
		if err := dial(orbit.AgentDNS); err == nil {
			t.Error("an agent without a certificate serves metrics")
		}
		w.write(t, "ca.crt", string(w.ca.Bundle().PEM()))
		time.Sleep(5 * time.Second)
		if err := dial(orbit.AgentDNS); err != nil {
			t.Error(err)
		}
		if err := dial("orb8-server"); err == nil {
			t.Error("an agent passes for a server")
		}
	})
}

func TestOpen_ChecksOptions(t *testing.T) {
	for want, o := range map[string]Options{
		`node ""`:        {Server: "x:1", TokenFile: "t", AuthorityFile: "a"},
		`server "x"`:     {Node: "n1", Server: "x", TokenFile: "t", AuthorityFile: "a"},
		"want the files": {Node: "n1", Server: "x:1", TokenFile: "t"},
	} {
		if _, err := Open(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
