package export

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"

	"github.com/orb8-dev/kubectl-orb8/internal/exportconfig"
)

// signal is a kind of telemetry: its name in the configuration, its place in both protocols, and what a request has.
type signal struct{ name, method, path, items string }

var (
	logs = signal{exportconfig.SignalLogs, "/opentelemetry.proto.collector.logs.v1.LogsService/Export", "/v1/logs",
		"records"}
	metrics = signal{exportconfig.SignalMetrics, "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
		"/v1/metrics", "points of metrics"}
)

// dialer makes connections; nil: the network's.
type dialer func(ctx context.Context, network, address string) (net.Conn, error)

// transport sends encoded requests of signals. It is for one goroutine.
type transport interface {
	// send returns nil, or an error that says whether to try again.
	send(ctx context.Context, s signal, request []byte) (partialSuccess, *sendError)
	close()
}

// dial prepares a transport. Connections are made by the first request.
func dial(c *Config, f *files, userAgent string, d dialer) (transport, error) {
	if c.Protocol == exportconfig.ProtocolHTTP {
		return newHTTP(c, f, userAgent, d), nil
	}
	return newGRPC(c, f, userAgent, d)
}

// contentType is that of OTLP in binary form.
const contentType = "application/x-protobuf"

type httpTransport struct {
	config    *Config
	client    *http.Client
	headers   []header
	userAgent string
	// compressed is the compressed request.
	compressed bytes.Buffer
	gzip       *gzip.Writer
}

func newHTTP(c *Config, f *files, userAgent string, d dialer) *httpTransport {
	protocols := &http.Protocols{}
	protocols.SetHTTP1(true) // a request that times out ends its connection, which may be dead
	t := &httpTransport{config: c, headers: f.headers, userAgent: userAgent, client: &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, DialContext: d, TLSClientConfig: f.tls, Protocols: protocols,
			MaxConnsPerHost: 1, MaxIdleConns: 1, IdleConnTimeout: 90 * time.Second, DisableCompression: true,
			MaxResponseHeaderBytes: maxAnswer, WriteBufferSize: 16 << 10,
		},
		// Another server must not get the headers.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	if c.Compression == exportconfig.CompressionGzip {
		t.gzip, _ = gzip.NewWriterLevel(nil, gzip.BestSpeed) // the level is valid
	}
	return t
}

func (t *httpTransport) send(ctx context.Context, s signal, request []byte) (partialSuccess, *sendError) {
	var none partialSuccess
	body := request
	if t.gzip != nil {
		t.compressed.Reset()
		t.gzip.Reset(&t.compressed)
		_, err := t.gzip.Write(request)
		if err = errors.Join(err, t.gzip.Close()); err != nil {
			return none, &sendError{text: err.Error()}
		}
		body = t.compressed.Bytes()
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(t.config.Endpoint, "/")+s.path,
		bytes.NewReader(body))
	if err != nil {
		return none, &sendError{text: err.Error()}
	}
	for _, h := range t.headers {
		r.Header.Add(h.name, h.value)
	}
	r.Header.Set("Content-Type", contentType)
	r.Header.Set("User-Agent", t.userAgent)
	if t.gzip != nil {
		r.Header.Set("Content-Encoding", "gzip")
	}
	answer, err := t.client.Do(r)
	if err != nil {
		t.compressed = bytes.Buffer{} // the client may still read it
		return none, &sendError{text: shorten(err.Error()), retry: true, patient: !errors.Is(err,
			context.DeadlineExceeded)}
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	switch {
	case answer.StatusCode < 200 || answer.StatusCode > 299:
		return none, httpError(answer.StatusCode, answer.Header, text[:min(len(text), maxAnswer)], time.Now())
	case err != nil:
		return none, &sendError{text: shorten("the answer was cut: " + err.Error()), retry: true}
	case len(text) > maxAnswer:
		return partialSuccess{message: fmt.Sprintf("an answer of more than %d bytes", maxAnswer)}, nil
	case !strings.HasPrefix(answer.Header.Get("Content-Type"), contentType):
		return none, nil
	}
	return accepted(readResponse(text))
}

// accepted is the result of a request that was accepted, whatever the answer says beside.
func accepted(p partialSuccess, err error) (partialSuccess, *sendError) {
	if err != nil {
		p = partialSuccess{message: err.Error()}
	}
	return p, nil
}

func (t *httpTransport) close() { t.client.CloseIdleConnections() }

type grpcTransport struct {
	config    *Config
	files     *files
	userAgent string
	dial      dialer
	conn      *grpc.ClientConn
}

func newGRPC(c *Config, f *files, userAgent string, d dialer) (*grpcTransport, error) {
	t := &grpcTransport{config: c, files: f, userAgent: userAgent, dial: d}
	return t, t.connect()
}

func (t *grpcTransport) connect() (err error) {
	security := insecure.NewCredentials()
	if t.files.tls != nil {
		security = credentials.NewTLS(t.files.tls)
	}
	pause := backoff.DefaultConfig
	pause.MaxDelay = maxBackoff
	var options []grpc.DialOption
	if t.dial != nil {
		options = append(options, grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return t.dial(ctx, "tcp", address)
		}))
	}
	t.conn, err = grpc.NewClient("dns:///"+t.config.Endpoint, append(options,
		grpc.WithTransportCredentials(security), grpc.WithUserAgent(t.userAgent), grpc.WithDisableServiceConfig(),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: pause, MinConnectTimeout: t.config.Timeout.Duration}),
		grpc.WithReadBufferSize(4<<10), grpc.WithWriteBufferSize(16<<10), grpc.WithMaxHeaderListSize(16<<10),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(rawCodec{}), grpc.MaxCallRecvMsgSize(maxAnswer)),
	)...)
	return err
}

func (t *grpcTransport) send(ctx context.Context, s signal, request []byte) (partialSuccess, *sendError) {
	var none partialSuccess
	if t.conn == nil {
		if err := t.connect(); err != nil {
			return none, &sendError{text: err.Error(), retry: true, patient: true}
		}
	}
	for _, h := range t.files.headers {
		ctx = metadata.AppendToOutgoingContext(ctx, h.name, h.value)
	}
	var options []grpc.CallOption
	if t.config.Compression == exportconfig.CompressionGzip {
		options = append(options, grpc.UseCompressor(exportconfig.CompressionGzip))
	}
	var answer []byte
	err := t.conn.Invoke(ctx, s.method, request, &answer, options...)
	if err == nil {
		return accepted(readResponse(answer))
	}
	failed := grpcError(err)
	if failed.broken {
		// A collector that vanished without a trace would keep the connection for a quarter of an hour.
		t.close()
	}
	return none, failed
}

func (t *grpcTransport) close() {
	if t.conn != nil {
		_ = t.conn.Close()
		t.conn = nil
	}
}

// rawCodec sends encoded messages, and receives them.
type rawCodec struct{}

// Name implements encoding.CodecV2. Requests are protobuf.
func (rawCodec) Name() string { return "proto" }

// Marshal implements encoding.CodecV2.
func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	b, ok := v.([]byte)
	if !ok {
		return nil, fmt.Errorf("%T is no encoded message", v)
	}
	return mem.BufferSlice{mem.SliceBuffer(b)}, nil
}

// Unmarshal implements encoding.CodecV2.
func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	b, ok := v.(*[]byte)
	if !ok {
		return fmt.Errorf("%T takes no encoded message", v)
	}
	*b = data.Materialize()
	return nil
}
