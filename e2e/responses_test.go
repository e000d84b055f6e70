package e2e

import (
	"math"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/e2e/kit"
	"github.com/orb8-dev/kubectl-orb8/e2e/workload/report"
)

// timedFlow is what a flow event has of response times.
type timedFlow struct {
	timedEnd
	Dst timedEnd
}

type timedEnd struct{ Responses, ResponseP50Micros, ResponseP99Micros uint64 }

// TestResponseTimes compares response times with those that the client has measured, over HTTP/1.1 and HTTP/2, with and
// without TLS, from a server with known delays.
func TestResponseTimes(t *testing.T) {
	e := kit.NeedOwn(t)
	const open, secure = 8080, 8443
	// Of 10 requests 5 take 12 ms, and one 120 ms: the median and the 99th percentile are of these.
	const delays, rounds, requests = "0s,1ms,12ms,5ms,12ms,120ms,12ms,37ms,12ms,12ms", 20, 10 * 20
	for _, c := range []struct {
		name, protocol string
		tls            bool
	}{
		{"HTTP/1.1", "http1", false}, {"HTTP/2", "http2", false}, {"HTTP/1.1 with TLS", "http1", true},
		{"HTTP/2 with TLS", "http2", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			ns := e.Namespace(t, nil)
			port, arg := uint16(open), "-tls=false"
			if c.tls {
				port, arg = secure, "-tls=true"
			}
			pods := e.Pods(t, kit.PodSpec{Namespace: ns, Name: "client", Node: e.Nodes[0]},
				kit.PodSpec{Namespace: ns, Name: "server", Node: e.Nodes[1],
					Args: []string{"httpserver", "-listen", ":" + strconv.Itoa(int(port)), arg}})
			to := netip.AddrPortFrom(pods[1].IP(t, false), port).String()
			tr := e.Trace(t, "trace", "network", "-n", ns, "-o", "json", "--fail-on-loss")
			tr.AwaitStreaming(t, 2)
			all := pods[0].Exec(t, "http", "-to", to, "-protocol", c.protocol, arg, "-delays", delays, "-rounds",
				strconv.Itoa(rounds))
			took := all[len(all)-1].Performance
			const flow = `map(select(.src.pod == "client" and .dst.pod == "server" and .phase == "closed" and
				.src.bytesSent != null and .dst.bytesSent != null))`
			tr.AwaitJQ(t, flow+` | length > 0`)
			tr.Stop(t)
			tr.CheckSchema(t)
			var flows []timedFlow
			tr.JQ(t, &flows, flow)
			if len(flows) != 1 {
				t.Fatalf("%d flows, want 1", len(flows))
			}
			expectResponseTimes(t, flows[0], took, requests)
		})
	}
}

// expectResponseTimes compares the responses of both ends, and their times, with what the client has measured.
func expectResponseTimes(t *testing.T, f timedFlow, took *report.Performance, requests uint64) {
	t.Helper()
	// TLS and HTTP/2 begin with exchanges of their own.
	for end, n := range map[string]uint64{"client": f.Responses, "server": f.Dst.Responses} {
		if n < requests || n > requests+10 {
			t.Errorf("%s: %d responses, want %d", end, n, requests)
		}
	}
	expectTimes(t, f, took)
}

// expectTimes compares the quantiles of both ends with those that the client has measured: its own to 5 % or 1 ms, and
// those of the server, which lack the way to it, to twice as much.
func expectTimes(t *testing.T, f timedFlow, took *report.Performance) {
	t.Helper()
	const server = 2
	for _, c := range []struct {
		what        string
		got, server uint64
		want        float64
	}{
		{"p50", f.ResponseP50Micros, f.Dst.ResponseP50Micros, took.P50},
		{"p99", f.ResponseP99Micros, f.Dst.ResponseP99Micros, took.P99},
	} {
		t.Logf("%s: the client measured %.0f µs, its kernel %d, the server's %d", c.what, c.want, c.got, c.server)
		tolerance := max(c.want/20, float64(time.Millisecond.Microseconds()))
		if off := math.Abs(float64(c.got) - c.want); off > tolerance {
			t.Errorf("%s of the client: %d µs, want %.0f to %.0f", c.what, c.got, c.want, tolerance)
		}
		if off := math.Abs(float64(c.server) - c.want); off > server*tolerance {
			t.Errorf("%s of the server: %d µs, want %.0f to %.0f", c.what, c.server, c.want, server*tolerance)
		}
	}
}
