package stores

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/agent/export"
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/internal/exportconfig"
)

const root = "../.."

// store is a VictoriaLogs.
type store struct{ address string }

func startStore(t *testing.T) *store {
	t.Helper()
	s := &store{FreeAddress(t, loopback)}
	VictoriaLogs.Start(t, root, "-httpListenAddr="+s.address, "-storageDataPath="+t.TempDir())
	return s
}

// query returns the rows of a query in LogsQL.
func (s *store) query(ctx context.Context, query string) (rows []map[string]string, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.address+"/select/logsql/query?"+
		url.Values{"query": {query}}.Encode(), nil)
	if err != nil {
		return nil, err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(answer.Body, 4096))
		return nil, fmt.Errorf("%s: %s", answer.Status, text)
	}
	for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
		row := map[string]string{}
		if err := json.Unmarshal(lines.Bytes(), &row); err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// await repeats a query until its only row has the wanted fields.
func (s *store) await(t *testing.T, query string, want map[string]string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var last any
	for tick := time.NewTicker(200 * time.Millisecond); ; {
		rows, err := s.query(ctx, query)
		same := err == nil && len(rows) == 1
		for name, value := range want {
			same = same && rows[0][name] == value
		}
		if same {
			return
		}
		if last = rows; err != nil {
			last = err
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: %v, want %v", query, last, want)
		case <-tick.C:
		}
	}
}

const (
	flows   = 2000
	queries = 500
)

// send exports flows and queries, and waits until the collector has accepted them.
func send(t *testing.T, config *exportconfig.Config) {
	t.Helper()
	e, stop := runExporter(t, config, []string{"flow", "tcp", "dns", "drop"})
	defer stop()
	now := uint64(time.Now().UnixNano())
	for i := range flows {
		namespace := []string{"shop", "bank"}[i%2]
		half := &event.Flow{Protocol: event.Protocol_PROTOCOL_TCP, Phase: event.Phase_PHASE_CLOSED,
			Observed: event.Side_SIDE_SRC, SocketCookie: uint64(i) + 1,
			Src:         &event.Endpoint{Address: []byte{10, 0, 0, 1}, Port: uint32(i) + 1, Namespace: namespace},
			Dst:         &event.Endpoint{Address: []byte{10, 0, 0, 2}, Port: 5432},
			SrcCounters: &event.Counters{BytesSent: uint64(i)}}
		observe(t, e, &event.Event{Time: now + uint64(i), Node: "node-1", Namespace: namespace, Pod: "web-0",
			Kind: &event.Event_Flow{Flow: half}})
	}
	for i := range queries {
		observe(t, e, &event.Event{Time: now + uint64(i), Node: "node-1", Namespace: "shop", Pod: "web-0",
			Kind: &event.Event_Dns{Dns: &event.Dns{Name: "example.com.", Type: "A", Rcode: "NOERROR",
				Outcome: event.DnsOutcome_DNS_OUTCOME_ANSWERED, Answers: "10.0.0.1,10.0.0.2"}}})
	}
	deadline := time.After(time.Minute)
	for tick := time.NewTicker(50 * time.Millisecond); e.Status().Sent < flows+queries; {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%+v", e.Status())
		}
	}
	if s := e.Status(); s.Lost != 0 || s.Queued != s.Sent {
		t.Errorf("%+v", s)
	}
}

// runExporter runs an exporter without TLS until stop is called. kinds are what its agent records.
func runExporter(t *testing.T, config *exportconfig.Config, kinds []string) (e *export.Exporter, stop func()) {
	t.Helper()
	config.TLS.Insecure = true
	config.Complete(kinds)
	if err := config.Validate(kinds); err != nil {
		t.Fatal(err)
	}
	e = export.New(export.Options{Node: "node-1", Version: "v1", Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	e.Apply(config)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { e.Run(ctx) })
	return e, func() {
		cancel()
		running.Wait()
	}
}

func observe(t *testing.T, e *export.Exporter, ev *event.Event) {
	t.Helper()
	encoded, err := proto.Marshal(ev)
	if err != nil {
		t.Fatal(err)
	}
	e.Observe([][]byte{encoded})
}

// check compares sums of the store with what was sent.
func check(t *testing.T, s *store) {
	t.Helper()
	const sum = ` | stats count() rows, sum("orb8.bytes_sent") bytes`
	s.await(t, `event_name:="orb8.flow"`+sum, map[string]string{"rows": fmt.Sprint(flows),
		"bytes": fmt.Sprint(flows * (flows - 1) / 2)})
	s.await(t, `event_name:="orb8.flow" "k8s.namespace.name":="bank"`+sum, map[string]string{
		"rows": fmt.Sprint(flows / 2), "bytes": fmt.Sprint(flows / 2 * flows / 2)})
	s.await(t, `{"service.name"="orb8-agent","k8s.node.name"="node-1"} "dns.question.name":="example.com."`+sum,
		map[string]string{"rows": fmt.Sprint(queries)})
	s.await(t, `event_name:="orb8.dns" | limit 1`, map[string]string{"orb8.rcode": "NOERROR",
		"k8s.pod.name": "web-0", "dns.answers": `["10.0.0.1","10.0.0.2"]`, "scope.name": "orb8"})
}

// TestExport_VictoriaLogs sends to the store's own OTLP receiver.
func TestExport_VictoriaLogs(t *testing.T) {
	if os.Getenv("ORB8_E2E_STORES") == "" {
		t.Skip("it builds a store: make test-stores")
	}
	s := startStore(t)
	send(t, &exportconfig.Config{Protocol: exportconfig.ProtocolHTTP,
		Endpoint: "http://" + s.address + "/insert/opentelemetry"})
	check(t, s)
}

// TestExport_Collector sends to a collector, by both protocols, which passes on to a store.
func TestExport_Collector(t *testing.T) {
	if os.Getenv("ORB8_E2E_STORES") == "" {
		t.Skip("it builds a collector and a store: make test-stores")
	}
	for _, protocol := range []string{exportconfig.ProtocolGRPC, exportconfig.ProtocolHTTP} {
		t.Run(protocol, func(t *testing.T) {
			s := startStore(t)
			endpoint := FreeAddress(t, loopback)
			path := filepath.Join(t.TempDir(), "config.yaml")
			text := CollectorConfig(protocol, endpoint, s.address)
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			Collector.Start(t, root, "--config="+path)
			if protocol == exportconfig.ProtocolHTTP {
				endpoint = "http://" + endpoint
			}
			send(t, &exportconfig.Config{Protocol: protocol, Endpoint: endpoint})
			check(t, s)
		})
	}
}
