package export

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/internal/exportconfig"
)

// both runs a test with gRPC and with HTTP.
func both(t *testing.T, decide func(n int) answer, test func(t *testing.T, c *collector, endpoint string)) {
	t.Run("grpc", func(t *testing.T) {
		c := newCollector(decide)
		endpoint, _ := c.serveGRPC(t, "127.0.0.1:0", nil)
		test(t, c, endpoint)
	})
	t.Run("http", func(t *testing.T) {
		c := newCollector(decide)
		test(t, c, c.serveHTTP(t))
	})
}

func TestExporter_SendsWhatItObserves(t *testing.T) {
	headers := filepath.Join(t.TempDir(), "headers")
	if err := os.WriteFile(headers, []byte("# token\nAuthorization: Bearer x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	both(t, nil, func(t *testing.T, c *collector, endpoint string) {
		e := run(t, newConfig(t, endpoint, func(c *Config) {
			c.HeadersFile, c.Resource = headers, map[string]string{"k8s.cluster.name": "prod"}
		}))
		produce(t, e.Exporter, 1000)
		c.await(t, "1000 records", func() bool { return e.Status().Sent == 1000 })
		e.check(t, c, 1000)
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.resource["k8s.cluster.name"] != "prod" || c.resource["k8s.node.name"] != "node-1" ||
			c.resource["service.name"] != "orb8-agent" || c.resource["service.version"] != "v1" {
			t.Errorf("resource %v", c.resource)
		}
		path := logs.method
		if strings.HasPrefix(endpoint, "http") {
			path = logs.path
		}
		if h := c.headers[0]; h["authorization"] != "Bearer x" || h[":path"] != path ||
			!strings.HasPrefix(h["user-agent"], "orb8-agent/v1") {
			t.Errorf("headers %v", h)
		}
	})
}

func TestExporter_Compression(t *testing.T) {
	both(t, nil, func(t *testing.T, c *collector, endpoint string) {
		e := run(t, newConfig(t, endpoint, func(c *Config) { c.Compression = exportconfig.CompressionNone }))
		produce(t, e.Exporter, 10)
		c.await(t, "10 records", func() bool { return e.Status().Sent == 10 })
		c.mu.Lock()
		defer c.mu.Unlock()
		if h := c.headers[0]; h["content-encoding"] != "" || h["grpc-encoding"] != "" {
			t.Errorf("headers %v", h)
		}
	})
}

func TestExporter_EndpointDown(t *testing.T) {
	c := newCollector(nil)
	endpoint, stop := c.serveGRPC(t, "127.0.0.1:0", nil)
	stop()
	e := run(t, newConfig(t, endpoint, nil))
	produce(t, e.Exporter, 100)
	c.await(t, "a failure", func() bool { return e.Status().Error != "" })
	if s := e.Status(); s.Lost != 0 || s.Pending != 100 || s.FailingSince.IsZero() {
		t.Errorf("%+v", s)
	}
	c.serveGRPC(t, endpoint, nil)
	c.await(t, "recovery", func() bool { return e.Status().Sent == 100 })
	e.check(t, c, 100)
	if s := e.Status(); s.Error != "" || !s.FailingSince.IsZero() || s.LastSent.IsZero() {
		t.Errorf("%+v", s)
	}
}

