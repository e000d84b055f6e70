package e2e

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/e2e/kit"
	"github.com/orb8-dev/kubectl-orb8/e2e/workload/report"
)

// dnsEvent holds fields of a dns event.
type dnsEvent struct {
	Node, Pod, Container, Observed, Protocol, Name, Type, Outcome string
	Rcode, Answers                                                *string
	LatencyMicros                                                 *int64
	Attempts                                                      int
	AnswerCount                                                   *int
	Truncated                                                     *bool
	Src, Dst                                                      struct {
		Pod, Service, ServiceNamespace, Comm, Address *string
		Port                                          int
	}
}

// TestDNSQueries queries a scripted server and the cluster's own, and compares the events with the client's results.
func TestDNSQueries(t *testing.T) {
	t.Parallel()
	e := kit.Need(t)
	ns := e.Namespace(t, nil)
	const port = 5300
	pods := e.Pods(t,
		kit.PodSpec{Namespace: ns, Name: "asker", Node: e.Nodes[0]},
		kit.PodSpec{Namespace: ns, Name: "names", Node: e.Nodes[1], Args: []string{"dnsserver", "-listen",
			":" + strconv.Itoa(port)}})
	asker, names := pods[0], pods[1]
	tr := e.Trace(t, "trace", "dns", "-n", ns, "-o", "json", "--fail-on-loss", "--dns-port", "53", "--dns-port",
		strconv.Itoa(port))
	tr.AwaitStreaming(t, 2)

	var asked []report.Report
	odd := `q-` + strings.Repeat("x", 50) + "\x01\x1b[31m\\.example."
	questions := []string{"web.example.", "nx.example.", "fail.example.", "silent.example.", "big.example.",
		"slow.example.", "badvers.example."}
	for _, v6 := range []bool{false, true} {
		to := netip.AddrPortFrom(names.IP(t, v6), port).String()
		asked = append(asked, asker.Exec(t, append([]string{"dnsask", "-to", to}, questions...)...)...)
		asked = append(asked, asker.Exec(t, "dnsask", "-tcp", "-to", to, "web.example.", "nx.example.", "big.example.",
			odd)...)
	}
	service := "kubernetes.default.svc.cluster.local."
	asker.Exec(t, "dns", "-name", service, "-network", "ip4")
	asker.Exec(t, "dns", "-name", strings.TrimSuffix(service, "."), "-network", "ip4")
	// The trace reports a timeout for a query without an answer for 5 s.
	tr.AwaitJQ(t, `map(select(.kind == "dns" and .outcome == "timeout")) | length == 2`)
	tr.Stop(t)

	var got []dnsEvent
	tr.JQ(t, &got, `map(select(.kind == "dns" and .dst.port == `+strconv.Itoa(port)+`))`)
	// One event per query, although both ends are observed.
	if len(got) != len(asked) {
		t.Fatalf("%d events of %d queries:\n%+v", len(got), len(asked), got)
	}
	rcodes := map[uint32]string{0: "NOERROR", 2: "SERVFAIL", 3: "NXDOMAIN", 16: "BADVERS"}
	for _, r := range asked {
		i := slices.IndexFunc(got, func(d dnsEvent) bool {
			return d.Src.Port == int(r.Local.Port()) && d.Protocol == r.Protocol &&
				*d.Src.Address == r.Local.Addr().String()
		})
		if i < 0 {
			t.Errorf("no event of %+v", r)
			continue
		}
		d := got[i]
		want := strings.NewReplacer("\x01", `\001`, "\x1b", `\027`, `\`, `\\`).Replace(r.Name)
		// A query that is retransmitted and answered twice, on one socket, is one event.
		slow := strings.HasPrefix(r.Name, "slow.")
		attempts := 1
		if slow {
			attempts = 2
		}
		if d.Name != want || d.Type != "A" || d.Attempts != attempts || d.Observed != "src" || d.Pod != "asker" ||
			d.Container != "workload" || d.Node != e.Nodes[0] ||
			*d.Src.Comm != "workload" || *d.Dst.Pod != "names" {
			t.Errorf("%+v\nof %+v", d, r)
		}
		if r.Error == "timeout" {
			if d.Outcome != "timeout" || d.Rcode != nil || d.LatencyMicros != nil {
				t.Errorf("%+v, want a timeout", d)
			}
			continue
		}
		if took := r.End.Sub(r.Start).Microseconds(); d.Outcome != "answered" || *d.Rcode != rcodes[r.Status] ||
			*d.LatencyMicros > took || *d.LatencyMicros <= 0 {
			t.Errorf("%s: %+v\nof %+v, which took %d µs", *d.Rcode, d, r, took)
		}
		if least := 400 * time.Millisecond; slow && *d.LatencyMicros < least.Microseconds() {
			t.Errorf("%+v, want %v or more, from the first packet", d, least)
		}
		switch {
		case strings.HasPrefix(r.Name, "web.") || r.Name == odd:
			if *d.Answers != "alias.example.,10.9.8.7" || *d.AnswerCount != 2 {
				t.Errorf("%s: %s, %d records", r.Name, *d.Answers, *d.AnswerCount)
			}
		case strings.HasPrefix(r.Name, "big.") && r.Protocol == "udp":
			if !*d.Truncated || d.Answers != nil {
				t.Errorf("%+v, want it truncated", d)
			}
		case strings.HasPrefix(r.Name, "big."):
			if *d.Truncated || *d.AnswerCount != 40 || strings.Count(*d.Answers, ",") != 15 {
				t.Errorf("%+v, want 40 records", d)
			}
		}
	}

	t.Run("the cluster's own server", func(t *testing.T) {
		var got []dnsEvent
		tr.JQ(t, &got, `map(select(.kind == "dns" and .dst.port == 53))`)
		found := 0
		for _, d := range got {
			if (*d.Rcode == "NOERROR") != (d.Name == service) || d.Dst.Service == nil ||
				*d.Dst.ServiceNamespace != "kube-system" {
				t.Errorf("%s: %+v", *d.Rcode, d)
			}
			if d.Name == service {
				found++
			}
		}
		// The resolver first tries a name without a final dot in the three domains of the pod's search path.
		if len(got) != 5 || found != 2 {
			t.Errorf("%d queries, %d for %s: want 5 and 2", len(got), found, service)
		}
		if want := "search path: 3 of "; !strings.Contains(tr.Stderr(), want) ||
			!strings.Contains(tr.Stderr(), "(pod "+ns+"/asker)") {
			t.Errorf("no %q in\n%s", want, tr.Stderr())
		}
	})
	t.Run("schema", func(t *testing.T) { tr.CheckSchema(t) })
}
