package export

import (
	"compress/gzip"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"

	"github.com/orb8-dev/kubectl-orb8/agent/export/request"
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/internal/exportconfig"
)

// collector is an OTLP server that counts records.
type collector struct {
	// answer decides about a request: a gRPC error, or an HTTP status with headers; nil accepts.
	answer func(n int) answer
	// unique counts records of the same time once: a request whose answer is late is received twice.
	unique bool

	mu       sync.Mutex
	requests int
	records  []*logspb.LogRecord
	// counting: records are not kept.
	counting          bool
	counted, reported int
	// snapshots are the requests of metrics.
	snapshots []*metricspb.ResourceMetrics
	resource  map[string]string
	headers   []map[string]string
	arrived   chan struct{} // closed and replaced at each request
}

// answer is what a collector answers.
type answer struct {
	grpc     error
	code     int // HTTP
	header   http.Header
	body     []byte
	rejected int
	message  string
	// stall waits for the end of the request.
	stall bool
}

func newCollector(decide func(n int) answer) *collector {
	if decide == nil {
		decide = func(int) answer { return answer{} }
	}
	return &collector{answer: decide, arrived: make(chan struct{})}
}

// receive takes a request, and returns the answer to it.
func (c *collector) receive(ctx context.Context, wire []byte, headers map[string]string) (answer, []byte) {
	c.mu.Lock()
	c.requests++
	c.headers = append(c.headers, headers)
	a := c.answer(c.requests)
	accepted := a.grpc == nil && (a.code == 0 || a.code/100 == 2) && !a.stall
	if err := c.decode(wire, headers[":path"], accepted); err != nil {
		a = answer{code: http.StatusBadRequest, grpc: err}
	}
	close(c.arrived)
	c.arrived = make(chan struct{})
	c.mu.Unlock()
	if a.stall {
		<-ctx.Done()
		a.grpc, a.code = status.FromContextError(ctx.Err()).Err(), http.StatusGatewayTimeout
	}
	var partial []byte
	if a.rejected != 0 {
		partial = protowire.AppendTag(partial, partialRejected, protowire.VarintType)
		partial = protowire.AppendVarint(partial, uint64(a.rejected))
	}
	if a.message != "" {
		partial = request.AppendString(partial, partialMessage, a.message)
	}
	var body []byte
	if len(partial) > 0 {
		body = request.AppendBytes(nil, responsePartial, partial)
	}
	return a, body
}

// decode reads a request, and keeps what it has if it is accepted.
func (c *collector) decode(wire []byte, path string, accepted bool) error {
	var resource *resourcepb.Resource
	if path == metrics.path || path == metrics.method {
		var data metricspb.MetricsData
		if err := proto.Unmarshal(wire, &data); err != nil || !accepted {
			return err
		}
		c.snapshots = append(c.snapshots, data.GetResourceMetrics()...)
		resource = data.GetResourceMetrics()[0].GetResource()
	} else {
		var data logspb.LogsData
		if err := proto.Unmarshal(wire, &data); err != nil || !accepted {
			return err
		}
		for _, r := range data.GetResourceLogs() {
			resource = r.GetResource()
			for _, s := range r.GetScopeLogs() {
				c.keep(s.GetLogRecords())
			}
		}
	}
	c.resource = map[string]string{}
	for _, kv := range resource.GetAttributes() {
		c.resource[kv.GetKey()] = kv.GetValue().GetStringValue()
	}
	return nil
}

// keep keeps records, or counts them.
func (c *collector) keep(records []*logspb.LogRecord) {
	if !c.counting {
		c.records = append(c.records, records...)
		return
	}
	c.counted += len(records)
	// The first record of a request reports losses.
	if a := attributes(records[0]); a["orb8.stage"] == LossStage {
		c.counted--
		c.reported += int(a["orb8.count"].(uint64))
	}
}

// count returns the received records that are of events, and the sum of losses that records report.
func (c *collector) count() (records int, reported uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counting {
		return c.counted, uint64(c.reported)
	}
	seen := map[uint64]bool{}
	for _, r := range c.records {
		if c.unique && seen[r.GetTimeUnixNano()] {
			continue
		}
		seen[r.GetTimeUnixNano()] = true
		if a := attributes(r); a["orb8.stage"] == LossStage {
			reported += a["orb8.count"].(uint64)
			continue
		}
		records++
	}
	return records, reported
}

// attributes returns the attributes of a record: whole numbers as uint64, lists with commas between.
func attributes(r *logspb.LogRecord) map[string]any {
	all := map[string]any{}
	for _, kv := range r.GetAttributes() {
		switch v := kv.GetValue().GetValue().(type) {
		case *commonpb.AnyValue_StringValue:
			all[kv.GetKey()] = v.StringValue
		case *commonpb.AnyValue_IntValue:
			all[kv.GetKey()] = uint64(v.IntValue)
		case *commonpb.AnyValue_DoubleValue:
			all[kv.GetKey()] = v.DoubleValue
		case *commonpb.AnyValue_BoolValue:
			all[kv.GetKey()] = v.BoolValue
		case *commonpb.AnyValue_ArrayValue:
			var parts []string
			for _, part := range v.ArrayValue.GetValues() {
				parts = append(parts, part.GetStringValue())
			}
			all[kv.GetKey()] = strings.Join(parts, ",")
		}
	}
	return all
}

