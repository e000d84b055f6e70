package forward

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	gwebsocket "github.com/gorilla/websocket"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	protocols "k8s.io/apimachinery/pkg/util/portforward"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport"
	"k8s.io/client-go/transport/websocket"
	"k8s.io/klog/v2"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
	"k8s.io/streaming/pkg/httpstream/wsstream"
)

// handshakeTimeout limits the TLS handshake of a connection that is made ahead, and its upgrade.
const handshakeTimeout = 5 * time.Second

// apiServer is the key of connections to the API server, which are not of a pod yet.
const apiServer = ""

// Ahead begins, for a Dial soon, to connect to the API server, which takes two round trips, or with the name of a pod
// that runs, to forward the pod's port over such a connection, which takes two. It does not wait. Where the pod does
// not listen yet, the connection fails when it is used.
func (d *Dialer) Ahead(pod string) {
	if pod == apiServer {
		d.pool.begin(apiServer, d.warm)
		return
	}
	d.pool.begin(pod, func() io.Closer {
		conn, ok := d.pool.acquire(d.making, apiServer).(net.Conn)
		if !ok {
			return nil
		}
		streams, err := d.upgrade(conn, pod)
		if err != nil {
			_ = conn.Close() // Dial tries it with another one, and reports the error of that
			return nil
		}
		forwarded, err := d.open(streams, pod)
		if err != nil {
			return nil
		}
		return forwarded
	})
}

// warm connects to the API server; nil: it cannot.
func (d *Dialer) warm() io.Closer {
	target, err := d.url("POD")
	if err != nil {
		return nil
	}
	conn, err := connect(d.making, d.config, target)
	if err != nil || conn == nil {
		return nil
	}
	return conn
}

// connect makes a connection to the API server, up to the TLS handshake. It is nil where connections are made in
// another way: through a proxy, or without TLS.
func connect(ctx context.Context, config *rest.Config, target *url.URL) (net.Conn, error) {
	if target.Scheme != "https" {
		return nil, nil
	}
	proxy := config.Proxy
	if proxy == nil {
		proxy = utilnet.NewProxierWithNoProxyCIDR(http.ProxyFromEnvironment)
	}
	if through, err := proxy(&http.Request{URL: target}); err != nil || through != nil {
		return nil, err
	}
	transportConfig, err := config.TransportConfig()
	if err != nil {
		return nil, err
	}
	secure, err := transport.TLSConfigFor(transportConfig)
	if err != nil {
		return nil, err
	}
	if secure == nil {
		secure = &tls.Config{MinVersion: tls.VersionTLS12}
	} else {
		secure = secure.Clone()
	}
	if secure.ServerName == "" {
		secure.ServerName = target.Hostname()
	}
	secure.NextProtos = []string{"http/1.1"} // WebSockets upgrade a connection of HTTP/1.1
	address := target.Host
	if target.Port() == "" {
		address = net.JoinHostPort(target.Hostname(), "443")
	}
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	dialer := tls.Dialer{Config: secure}
	return dialer.DialContext(ctx, "tcp", address)
}

// upgrader is the http.RoundTripper of one request, which upgrades a connection to a WebSocket.
type upgrader struct {
	conn net.Conn
	ws   *gwebsocket.Conn
}

var _ websocket.ConnectionHolder = (*upgrader)(nil)

// bufferBytes is the size of a WebSocket's buffers.
const bufferBytes = 32 << 10

// DataBufferSize implements websocket.ConnectionHolder.
func (u *upgrader) DataBufferSize() int { return bufferBytes }

// Connection implements websocket.ConnectionHolder.
func (u *upgrader) Connection() *gwebsocket.Conn { return u.ws }

// RoundTrip implements http.RoundTripper.
func (u *upgrader) RoundTrip(r *http.Request) (*http.Response, error) {
	headers := r.Header.Clone()
	offered := headers[wsstream.WebSocketProtocolHeader]
	delete(headers, wsstream.WebSocketProtocolHeader)
	dialer := gwebsocket.Dialer{
		NetDialTLSContext: func(context.Context, string, string) (net.Conn, error) { return u.conn, nil },
		HandshakeTimeout:  handshakeTimeout, Subprotocols: offered,
		ReadBufferSize: bufferBytes, WriteBufferSize: bufferBytes,
	}
	target := *r.URL
	target.Scheme = "wss"
	ws, response, err := dialer.DialContext(r.Context(), target.String(), headers)
	if err != nil {
		return nil, err
	}
	if ws.Subprotocol() == "" {
		return nil, errors.Join(errors.New("no protocol was chosen"), ws.Close())
	}
	u.ws = ws
	return response, nil
}

// upgrade makes a connection of streams out of a connection to the API server.
func (d *Dialer) upgrade(conn net.Conn, pod string) (httpstream.Connection, error) {
	target, err := d.url(pod)
	if err != nil {
		return nil, err
	}
	transportConfig, err := d.config.TransportConfig()
	if err != nil {
		return nil, err
	}
	holder := &upgrader{conn: conn}
	authorized, err := transport.HTTPWrappersForConfig(transportConfig, holder)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(d.making, http.MethodGet, target.String(), nil)
	if err != nil {
		return nil, err
	}
	ws, err := websocket.Negotiate(authorized, holder, request, protocols.WebsocketsSPDYTunnelingPortForwardV1)
	if err != nil {
		return nil, err
	}
	return spdy.NewClientConnectionWithPings(portforward.NewTunnelingConnectionWithLogger(klog.Background(), ws),
		portforward.PingPeriod)
}
