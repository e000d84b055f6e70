package stores

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// sizedEvents is how many events of each kind the figures of docs/operations.md are of.
const sizedEvents = 100_000

// TestStoredBytes logs how many bytes VictoriaLogs takes for an event, for the figures of docs/operations.md.
func TestStoredBytes(t *testing.T) {
	if os.Getenv("ORB8_E2E_STORES") == "" {
		t.Skip("it builds a store: make test-stores")
	}
	for name, make := range map[string]func(r *rand.Rand, n int) *event.Event{"flow": sizedFlow, "dns": sizedQuery} {
		t.Run(name, func(t *testing.T) {
			data := t.TempDir()
			s := &store{FreeAddress(t, loopback)}
			VictoriaLogs.Start(t, root, "-httpListenAddr="+s.address, "-storageDataPath="+data)
			awaitReady(t, s)
			r := rand.New(rand.NewPCG(1, 2))
			begin := uint64(time.Now().Add(-time.Hour).UnixNano())
			var events []*event.Event
			for n := range sizedEvents {
				ev := make(r, n)
				ev.Node, ev.Time = "node-1", begin+uint64(n)*uint64(36*time.Millisecond)
				events = append(events, ev)
			}
			exportAll(t, s, events)
			s.await(t, "* | stats count() rows", map[string]string{"rows": fmt.Sprint(sizedEvents)})
			bytes := settledSize(t, s, data)
			t.Logf("%s: %d bytes for each of %d events", name, bytes/sizedEvents, sizedEvents)
			if bytes/sizedEvents > 400 {
				t.Errorf("docs/operations.md has smaller figures")
			}
		})
	}
}

// settledSize returns what a store takes on disk, once that does not change any more.
func settledSize(t *testing.T, s *store, data string) (bytes int) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.address+"/internal/force_merge",
		nil)
	if err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(time.Second)
	for same := 0; same < 5; <-tick.C {
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close() // it says nothing
		before := bytes
		bytes = 0
		_ = filepath.WalkDir(data, func(_ string, d fs.DirEntry, err error) error {
			// Parts that are merged go at any time.
			if err != nil || d.IsDir() {
				return nil
			}
			if info, err := d.Info(); err == nil {
				bytes += int(info.Size())
			}
			return nil
		})
		if same++; bytes != before || bytes < sizedEvents {
			same = 0
		}
	}
	return bytes
}

// sizedFlow is a connection of one of 50 pods to one of 20 services.
func sizedFlow(r *rand.Rand, n int) *event.Event {
	pod, service := r.IntN(50), r.IntN(20)
	now := uint64(time.Now().Add(-time.Hour).UnixNano()) + uint64(n)*uint64(36*time.Millisecond)
	return &event.Event{Namespace: fmt.Sprintf("team-%d", pod%7), Pod: fmt.Sprintf("web-7648b47d6-%05d", pod),
		Container: "main", PodUid: fmt.Sprintf("2f1c9f0e-5a51-4b1c-9d77-0000000%05d", pod),
		Workload: fmt.Sprintf("deploy/web-%d", pod/5),
		Kind: &event.Event_Flow{Flow: &event.Flow{Protocol: event.Protocol_PROTOCOL_TCP,
			Phase: event.Phase_PHASE_CLOSED, State: event.TCPState_TCP_STATE_CLOSE, Observed: event.Side_SIDE_SRC,
			SocketCookie: uint64(n) + 1000, RoleKnown: true, IsnValid: true, SrcIsn: r.Uint32(), DstIsn: r.Uint32(),
			StartTime: now - uint64(r.IntN(1e9)), LastTime: now - uint64(r.IntN(1e6)),
			Src: &event.Endpoint{Address: []byte{10, 244, 1, byte(pod)}, Port: 32768 + uint32(r.IntN(28000)),
				Pid: 10000 + uint32(pod), Comm: "nginx"},
			Dst: &event.Endpoint{Address: []byte{10, 96, 0, byte(service)}, Port: 8080},
			SrcCounters: &event.Counters{BytesSent: uint64(r.IntN(5000)), BytesReceived: uint64(r.IntN(100_000)),
				PacketsSent: uint64(r.IntN(40)), PacketsReceived: uint64(r.IntN(80)), Retransmits: new(uint64(0)),
				SrttMicros: new(uint32(100 + r.IntN(900)))}}}}
}

// sizedQuery is a query for one of 200 names.
func sizedQuery(r *rand.Rand, _ int) *event.Event {
	pod := r.IntN(50)
	return &event.Event{Namespace: fmt.Sprintf("team-%d", pod%7), Pod: fmt.Sprintf("web-7648b47d6-%05d", pod),
		Container: "main", PodUid: fmt.Sprintf("2f1c9f0e-5a51-4b1c-9d77-0000000%05d", pod),
		Workload: fmt.Sprintf("deploy/web-%d", pod/5),
		Kind: &event.Event_Dns{Dns: &event.Dns{Protocol: event.Protocol_PROTOCOL_UDP, Observed: event.Side_SIDE_SRC,
			Name: fmt.Sprintf("api-%d.team-%d.svc.cluster.local.", r.IntN(200), pod%7), Type: "A", Rcode: "NOERROR",
			Outcome: event.DnsOutcome_DNS_OUTCOME_ANSWERED, Answers: fmt.Sprintf("10.96.0.%d", r.IntN(20)),
			AnswerCount: new(uint32(1)), LatencyMicros: new(uint64(r.IntN(3000))), Attempts: 1,
			Truncated: new(false), QueryId: new(uint32(r.IntN(1 << 16))),
			Src: &event.Endpoint{Address: []byte{10, 244, 1, byte(pod)}, Port: 32768 + uint32(r.IntN(28000)),
				Pid: 10000 + uint32(pod), Comm: "nginx"},
			Dst: &event.Endpoint{Address: []byte{10, 96, 0, 10}, Port: 53}}}}
}
