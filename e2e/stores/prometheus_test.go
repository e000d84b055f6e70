package stores

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/client-go/rest"

	"github.com/orb8-dev/kubectl-orb8/agent/metrics"
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/scrape"
	servermetrics "github.com/orb8-dev/kubectl-orb8/server/metrics"
)

// TestPrometheus_ScrapesAgentsAndServers has a real Prometheus scrape two agents' tables and a server's metrics, by
// HTTPS and with a token, and evaluates every expression of dashboards and alerts there.
func TestPrometheus_ScrapesAgentsAndServers(t *testing.T) {
	if os.Getenv("ORB8_E2E_STORES") == "" {
		t.Skip("it builds Prometheus: make test-stores")
	}
	nodes := []*node{newNode("n1"), newNode("n2")}
	k := newScrapeKit(t)
	var jobs bytes.Buffer
	for i, n := range nodes {
		registry := prometheus.NewRegistry()
		registry.MustRegister(metrics.NewCollector(n.table, agentStatus, func() map[int]uint64 {
			return map[int]uint64{200: n.step}
		}))
		// One agent is scraped by protobuf, for the native histograms.
		jobs.WriteString(k.serve(t, "orb8-agent", n.name, registry, i == 0))
	}
	served := servermetrics.New()
	registry := prometheus.NewRegistry()
	if err := served.Register(registry, serverStatus); err != nil {
		t.Fatal(err)
	}
	jobs.WriteString(k.serve(t, "orb8-server", "n1", registry, true))
	rules, err := filepath.Abs(filepath.Join(root, "docs", "dashboards", "alerts.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	p := StartPrometheus(t, root, fmt.Sprintf("global: {scrape_interval: 500ms, scrape_timeout: 500ms, "+
		"evaluation_interval: 1s}\nrule_files: [%q]\nscrape_configs:\n%s", rules, jobs.String()))

	feed := func() {
		for _, n := range nodes {
			n.feed(t)
		}
		serve(served)
	}
	feed()
	scrapes := func() float64 { return p.Sum(t, `min(count_over_time(up{job=~"orb8.*"}[1h]))`) }
	begun := scrapes()
	p.Await(t, "20 scrapes", func(context.Context) bool {
		feed()
		return scrapes() > begun+20
	})
	p.CheckExpressions(t, "30s", []Exception{
		{regexp.MustCompile("^absent"), "nothing is missing"},
	})
	p.CheckRules(t)
	if up := p.Sum(t, `sum(up{job=~"orb8.*"})`); up != 3 {
		t.Errorf("%v targets are up, want 3", up)
	}
	var sent, received float64
	for _, n := range nodes {
		sent += float64(n.sent)
		received += float64(n.received)
	}
	p.Await(t, "all bytes", func(context.Context) bool {
		return p.Sum(t, "sum(orb8_network_sent_bytes_total)") == sent &&
			p.Sum(t, "sum(orb8_network_received_bytes_total)") == received
	})
	if n := p.Sum(t, `sum(histogram_count(orb8_tcp_rtt_seconds)) + sum(orb8_tcp_rtt_seconds_count)`); n == 0 {
		t.Error("no histogram of round-trip times")
	}
}

func agentStatus() metrics.Status {
	now := uint64(time.Now().UnixNano())
	return metrics.Status{Version: "v1", Kernel: "6.8", CPUMicros: now / 1e5, MemoryBytes: 1 << 26, Started: now - 1e12,
		CertificateExpiry: now + 1e13, HistoryOldest: now - 1e11, Observing: true, HistoryBytes: 1 << 20,
		HistoryMaximum: 1 << 25, HistoryEvents: 1, ProgramsTimed: true, Programs: []metrics.Program{{Probe: "flow",
			Name: "tcp_sendmsg", RunNanos: now / 1e3, Runs: now / 1e6, Instructions: 1000}},
		Export: &metrics.Export{Sent: now / 1e9, QueueBytes: 1, LimitBytes: 1 << 20, SentPoints: now / 1e9,
			LostPoints: map[string]uint64{"replaced": now / 1e10},
			Lost:       map[string]uint64{"overflow": now / 1e9}}}
}

func serverStatus() servermetrics.Status {
	return servermetrics.Status{Version: "v1",
		Agents:            map[string]int{"connected": 2, "unreachable": 0, "incompatible": 0},
		CertificateExpiry: time.Now().Add(time.Hour), AuthorityExpiry: time.Now().Add(100 * time.Hour), LimitBytes: 1}
}

// serve counts requests and events of a server.
func serve(m *servermetrics.Metrics) {
	m.Begin("/orbit/StreamFlows")(nil)
	m.Begin("/orbit/QueryFlows")(nil)
	m.Begin("/orbit/QueryFlows")(status.Error(codes.ResourceExhausted, "busy"))
	m.Received(10)
	for range 32 {
		m.Merged(&event.Event{Time: uint64(time.Now().UnixNano()), Kind: &event.Event_Flow{Flow: &event.Flow{}}}, true)
	}
	m.Dropped(1)
	m.Certificate(servermetrics.Signed)
}

// scrapeKit serves metrics by HTTPS to those with its token.
type scrapeKit struct {
	tls    *tls.Config
	caFile string
	auth   *scrape.Auth
}

const token = "good"

func newScrapeKit(t *testing.T) *scrapeKit {
	t.Helper()
	api := httptest.NewServer(http.HandlerFunc(review))
	t.Cleanup(api.Close)
	auth, err := scrape.NewAuth(&rest.Config{Host: api.URL})
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true,
		BasicConstraintsValid: true, DNSNames: []string{"orb8-agent", "orb8-server"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	k := &scrapeKit{auth: auth, caFile: filepath.Join(t.TempDir(), "ca.crt"), tls: &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := os.WriteFile(k.caFile, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return k
}

// review is an API server that knows one token.
func review(w http.ResponseWriter, r *http.Request) {
	var who authenticationv1.TokenReview
	var may authorizationv1.SubjectAccessReview
	w.WriteHeader(http.StatusCreated)
	if filepath.Base(r.URL.Path) == "tokenreviews" {
		_ = json.NewDecoder(r.Body).Decode(&who) // of a request of package scrape
		who.Status.Authenticated = who.Spec.Token == token
		who.Status.User.Username = "prometheus"
		_ = json.NewEncoder(w).Encode(who)
		return
	}
	_ = json.NewDecoder(r.Body).Decode(&may)
	may.Status.Allowed = may.Spec.User == "prometheus"
	_ = json.NewEncoder(w).Encode(may)
}

// serve serves what a registry has, and returns the configuration of its scrapes.
func (k *scrapeKit) serve(t *testing.T, job, node string, registry *prometheus.Registry, native bool) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	server := scrape.New(scrape.Options{TLS: k.tls, Auth: k.auth, Log: slog.New(slog.DiscardHandler)})
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := server.Serve(ctx, l, registry); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		serving.Wait()
	})
	return fmt.Sprintf(`- job_name: %[1]s-%[2]s
  scheme: https
  honor_labels: true
  scrape_native_histograms: %[3]v
  authorization: {credentials: %[4]s}
  tls_config: {ca_file: %[5]q, server_name: %[1]s}
  static_configs: [{targets: [%[6]q], labels: {job: %[1]s, node: %[2]s}}]
`, job, node, native, token, k.caFile, l.Addr())
}