// TestExporter_Answers has what a collector answers once, and whether the records of that request arrive later.
func TestExporter_Answers(t *testing.T) {
	throttled, err := status.New(codes.ResourceExhausted, "full").WithDetails(
		&errdetails.RetryInfo{RetryDelay: durationpb.New(5 * time.Millisecond)})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		answer  answer
		retried bool
		want    string
	}{
		"unavailable":  {answer{grpc: status.Error(codes.Unavailable, "x"), code: 503}, true, ""},
		"aborted":      {answer{grpc: status.Error(codes.Aborted, "x"), code: 502}, true, ""},
		"data loss":    {answer{grpc: status.Error(codes.DataLoss, "x"), code: 504}, true, ""},
		"throttled":    {answer{grpc: throttled.Err(), code: 429}, true, ""},
		"exhausted":    {answer{grpc: status.Error(codes.ResourceExhausted, "x"), code: 500}, false, "00"},
		"invalid":      {answer{grpc: status.Error(codes.InvalidArgument, "00"), code: 400}, false, "00"},
		"unauthorized": {answer{grpc: status.Error(codes.Unauthenticated, "01"), code: 401}, false, "01"},
		"unknown":      {answer{grpc: status.Error(codes.Unimplemented, "04"), code: 404}, false, "04"},
		"redirected": {answer{grpc: status.Error(codes.Internal, "07"), code: 307,
			header: http.Header{"Location": {"http://127.0.0.1:1/"}}}, false, "07"},
	} {
		t.Run(name, func(t *testing.T) {
			decide := func(n int) answer {
				if n == 1 {
					return c.answer
				}
				return answer{}
			}
			both(t, decide, func(t *testing.T, col *collector, endpoint string) {
				e := run(t, newConfig(t, endpoint, nil))
				e.Observe([][]byte{dns(t, 0), dns(t, 1)})
				if c.retried {
					col.await(t, "another attempt", func() bool { return e.Status().Sent == 2 })
				} else {
					col.await(t, "the loss", func() bool { return e.Status().LostBy[Refused] == 2 })
					produce(t, e.Exporter, 1)
					col.await(t, "the next request", func() bool { return e.Status().Sent == 1 })
				}
				s := e.Status()
				e.check(t, col, int(s.Queued))
				if _, reported := col.count(); reported != s.Lost {
					t.Errorf("%d lost, and %d reported", s.Lost, reported)
				}
			})
		})
	}
}

func TestExporter_RetryDelay(t *testing.T) {
	var at [2]time.Time
	busy, err := status.New(codes.Unavailable, "busy").WithDetails(
		&errdetails.RetryInfo{RetryDelay: durationpb.New(time.Second)})
	if err != nil {
		t.Fatal(err)
	}
	decide := func(n int) answer {
		if n <= 2 {
			at[n-1] = time.Now()
		}
		if n == 1 {
			return answer{grpc: busy.Err(), code: 503, header: http.Header{"Retry-After": {"1"}}}
		}
		return answer{}
	}
	both(t, decide, func(t *testing.T, c *collector, endpoint string) {
		e := run(t, newConfig(t, endpoint, nil))
		produce(t, e.Exporter, 1)
		c.await(t, "the record", func() bool { return e.Status().Sent == 1 })
		if d := at[1].Sub(at[0]); d < time.Second {
			t.Errorf("the next attempt came after %v, want 1s", d)
		}
	})
}

func TestExporter_PartialSuccess(t *testing.T) {
	decide := func(n int) answer {
		if n == 1 {
			return answer{rejected: 3, message: "too old\x1b[2J"}
		}
		return answer{}
	}
	both(t, decide, func(t *testing.T, c *collector, endpoint string) {
		e := run(t, newConfig(t, endpoint, nil))
		var batch [][]byte
		for i := range 10 {
			batch = append(batch, dns(t, i))
		}
		e.Observe(batch)
		c.await(t, "the records", func() bool { return e.Status().Sent > 0 })
		s := e.Status()
		if s.Sent != 7 || s.LostBy[Refused] != 3 || s.Error != `3 of 10 records were rejected: too old\x1b[2J` {
			t.Errorf("%+v", s)
		}
		produce(t, e.Exporter, 1)
		c.await(t, "the next request", func() bool { return e.Status().Sent == 8 })
		if _, reported := c.count(); reported != 3 {
			t.Errorf("%d losses were reported, want 3", reported)
		}
	})
}

