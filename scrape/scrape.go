// Package scrape serves the metrics of an agent or a server to Prometheus: HTTPS, for callers that the API server lets
// get the non-resource URL /metrics. All that strangers can cause is bounded.
package scrape

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/time/rate"

	"github.com/orb8-dev/kubectl-orb8/internal/cache"
	"github.com/orb8-dev/kubectl-orb8/internal/refusals"
)

const (
	// maxScrapes is the number of scrapes at a time. Those that come while one is gathered share its result.
	maxScrapes = 4
	// maxConnections and maxPeerConnections bound the connections of all, and of one address.
	maxConnections, maxPeerConnections = 128, 16
	// Requests a second of one address.
	peerRate, peerBurst = 5, 20
	maxPeers            = 1024
	peerMemory          = time.Minute

	headerTimeout = 5 * time.Second
	readTimeout   = 10 * time.Second
	writeTimeout  = time.Minute
	// idleTimeout is more than the usual interval of scrapes, so that connections are reused.
	idleTimeout    = 90 * time.Second
	maxHeaderBytes = 16 << 10
	// path is that of the metrics, and the non-resource URL that the caller must be allowed to get.
	path = "/metrics"
)

// Options are those of a Server.
type Options struct {
	// TLS is the configuration of the port; nil: plain HTTP.
	TLS *tls.Config
	// Auth decides who may scrape; nil: everyone.
	Auth *Auth
	Log  *slog.Logger
}

// Server serves metrics. It is safe for concurrent use.
type Server struct {
	o       Options
	refused *refusals.Log
	peers   *cache.Cache[string, *rate.Limiter]

	mu    sync.Mutex
	codes map[int]uint64
}

// New returns a Server.
func New(o Options) *Server {
	return &Server{o: o, refused: refusals.New(o.Log), peers: cache.New[string, *rate.Limiter](maxPeers),
		codes: map[int]uint64{}}
}

// Requests returns how many requests were answered with each status code.
func (s *Server) Requests() map[int]uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.codes)
}

// Serve serves what gatherer has until ctx ends, and returns nil then.
func (s *Server) Serve(ctx context.Context, l net.Listener, gatherer prometheus.Gatherer) error {
	l = newListener(l)
	if s.o.TLS != nil {
		l = tls.NewListener(l, s.o.TLS)
	}
	h := &http.Server{Handler: s.Handler(gatherer), ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout,
		WriteTimeout: writeTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		// Handshakes of strangers that fail are no news.
		ErrorLog: slog.NewLogLogger(s.o.Log.Handler(), slog.LevelDebug)}
	defer context.AfterFunc(ctx, func() { _ = h.Close() })()
	if err := h.Serve(l); ctx.Err() == nil {
		return fmt.Errorf("serve metrics on %s: %w", l.Addr(), err)
	}
	return nil
}

// Handler answers requests.
func (s *Server) Handler(gatherer prometheus.Gatherer) http.Handler {
	metrics := promhttp.HandlerFor(gatherer, promhttp.HandlerOpts{
		MaxRequestsInFlight: maxScrapes, CoalesceGather: true, EnableOpenMetrics: true,
		ErrorLog: slog.NewLogLogger(s.o.Log.Handler(), slog.LevelError),
		// One wrong series does not cost the others.
		ErrorHandling: promhttp.ContinueOnError,
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		counted := &statusWriter{ResponseWriter: w, code: http.StatusOK}
		defer func() { s.count(counted.code) }()
		if err := s.admit(r); err != nil {
			s.refuse(counted, r, err)
			return
		}
		metrics.ServeHTTP(counted, r)
	})
}

// statusError is an answer without metrics.
type statusError struct {
	code    int
	message string
}

func (e *statusError) Error() string { return e.message }

// admit decides whether a request is answered.
func (s *Server) admit(r *http.Request) error {
	peer, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		peer = r.RemoteAddr
	}
	limiter := s.peers.GetOrPut(peer, peerMemory, func() *rate.Limiter { return rate.NewLimiter(peerRate, peerBurst) })
	switch {
	case !limiter.Allow():
		return &statusError{http.StatusTooManyRequests, "too many requests"}
	case r.URL.Path != path:
		return &statusError{http.StatusNotFound, "metrics are at " + path}
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		return &statusError{http.StatusMethodNotAllowed, "want GET"}
	case s.o.Auth == nil:
		return nil
	}
	return s.o.Auth.authorize(r)
}

// refuse answers a request that is not admitted.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	code := http.StatusServiceUnavailable
	var status *statusError
	if errors.As(err, &status) {
		code = status.code
	}
	s.refused.Add(r.RemoteAddr, fmt.Errorf("metrics: %w", err))
	if code == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="orb8"`)
	}
	http.Error(w, err.Error(), code)
}

func (s *Server) count(code int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.codes[code]++ // codes are ours
}

// statusWriter remembers the status code.
type statusWriter struct {
	http.ResponseWriter
	code int
}

func (w *statusWriter) WriteHeader(code int) {
	w.code = code
	w.ResponseWriter.WriteHeader(code)
}

// listener bounds the connections. Those that are too many are closed.
type listener struct {
	net.Listener

	mu    sync.Mutex
	total int
	peers map[string]int
}

func newListener(l net.Listener) *listener { return &listener{Listener: l, peers: map[string]int{}} }

func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		peer := c.RemoteAddr().String()
		if host, _, err := net.SplitHostPort(peer); err == nil {
			peer = host
		}
		if l.admit(peer) {
			return &conn{Conn: c, leave: sync.OnceFunc(func() { l.leave(peer) })}, nil
		}
		_ = c.Close() // it was not used
	}
}

func (l *listener) admit(peer string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.total >= maxConnections || l.peers[peer] >= maxPeerConnections {
		return false
	}
	l.total++
	l.peers[peer]++
	return true
}

func (l *listener) leave(peer string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total--
	if l.peers[peer]--; l.peers[peer] == 0 {
		delete(l.peers, peer)
	}
}

type conn struct {
	net.Conn
	leave func()
}

func (c *conn) Close() error {
	c.leave()
	return c.Conn.Close()
}
