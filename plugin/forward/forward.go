// Package forward makes a net.Conn to a port of a pod out of the API server's port-forward. No local port is opened,
// and one connection's error ends that connection only.
package forward

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/streaming/pkg/httpstream"
)

// maxErrorBytes caps what is read of an error stream: the kubelet writes a line.
const maxErrorBytes = 4 << 10

// Error is the message of the kubelet or the API server when it cannot reach the port, or loses it.
type Error struct {
	Namespace, Pod string
	Port           uint16
	Message        string
}

func (e *Error) Error() string {
	return fmt.Sprintf("port-forward to %s/%s:%d: %s", e.Namespace, e.Pod, e.Port, e.Message)
}

// Dialer connects to a port of pods in one namespace: over a WebSocket as kubectl does since 1.31, over SPDY where the
// API server or a proxy before it does not upgrade to that. The user needs get and create on pods/portforward
// (Kubernetes 1.35 asks for both).
type Dialer struct {
	config    *rest.Config
	namespace string
	port      uint16

	pool   pool
	making context.Context
	stop   context.CancelFunc
}

// NewDialer returns a Dialer, which is closed after its last use.
func NewDialer(config *rest.Config, namespace string, port uint16) *Dialer {
	d := &Dialer{config: config, namespace: namespace, port: port}
	d.making, d.stop = context.WithCancel(context.Background())
	return d
}

// Close ends what Ahead has begun. Connections of Dial stay.
func (d *Dialer) Close() {
	d.stop()
	d.pool.close()
}

// Dial connects to the port on the loopback of a pod. ctx bounds the dial only.
func (d *Dialer) Dial(ctx context.Context, pod string) (net.Conn, error) {
	if c, ok := d.pool.acquire(ctx, pod).(*conn); ok {
		if c.over() == nil {
			return c, nil
		}
		_ = c.Close()
	}
	dialer, err := d.newDialer(pod)
	if err != nil {
		return nil, d.wrap(pod, err)
	}
	return d.await(ctx, pod, func() (net.Conn, error) {
		streams, protocol, err := dialer.Dial(portforward.PortForwardProtocolV1Name)
		if err == nil && protocol != portforward.PortForwardProtocolV1Name {
			err = errors.Join(fmt.Errorf("server speaks %q, want %q", protocol, portforward.PortForwardProtocolV1Name),
				streams.Close())
		}
		if err != nil {
			return nil, d.wrap(pod, err)
		}
		return d.open(streams, pod)
	})
}

func (d *Dialer) wrap(pod string, err error) error {
	return fmt.Errorf("port-forward to %s/%s:%d: %w", d.namespace, pod, d.port, err)
}

// await makes a connection until ctx ends.
func (d *Dialer) await(ctx context.Context, pod string, dial func() (net.Conn, error)) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	// client-go's dialers know no context: one that is given up is closed as soon as it is there.
	dialed := make(chan result)
	go func() {
		c, err := dial()
		select {
		case dialed <- result{c, err}:
		case <-ctx.Done():
			if err == nil {
				c.Close()
			}
		}
	}()
	select {
	case r := <-dialed:
		if r.err != nil {
			return nil, r.err
		}
		return r.conn, nil
	case <-ctx.Done():
		return nil, d.wrap(pod, ctx.Err())
	}
}

// url is where the API server forwards to a pod.
func (d *Dialer) url(pod string) (*url.URL, error) {
	core := rest.CopyConfig(d.config)
	core.APIPath = "/api"
	core.GroupVersion = &corev1.SchemeGroupVersion
	server, path, err := rest.DefaultServerUrlFor(core)
	if err != nil {
		return nil, err
	}
	return server.JoinPath(path, "namespaces", d.namespace, "pods", pod, "portforward"), nil
}

