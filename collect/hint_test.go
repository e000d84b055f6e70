package collect

import (
	"net/netip"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// hinted names every address by a Service that passes nothing on.
type hinted struct{ note event.ServiceNote }

func (h hinted) Name(_ netip.Addr, port uint16, _ event.Protocol) Name {
	n := Name{Hint: &ServiceHint{Service: "web", Namespace: "demo", Port: port, Note: h.note}}
	if h.note == event.ServiceNote_SERVICE_NOTE_INFERRED {
		n.Namespace, n.Pod, n.Hint.Port = "demo", "web-0", 80
	}
	return n
}

func (hinted) Backs(netip.AddrPort, netip.AddrPort, event.Protocol) bool { return false }

func TestCollector_DescribesServiceHint(t *testing.T) {
	const noSuchPort, inferred = event.ServiceNote_SERVICE_NOTE_NO_SUCH_PORT, event.ServiceNote_SERVICE_NOTE_INFERRED
	ends := func() (src, dst *event.Endpoint) { return endpoint("10.0.0.1:40000"), endpoint("10.96.0.10:81") }
	for _, c := range []struct {
		name    string
		note    event.ServiceNote
		port    uint32
		address string
		pod     string
	}{
		{"no such port", noSuchPort, 81, "10.96.0.10", ""},
		{"inferred", inferred, 80, "", "web-0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, Options{Namer: hinted{c.note}}, func(w *world) {
				src, dst := ends()
				connection := &event.Event{
					Time: uint64(time.Now().UnixNano()), Node: "a", Namespace: "demo", Pod: "client",
					PodUid: "uid-client",
					Kind: &event.Event_Tcp{Tcp: &event.Tcp{
						Outcome: event.TCPOutcome_TCP_OUTCOME_REFUSED, Observed: event.Side_SIDE_SRC, Src: src,
						Dst: dst,
					}},
				}
				src, dst = ends()
				flow := &event.Event{
					Time: uint64(time.Now().UnixNano()), Node: "a", Namespace: "demo", Pod: "client",
					PodUid: "uid-client",
					Kind: &event.Event_Flow{Flow: &event.Flow{
						Protocol: event.Protocol_PROTOCOL_UDP, Phase: event.Phase_PHASE_CLOSED,
						Observed:     event.Side_SIDE_SRC,
						SocketCookie: 7, StartTime: 1, Src: src, Dst: dst, SrcCounters: &event.Counters{PacketsSent: 1},
					}},
				}
				w.feed("a", connection, flow)
				events := w.take(5 * time.Second)
				if len(events) != 2 {
					t.Fatalf("%d events, want 2", len(events))
				}
				for _, ev := range events {
					d := event.EndsOf(ev).GetDst()
					address := ""
					if a, ok := netip.AddrFromSlice(d.GetServiceAddress()); ok {
						address = a.String()
					}
					if d.GetService() != "web" || d.GetServiceNamespace() != "demo" || d.GetServicePort() != c.port ||
						d.GetServiceNote() != c.note || address != c.address || d.GetPod() != c.pod ||
						d.GetPort() != 81 {
						t.Errorf("dst is %v", d)
					}
				}
			})
		})
	}
}