// await waits until done is true, which it evaluates at each request.
func (c *collector) await(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		c.mu.Lock()
		arrived := c.arrived
		c.mu.Unlock()
		if done() {
			return
		}
		select {
		case <-arrived:
		case <-time.After(10 * time.Millisecond): // what the exporter notes after the answer
		case <-deadline:
			t.Fatalf("timeout: %s", what)
		}
	}
}

// serveGRPC serves on a port, and returns its address and a function that ends the server.
func (c *collector) serveGRPC(t *testing.T, address string, config *tls.Config) (string, func()) {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	stop := c.serve(t, listener, config)
	return listener.Addr().String(), stop
}

// serve serves gRPC on a listener, until the test ends or stop is called.
func (c *collector) serve(t *testing.T, listener net.Listener, config *tls.Config) (stop func()) {
	t.Helper()
	options := []grpc.ServerOption{grpc.ForceServerCodecV2(rawCodec{}),
		grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
			var request []byte
			if err := stream.RecvMsg(&request); err != nil {
				return err
			}
			method, _ := grpc.MethodFromServerStream(stream)
			headers := map[string]string{":path": method}
			md, _ := metadata.FromIncomingContext(stream.Context())
			for name, values := range md {
				headers[name] = values[0]
			}
			a, body := c.receive(stream.Context(), request, headers)
			if a.grpc != nil {
				return a.grpc
			}
			return stream.SendMsg(body)
		})}
	if config != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(config)))
	}
	g := grpc.NewServer(options...)
	var serving sync.WaitGroup
	serving.Go(func() { _ = g.Serve(listener) })
	stop = sync.OnceFunc(func() { g.Stop(); serving.Wait() })
	t.Cleanup(stop)
	return stop
}

// serveHTTP serves, and returns the URL.
func (c *collector) serveHTTP(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(c.handle))
	t.Cleanup(s.Close)
	return s.URL
}

// handle answers a request by HTTP.
func (c *collector) handle(w http.ResponseWriter, r *http.Request) {
	reader := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		reader = z
	}
	request, err := io.ReadAll(reader)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	headers := map[string]string{":path": r.URL.Path}
	for name := range r.Header {
		headers[strings.ToLower(name)] = r.Header.Get(name)
	}
	a, body := c.receive(r.Context(), request, headers)
	maps.Copy(w.Header(), a.header)
	if w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", contentType)
	}
	if a.code != 0 {
		w.WriteHeader(a.code)
	}
	if a.body != nil {
		body = a.body
	}
	_, _ = w.Write(body)
}

// running is an exporter that runs.
type running struct {
	*Exporter
	stop func()
}

// run runs an exporter, with short pauses, until the test ends or stop is called.
func run(t *testing.T, c *Config) *running {
	t.Helper()
	return runWith(t, c, nil)
}

// runWith runs an exporter of metrics.
func runWith(t *testing.T, c *Config, metrics Gatherer) *running {
	t.Helper()
	e := New(Options{Node: "node-1", Version: "v1", Metrics: metrics,
		Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	e.times = times{linger: 5 * time.Millisecond, firstBackoff: time.Millisecond, impatience: time.Minute,
		flush: 2 * time.Second}
	return e.running(t, c)
}

// running runs the exporter.
func (e *Exporter) running(t *testing.T, c *Config) *running {
	t.Helper()
	e.Apply(c)
	ctx, cancel := context.WithCancel(t.Context())
	var working sync.WaitGroup
	working.Go(func() { e.Run(ctx) })
	stop := sync.OnceFunc(func() { cancel(); working.Wait() })
	t.Cleanup(stop)
	return &running{e, stop}
}

// check compares the numbers of an exporter that has nothing to do with those of the collector.
func (r *running) check(t *testing.T, c *collector, produced int) {
	t.Helper()
	s := r.Status()
	received, _ := c.count()
	if s.Queued != uint64(produced) || s.Sent+s.Lost != s.Queued || s.Pending != 0 || int(s.Sent) != received {
		t.Errorf("%d produced, %d received: %+v", produced, received, s)
	}
}

// newConfig returns a complete configuration without TLS.
func newConfig(t testing.TB, endpoint string, change func(*Config)) *Config {
	t.Helper()
	c := &Config{Endpoint: endpoint, TLS: exportconfig.TLS{Insecure: true}}
	if strings.Contains(endpoint, "://") {
		c.Protocol = exportconfig.ProtocolHTTP
	}
	if change != nil {
		change(c)
	}
	c.Complete(known())
	if err := c.Validate(known()); err != nil {
		t.Fatal(err)
	}
	return c
}

func known() (all []string) {
	for _, k := range event.Kinds() {
		if !k.Row {
			all = append(all, k.Name)
		}
	}
	return all
}

// dns is an encoded event of a number.
func dns(t testing.TB, n int) []byte {
	t.Helper()
	return encoded(t, &event.Event{Time: uint64(n) + 1, Node: "node-1", Namespace: "shop", Pod: "web-0",
		Kind: &event.Event_Dns{Dns: &event.Dns{Name: "example.com.", Type: "A", Protocol: event.Protocol_PROTOCOL_UDP,
			Answers: "10.0.0.1,10.0.0.2"}}})
}

func encoded(t testing.TB, ev *event.Event) []byte {
	t.Helper()
	b, err := proto.Marshal(ev)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// produce observes n events.
func produce(t testing.TB, e *Exporter, n int) {
	t.Helper()
	for i := range n {
		e.Observe([][]byte{dns(t, i)})
	}
}