// TestExporter_Stalled floods an exporter whose collector accepts connections and answers nothing.
func TestExporter_Stalled(t *testing.T) {
	stalled := make(chan struct{})
	decide := func(int) answer {
		select {
		case <-stalled:
			return answer{}
		default:
			return answer{stall: true}
		}
	}
	both(t, decide, func(t *testing.T, c *collector, endpoint string) {
		stalled, c.unique = make(chan struct{}), true
		e := run(t, newConfig(t, endpoint, func(c *Config) {
			c.QueueBytes, c.BatchBytes = exportconfig.MinQueue, exportconfig.MinBatch
			c.Timeout.Duration = exportconfig.MinTimeout
		}))
		const rounds, each = 40, 5000
		var batch [][]byte
		for i := range each {
			batch = append(batch, dns(t, i))
		}
		var first uint64
		for round := range rounds {
			for i, ev := range batch { // the time is the first field
				binary.LittleEndian.PutUint64(ev[1:], uint64(round*each+i+1))
			}
			e.Observe(batch)
			if s := e.Status(); s.QueueBytes > uint64(exportconfig.MinQueue)+chunkBytes {
				t.Fatalf("the queue has %d bytes, of %d", s.QueueBytes, exportconfig.MinQueue)
			}
			if round == rounds/4 {
				first = heap()
			}
		}
		// A request that the server holds is 1 MiB of it; without a bound it would be 30.
		if last := heap(); last > first+4<<20 {
			t.Errorf("the heap grew from %d to %d", first, last)
		}
		c.await(t, "a timeout", func() bool { return e.Status().Error != "" })
		if s := e.Status(); s.Queued != rounds*each || s.Sent != 0 || s.LostBy[Overflow] == 0 ||
			s.LostBy[Overflow] != s.Lost {
			t.Errorf("%+v", s)
		}
		c.mu.Lock()
		close(stalled)
		c.mu.Unlock()
		c.await(t, "the rest", func() bool { return e.Status().Pending == 0 })
		e.check(t, c, rounds*each)
		if _, reported := c.count(); reported != e.Status().Lost {
			t.Errorf("%d lost, and %d reported", e.Status().Lost, reported)
		}
	})
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestExporter_Expires(t *testing.T) {
	both(t, func(int) answer { return answer{grpc: status.Error(codes.Aborted, "x"), stall: true} },
		func(t *testing.T, c *collector, endpoint string) {
			e := run(t, nil)
			e.impatience = time.Millisecond
			e.Apply(newConfig(t, endpoint, func(c *Config) { c.Timeout.Duration = exportconfig.MinTimeout }))
			produce(t, e.Exporter, 5)
			c.await(t, "the loss", func() bool { return e.Status().LostBy[Expired] == 5 })
		})
}

func TestExporter_OffCostsNothing(t *testing.T) {
	e := run(t, nil)
	batch := [][]byte{dns(t, 0)}
	if n := testing.AllocsPerRun(100, func() { e.Observe(batch) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if s := e.Status(); s.Queued != 0 || s.Endpoint != "" {
		t.Errorf("%+v", s)
	}
}

func TestExporter_Reload(t *testing.T) {
	down := newCollector(func(int) answer { return answer{grpc: status.Error(codes.Unavailable, "x")} })
	endpoint, _ := down.serveGRPC(t, "127.0.0.1:0", nil)
	e := run(t, newConfig(t, endpoint, func(c *Config) { c.Kinds = []string{"dns", "exec"} }))
	produce(t, e.Exporter, 100)
	down.await(t, "an attempt", func() bool { return e.Status().Error != "" })
	up := newCollector(nil)
	e.Apply(newConfig(t, up.serveHTTP(t), func(c *Config) { c.Kinds = []string{"dns", "exec"} }))
	up.await(t, "the queue", func() bool { return e.Status().Sent == 100 })
	e.check(t, up, 100)

	t.Run("a kind is not exported any more", func(t *testing.T) {
		e.Apply(newConfig(t, endpoint, func(c *Config) { c.Kinds = []string{"dns", "exec"} }))
		program := encoded(t, &event.Event{Time: 1, Kind: &event.Event_Exec{Exec: &event.Exec{Args: []byte("secret")}}})
		e.Observe([][]byte{program, dns(t, 0)})
		down.await(t, "an attempt", func() bool { return e.Status().Error != "" })
		e.Observe([][]byte{program, dns(t, 0)})
		e.Apply(newConfig(t, up.serveHTTP(t), func(c *Config) { c.Kinds = []string{"dns"} }))
		up.await(t, "the rest", func() bool { return e.Status().Pending == 0 })
		up.mu.Lock()
		defer up.mu.Unlock()
		for _, r := range up.records {
			if r.GetEventName() == "orb8.exec" {
				t.Error("a program was exported")
			}
		}
	})
	t.Run("off", func(t *testing.T) {
		before := e.Status()
		e.Apply(newConfig(t, endpoint, nil))
		produce(t, e.Exporter, 10)
		e.Apply(nil)
		down.await(t, "the loss", func() bool { return e.Status().Pending == 0 })
		if s := e.Status(); s.Queued != before.Queued+10 || s.Lost != before.Lost+10 || s.Endpoint != "" {
			t.Errorf("%+v, before %+v", s, before)
		}
	})
}

func TestExporter_FlushesAtTheEnd(t *testing.T) {
	both(t, nil, func(t *testing.T, c *collector, endpoint string) {
		e := run(t, newConfig(t, endpoint, nil))
		produce(t, e.Exporter, 100)
		e.Observe([][]byte{flow(t, event.Phase_PHASE_NEW, 1, 10)}) // is held
		e.stop()
		e.check(t, c, 101)
		if s := e.Status(); s.Sent != 101 {
			t.Errorf("%+v", s)
		}
	})
	t.Run("stalled", func(t *testing.T) {
		c := newCollector(func(int) answer { return answer{stall: true} })
		endpoint, _ := c.serveGRPC(t, "127.0.0.1:0", nil)
		e := run(t, nil)
		e.flush = 50 * time.Millisecond
		e.Apply(newConfig(t, endpoint, nil))
		produce(t, e.Exporter, 100)
		began := time.Now()
		e.stop()
		if d := time.Since(began); d > 5*time.Second {
			t.Errorf("the end took %v", d)
		}
		if s := e.Status(); s.LostBy[Ended] != 100 || s.Pending != 0 {
			t.Errorf("%+v", s)
		}
	})
}

func TestExporter_TLS(t *testing.T) {
	dir := t.TempDir()
	ca, other := newAuthority(t), newAuthority(t)
	write := func(name string, text []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	caFile := write("ca.crt", ca.pem)
	cert, key := ca.issue(t, "client")
	certFile, keyFile := write("tls.crt", cert), write("tls.key", key)
	secure := func(c *Config) { c.TLS = exportconfig.TLS{CAFile: caFile, CertFile: certFile, KeyFile: keyFile} }

	t.Run("both certificates", func(t *testing.T) {
		c := newCollector(nil)
		endpoint, _ := c.serveGRPC(t, "127.0.0.1:0", ca.server(t))
		e := run(t, newConfig(t, endpoint, secure))
		produce(t, e.Exporter, 3)
		c.await(t, "the records", func() bool { return e.Status().Sent == 3 })
	})
	t.Run("a wrong certificate", func(t *testing.T) {
		c := newCollector(nil)
		endpoint, stop := c.serveGRPC(t, "127.0.0.1:0", other.server(t))
		e := run(t, newConfig(t, endpoint, secure))
		produce(t, e.Exporter, 3)
		c.await(t, "the failure", func() bool { return strings.Contains(e.Status().Error, "certificate") })
		if s := e.Status(); s.Pending != 3 || s.Lost != 0 {
			t.Errorf("%+v", s)
		}
		stop()
		c.serveGRPC(t, endpoint, ca.server(t))
		c.await(t, "the records", func() bool { return e.Status().Sent == 3 })
	})
	t.Run("a missing file", func(t *testing.T) {
		e := run(t, newConfig(t, "127.0.0.1:1", func(c *Config) {
			secure(c)
			c.TLS.CAFile = filepath.Join(dir, "none")
		}))
		produce(t, e.Exporter, 1)
		newCollector(nil).await(t, "the failure", func() bool {
			return strings.HasPrefix(e.Status().Error, "tls.caFile: open ")
		})
	})
}

// authority issues certificates for 127.0.0.1.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true,
		BasicConstraintsValid: true, NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

func (a *authority) issue(t *testing.T, name string) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name},
		NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, private.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}

// server is a server's configuration that wants a client certificate.
func (a *authority) server(t *testing.T) *tls.Config {
	t.Helper()
	cert, key := a.issue(t, "server")
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	clients := x509.NewCertPool()
	clients.AddCert(a.cert)
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, ClientCAs: clients,
		ClientAuth: tls.RequireAndVerifyClientCert}
}

// flow is an encoded half of a flow of a number.
func flow(t testing.TB, phase event.Phase, number, sent int) []byte {
	t.Helper()
	return encoded(t, &event.Event{Time: 1, Namespace: "shop", Pod: "web-0", Container: "app", PodUid: "uid",
		Workload: "deploy/web", Kind: &event.Event_Flow{Flow: &event.Flow{
			Protocol: event.Protocol_PROTOCOL_TCP, Phase: phase, Observed: event.Side_SIDE_SRC,
			State: event.TCPState_TCP_STATE_ESTABLISHED, SocketCookie: uint64(number), SrcIsn: uint32(number),
			DstIsn: 7, IsnValid: true, StartTime: 1764000000000000000, LastTime: 1764000001000000000,
			Src: &event.Endpoint{Address: []byte{10, 0, 0, 1}, Port: 40000, Pid: 4242, Comm: "curl",
				Namespace: "shop", Pod: "web-0", Container: "app", Workload: "deploy/web"},
			Dst: &event.Endpoint{Address: []byte{10, 0, 0, 2}, Port: 5432},
			SrcCounters: &event.Counters{BytesSent: uint64(sent), BytesReceived: 20, PacketsSent: 3, PacketsReceived: 4,
				SrttMicros: new(uint32(250)), Retransmits: new(uint64(1))},
		}}})
}

func TestExporter_HoldsFlows(t *testing.T) {
	c := newCollector(nil)
	endpoint, _ := c.serveGRPC(t, "127.0.0.1:0", nil)
	sent := func() (all []string) {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, r := range c.records {
			a := attributes(r)
			all = append(all, a["orb8.phase"].(string)+" "+strconv.FormatUint(a["orb8.bytes_sent"].(uint64), 10))
		}
		c.records = nil
		return all
	}
	e := run(t, newConfig(t, endpoint, nil))
	for n := range 5 {
		e.Observe([][]byte{flow(t, event.Phase_PHASE_UPDATE, 1, n)})
	}
	e.Observe([][]byte{flow(t, event.Phase_PHASE_UPDATE, 2, 7), flow(t, event.Phase_PHASE_CLOSED, 1, 9)})
	c.await(t, "the end of the flow", func() bool { return e.Status().Sent == 1 })
	if got := strings.Join(sent(), ","); got != "closed 9" || e.Status().Held != 1 {
		t.Errorf("%s, %+v", got, e.Status())
	}
	// The other lives longer than an update may wait.
	e.Apply(newConfig(t, endpoint, func(c *Config) { c.Timeout.Duration = time.Minute }))
	e.mu.Lock()
	e.config.Updates = 1
	e.mu.Unlock()
	c.await(t, "the update", func() bool { return e.Status().Sent == 2 })
	if got := strings.Join(sent(), ","); got != "update 7" || e.Status().Held != 0 {
		t.Errorf("%s, %+v", got, e.Status())
	}
	// With all updates, the state that is held goes at once.
	e.Apply(newConfig(t, endpoint, nil))
	e.Observe([][]byte{flow(t, event.Phase_PHASE_UPDATE, 2, 8)})
	e.Apply(newConfig(t, endpoint, func(c *Config) { c.Updates = exportconfig.UpdatesAll }))
	e.Observe([][]byte{flow(t, event.Phase_PHASE_UPDATE, 2, 9), flow(t, event.Phase_PHASE_UPDATE, 2, 10)})
	c.await(t, "the updates", func() bool { return e.Status().Sent == 5 })
	if got := strings.Join(sent(), ","); got != "update 8,update 9,update 10" {
		t.Error(got)
	}
}
