package plugin

import (
	"slices"
	"strings"
	"testing"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// pastSums are three rows by src.pod and dst.port: one with a withheld pod, and the others.
func pastSums(t *testing.T) (rows []*event.Event) {
	t.Helper()
	by, err := event.NewGrouping([]string{"src.pod", "dst.port"})
	if err != nil {
		t.Fatal(err)
	}
	flow := func(src *event.Endpoint) *event.Event {
		f := &event.Flow{Src: src, Dst: &event.Endpoint{Port: 5432}}
		return by.Row(&event.Event{Kind: &event.Event_Flow{Flow: f}})
	}
	sent, received, retransmits := uint64(3<<20), uint64(1536), uint64(2)
	for i, row := range []*event.Event{flow(&event.Endpoint{Pod: "web"}), flow(&event.Endpoint{Redacted: true}),
		by.Others()} {
		s := row.GetFlowSum()
		row.Time, s.Flows, s.BytesSent, s.BytesReceived = uint64(began.UnixNano()), uint64(40-i), &sent, &received
		if i == 0 {
			s.Open, s.Retransmits = 1, &retransmits
		}
		rows = append(rows, row)
	}
	return rows
}

func TestAggregate_PrintsSums(t *testing.T) {
	f := &fakeServer{coverage: coverageOf("flow"), sums: pastSums(t)}
	serveAgents(t, f)
	args := []string{"query", "flows", "-n", "shop", "--aggregate-by", "src.pod, dst.port", "--filter", "bytesSent > 1"}
	code, out, errs := orb8(t, nil, args...)
	want := []string{
		"SRC-POD     DST-PORT  FLOWS   OPEN    SENT    RECV    RETR",
		"web         5432         40      1   3.0Mi   1.5Ki       2",
		"(redacted)  5432         39      0   3.0Mi   1.5Ki     n/a",
		"others      others       38      0   3.0Mi   1.5Ki     n/a",
	}
	if got := strings.Split(strings.TrimSpace(out), "\n"); code != ExitOK || !slices.Equal(got, want) {
		t.Errorf("exit code %d: %s\ngot\n%s\nwant\n%s", code, errs, out, strings.Join(want, "\n"))
	}
	if !strings.Contains(errs, "117 events from 2 nodes") {
		t.Errorf("the closing line does not count the flows: %s", errs)
	}
	if want := []string{"src.pod", "dst.port"}; !slices.Equal(f.aggregateBy, want) ||
		f.request.GetSelection().GetFilter() != "bytesSent > 1" {
		t.Errorf("asked for sums by %v, and %v", f.aggregateBy, f.request)
	}
	for output, want := range map[string]string{
		"wide": "SRC-POD     DST-PORT  FLOWS   OPEN    SENT    RECV  PKTS-SENT  PKTS-RECV    RETR" +
			"      RESP",
		"jsonpath={.src.pod}":                              "web\n\n\n",
		"custom-columns=POD:src.pod,REDACTED:src.redacted": "\nweb  n/a\nn/a  true\n",
		"json": `"aggregatedBy":"src.pod,dst.port","others":null,"protocol":null,`,
	} {
		if _, out, errs := orb8(t, nil, append(args, "-o", output)...); !strings.Contains(out, want) {
			t.Errorf("-o %s: got\n%s%s\nwant\n%s", output, out, errs, want)
		}
	}
	if _, out, errs := orb8(t, nil, append(args, "--sort-by", "flows", "--no-headers")...); !strings.HasPrefix(out,
		"others") {
		t.Errorf("--sort-by: %s%s", out, errs)
	}
}

func TestAggregate_RefusesOldServers(t *testing.T) {
	for name, f := range map[string]*fakeServer{
		"with flows":    {coverage: coverageOf("flow"), events: pastEvents()},
		"without flows": {coverage: coverageOf("flow")},
	} {
		serveAgents(t, f)
		code, out, errs := orb8(t, nil, "query", "flows", "-n", "shop", "--aggregate-by", "src.pod")
		if code != ExitError || out != "" || !strings.Contains(errs, "does not aggregate flows: kubectl orb8 upgrade") {
			t.Errorf("%s: exit code %d: %s%s", name, code, out, errs)
		}
	}
}

func TestAggregate_RefusesBadFields(t *testing.T) {
	for args, want := range map[string]string{
		"flows --aggregate-by src.pods": `--aggregate-by src.pods: unknown field "src.pods", did you mean "src.pod"? ` +
			"known fields: node, namespace, pod, container, phase, protocol, state, observed, src.namespace",
		"flows --aggregate-by src.pod,":         `unknown field ""`,
		"flows --aggregate-by bytesSent":        `unknown field "bytesSent"`,
		"flows --aggregate-by pod,pod":          `field "pod" is named twice`,
		"flows --aggregate-by pod --sort-by id": `unknown field "id"`,
		"dns --aggregate-by src.pod":            "--aggregate-by: only flows have sums: query flows",
	} {
		code, out, errs := run(t, strings.Fields("query "+args)...)
		if code != ExitUsage || out != "" || !strings.Contains(errs, want) {
			t.Errorf("%s: exit code %d: %s%s\nwant %s", args, code, out, errs, want)
		}
	}
}