func (d *Dialer) newDialer(pod string) (httpstream.Dialer, error) {
	target, err := d.url(pod)
	if err != nil {
		return nil, err
	}
	transport, upgrader, err := spdy.RoundTripperFor(d.config)
	if err != nil {
		return nil, err
	}
	fallback := spdy.NewDialerForStreaming(upgrader, &http.Client{Transport: transport}, http.MethodPost, target)
	tunnel, err := portforward.NewSPDYOverWebsocketDialerForStreaming(target, d.config)
	if err != nil {
		return nil, err
	}
	return portforward.NewFallbackDialerForStreaming(tunnel, fallback, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	}), nil
}

// open opens the pair of streams that are one connection to a port. If that fails, it closes the connection of streams.
func (d *Dialer) open(streams httpstream.Connection, pod string) (*conn, error) {
	// Both at once: each takes a round trip until it is accepted.
	var data, errorStream httpstream.Stream
	create := func(kind string, stream *httpstream.Stream) func() error {
		headers := http.Header{}
		headers.Set(corev1.StreamType, kind)
		headers.Set(corev1.PortHeader, strconv.Itoa(int(d.port)))
		headers.Set(corev1.PortForwardRequestIDHeader, "0") // this connection of streams carries one pair
		return func() (err error) {
			*stream, err = streams.CreateStream(headers)
			return err
		}
	}
	var both errgroup.Group
	both.Go(create(corev1.StreamTypeError, &errorStream))
	both.Go(create(corev1.StreamTypeData, &data))
	if err := both.Wait(); err != nil {
		return nil, d.wrap(pod, errors.Join(err, streams.Close()))
	}
	// The client never writes to it.
	errorStream.Close()
	c := &conn{streams: streams, data: data, addr: addr{d.namespace, pod, d.port}}
	c.watch.Go(func() { c.watchErrors(errorStream) })
	return c, nil
}

// addr is where the connection goes, as net.Addr.
type addr struct {
	namespace, pod string
	port           uint16
}

func (addr) Network() string  { return "port-forward" }
func (a addr) String() string { return fmt.Sprintf("%s/%s:%d", a.namespace, a.pod, a.port) }

// conn is the data stream as a net.Conn.
type conn struct {
	streams httpstream.Connection
	data    httpstream.Stream
	addr    addr
	watch   sync.WaitGroup
	close   sync.Once

	deadlines deadlines

	mu     sync.Mutex
	remote error // from the error stream
	closed bool
}

// watchErrors waits for a message on the error stream, which ends the connection.
func (c *conn) watchErrors(stream io.Reader) {
	message, err := io.ReadAll(io.LimitReader(stream, maxErrorBytes))
	if len(message) == 0 {
		if err == nil {
			return // closed without an error: the data stream ends by itself
		}
		message = []byte(err.Error())
	}
	c.mu.Lock()
	c.remote = &Error{c.addr.namespace, c.addr.pod, c.addr.port, strings.TrimSpace(string(message))}
	c.mu.Unlock()
	c.shut()
}

func (c *conn) shut() {
	c.close.Do(func() {
		c.deadlines.stop()
		c.mu.Lock()
		c.closed = true
		c.mu.Unlock()
		// Reset, not Close: Close ends only this side's direction, and a pending Read would go on waiting.
		// Errors do not matter: they mean that the connection has ended already.
		_ = c.data.Reset()
		_ = c.streams.Close()
	})
}

// over returns why the connection has ended, or nil. A stream that was reset reads as EOF, and accepts writes without
// an error.
func (c *conn) over() error {
	if err := c.deadlines.expired(); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.remote == nil && c.closed {
		return net.ErrClosed
	}
	return c.remote
}

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.data.Read(p)
	if err != nil {
		err = cmp.Or(c.over(), err)
	}
	return n, err
}

func (c *conn) Write(p []byte) (int, error) {
	if err := c.over(); err != nil {
		return 0, err
	}
	n, err := c.data.Write(p)
	if err != nil {
		err = cmp.Or(c.over(), err)
	}
	return n, err
}

// Close ends both directions and waits until nothing of the connection runs any more.
func (c *conn) Close() error {
	c.shut()
	c.watch.Wait()
	return nil
}

func (c *conn) LocalAddr() net.Addr  { return addr{} }
func (c *conn) RemoteAddr() net.Addr { return c.addr }
