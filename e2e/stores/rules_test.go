package stores

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/orb8-dev/kubectl-orb8/deploy/dashboards"
)

// ruleTest is a test of an alert: series, a time at which it is quiet and one at which it fires, its labels, and its
// description.
type ruleTest struct {
	alert         string
	series        map[string]string
	quiet, firing string
	labels        map[string]string
	description   string
}

// Labels of series.
const (
	ofAgent    = `{instance="a:9091", node="n1"}`
	ofWorkload = `namespace="shop", workload="deploy/web"`
	ofGPU      = `node="n1", gpu="0", uuid="GPU-1"`
)

var (
	agent    = map[string]string{"instance": "a:9091", "node": "n1"}
	server   = map[string]string{"instance": "s:9091"}
	workload = map[string]string{"namespace": "shop", "workload": "deploy/web"}
	gpu      = map[string]string{"node": "n1", "gpu": "0", "uuid": "GPU-1"}
)

// with adds labels.
func with(labels map[string]string, more ...string) map[string]string {
	all := map[string]string{}
	for name, value := range labels {
		all[name] = value
	}
	for i := 0; i < len(more); i += 2 {
		all[more[i]] = more[i+1]
	}
	return all
}

// Values are of each minute: "0+60x30" grows by one a second for 30 minutes.
var ruleTests = []ruleTest{
	{"Orb8AgentsMissing", nil, "5m", "11m", nil, "No agent has been scraped for 10 minutes."},
	{"Orb8AgentDown", map[string]string{
		`up{job="orb8-system/orb8-agent", instance="a:9091", node="n1"}`: "1x5 0x20",
		`up{job="orb8-agent", instance="b:9091", node="n2"}`:             "1x30",
		`up{job="not-orb8-agent", instance="c:9091"}`:                    "0x30",
	}, "15m", "17m", with(agent, "job", "orb8-system/orb8-agent"),
		"The agent at a:9091 (node n1) has not answered for 10 minutes."},
	{"Orb8AgentNotObserving", map[string]string{"orb8_agent_observing" + ofAgent: "0x20"}, "4m", "6m", agent,
		"The probes of the agent at a:9091 (node n1) are not attached: nothing of that node is recorded."},
	{"Orb8AgentRestarts", map[string]string{
		`process_start_time_seconds{job="orb8-agent", instance="a:9091", node="n1"}`: "1x10 2x10 3x10 4x10",
	}, "30m", "40m", with(agent, "job", "orb8-agent"),
		"The agent at a:9091 (node n1) has started 3 times within an hour."},
	{"Orb8AgentConfigError", map[string]string{"orb8_agent_config_error" + ofAgent: "0x5 1x20"}, "10m", "12m", agent,
		"The agent at a:9091 (node n1) rejects the newest configuration and keeps the one before."},
	{"Orb8AgentCertificateExpires", map[string]string{
		"orb8_agent_certificate_expiry_timestamp_seconds" + ofAgent: "72000x1100",
	}, "16h", "17h", agent,
		"The certificate of the agent at a:9091 (node n1) ends in 3h 0m 0s; it is due after 16 of 24 hours."},
	{"Orb8EventsLost", map[string]string{
		`orb8_lost_events_total{instance="a:9091", node="n1", stage="queue", source="flow"}`:  "0+60x30",
		`orb8_lost_events_total{instance="a:9091", node="n1", stage="naming", source="flow"}`: "0+600x30",
		`orb8_lost_events_total{instance="a:9091", node="n1", stage="export", source="x"}`:    "0+600x30",
		`orb8_events_total{instance="a:9091", node="n1", kind="flow"}`:                        "0+500x30",
		`orb8_events_total{instance="a:9091", node="n1", kind="dns"}`:                         "0+100x30",
	}, "9m", "15m", with(agent, "stage", "queue"),
		"The agent at a:9091 (node n1) loses 10% of its events in stage queue."},
	{"Orb8ExportFails", map[string]string{"orb8_export_failing" + ofAgent: "1x30"}, "4m", "11m", agent,
		"The collector accepts nothing of the agent at a:9091 (node n1)."},
	{"Orb8ExportLosesRecords", map[string]string{
		`orb8_lost_events_total{instance="a:9091", node="n1", stage="export", source="queue full"}`: "0+60x30",
	}, "9m", "15m", with(agent, "source", "queue full"),
		"The agent at a:9091 (node n1) loses 1 records a second: queue full."},
	{"Orb8MetricsExportFails", map[string]string{"orb8_export_points_failing" + ofAgent: "1x30"}, "4m", "11m", agent,
		"The collector does not accept all metrics of the agent at a:9091 (node n1)."},
	{"Orb8MetricsFolded", map[string]string{
		`orb8_metrics_folded_total{instance="a:9091", node="n1", family="network"}`: "0+6x90",
	}, "30m", "70m", with(agent, "family", "network"),
		"The agent at a:9091 (node n1) counts workloads or peers as other in family network."},
	{"Orb8ScrapesRefused", map[string]string{
		`orb8_metrics_requests_total{instance="a:9091", node="n1", code="403"}`: "0+2x40",
		`orb8_metrics_requests_total{instance="a:9091", node="n1", code="200"}`: "0+2x40",
	}, "10m", "20m", with(agent, "code", "403"), "The agent at a:9091 (node n1) answers scrapes with status 403."},

	{"Orb8ServerDown", map[string]string{`up{job="orb8-system/orb8-server", instance="s:9091"}`: "1x5 0x20"}, "15m",
		"17m", with(server, "job", "orb8-system/orb8-server"), "The server at s:9091 has not answered for 10 minutes."},
	{"Orb8AgentsUnreachable", map[string]string{
		`orb8_server_agents{instance="s:9091", state="unreachable"}`: "0x5 2x20",
		`orb8_server_agents{instance="s:9091", state="connected"}`:   "3x30",
	}, "15m", "17m", server, "The server at s:9091 does not reach 2 agents: answers lack their nodes."},
	{"Orb8AgentsIncompatible", map[string]string{
		`orb8_server_agents{instance="s:9091", state="incompatible"}`: "1x40",
	}, "29m", "31m", server, "1 agents speak another protocol than the server at s:9091."},
	{"Orb8ServerLosesEvents", map[string]string{
		`orb8_server_lost_events_total{instance="s:9091", stage="queue"}`: "0+120x30",
		`orb8_server_lost_events_total{instance="s:9091", stage="merge"}`: "0+6x30",
	}, "9m", "15m", with(server, "stage", "queue"), "The server at s:9091 loses 2 events a second in stage queue."},
	{"Orb8ServerBusy", map[string]string{
		`orb8_server_requests_total{instance="s:9091", method="QueryFlows", code="ResourceExhausted"}`: "0+1x30",
		`orb8_server_requests_total{instance="t:9091", method="QueryFlows", code="OK"}`:                "0+1x30",
	}, "14m", "20m", server, "The server at s:9091 has refused requests for 15 minutes."},
	{"Orb8MergeSlow", map[string]string{
		`orb8_server_merge_delay_seconds_bucket{instance="s:9091", le="10"}`:   "0x30",
		`orb8_server_merge_delay_seconds_bucket{instance="s:9091", le="30"}`:   "0+60x30",
		`orb8_server_merge_delay_seconds_bucket{instance="s:9091", le="+Inf"}`: "0+60x30",
	}, "14m", "20m", server, "One in 100 events of streams of the server at s:9091 is 29.8s late."},
	{"Orb8ServerCertificateExpires", map[string]string{
		`orb8_server_certificate_expiry_timestamp_seconds{instance="s:9091"}`: "72000x1100",
	}, "16h", "17h", server, "The certificate of the server at s:9091 ends in 3h 0m 0s."},
	{"Orb8AuthorityExpires", map[string]string{
		`orb8_server_authority_expiry_timestamp_seconds{instance="s:9091"}`: "266400x200",
	}, "2h", "3h10m", server, "The certificate of the authority ends in 2d 22h 50m 0s."},
	{"Orb8CertificatesFail", map[string]string{
		`orb8_server_viewer_certificates_total{instance="s:9091", result="failed"}`: "0+1x30",
		`orb8_server_viewer_certificates_total{instance="t:9091", result="signed"}`: "0+1x30",
	}, "14m", "20m", server, "The server at s:9091 cannot sign the requests of users."},

	{"Orb8ConnectionsFail", map[string]string{
		`orb8_tcp_connections_total{` + ofWorkload + `, role="client", outcome="connected"}`: "0+60x30",
		`orb8_tcp_connections_total{` + ofWorkload + `, role="client", outcome="refused"}`:   "0+60x30",
		`orb8_tcp_connections_total{` + ofWorkload + `, role="client", outcome="closed"}`:    "0+60x30",
		// A failed connection now and then is no alert.
		`orb8_tcp_connections_total{namespace="a", workload="b", role="client", outcome="refused"}`: "0+1x30",
	}, "9m", "15m", workload, "50% of the connections that deploy/web in namespace shop opens fail."},
	{"Orb8Retransmits", map[string]string{
		`orb8_network_retransmitted_segments_total{` + ofWorkload + `, protocol="tcp"}`:          "0+120x40",
		`orb8_network_sent_packets_total{` + ofWorkload + `, protocol="tcp"}`:                    "0+1200x40",
		`orb8_network_retransmitted_segments_total{namespace="a", workload="b", protocol="tcp"}`: "0+60x40",
		`orb8_network_sent_packets_total{namespace="a", workload="b", protocol="tcp"}`:           "0+60x40",
		`orb8_network_retransmitted_segments_total{namespace="a", workload="c", protocol="tcp"}`: "0+1x40",
		`orb8_network_sent_packets_total{namespace="a", workload="c", protocol="tcp"}`:           "0+6000x40",
	}, "10m", "20m", workload, "deploy/web in namespace shop retransmits 10% of its TCP segments."},
	{"Orb8PacketsDropped", map[string]string{
		`orb8_drops_packets_total{` + ofWorkload + `, direction="received", reason="NO_SOCKET"}`: "0+1200x40",
	}, "10m", "20m", with(workload, "reason", "NO_SOCKET"),
		"20 packets a second of deploy/web in namespace shop are dropped: NO_SOCKET."},
	{"Orb8ReceiveBufferFull", map[string]string{
		`orb8_network_receive_dropped_packets_total{` + ofWorkload + `, protocol="udp"}`: "0+120x30",
	}, "9m", "15m", workload,
		"2 packets a second for deploy/web in namespace shop are dropped since a receive buffer is full."},
	{"Orb8DNSUnanswered", map[string]string{
		`orb8_dns_queries_total{` + ofWorkload + `, role="client", outcome="timeout"}`:                    "0+60x30",
		`orb8_dns_queries_total{` + ofWorkload + `, role="client", outcome="answered", rcode="NXDOMAIN"}`: "0+60x30",
	}, "9m", "15m", workload, "50% of the DNS queries of deploy/web in namespace shop get no answer."},
	{"Orb8DNSServerFailures", map[string]string{
		`orb8_dns_queries_total{` + ofWorkload + `, role="client", outcome="answered", rcode="SERVFAIL"}`: "0+60x30",
	}, "9m", "15m", with(workload, "rcode", "SERVFAIL"),
		"deploy/web in namespace shop gets 1 answers SERVFAIL a second."},
	{"Orb8DNSSlow", map[string]string{
		`orb8_dns_latency_seconds_bucket{` + ofWorkload + `, role="client", le="1"}`:             "0x30",
		`orb8_dns_latency_seconds_bucket{` + ofWorkload + `, role="client", le="2.5"}`:           "0+60x30",
		`orb8_dns_latency_seconds_bucket{` + ofWorkload + `, role="client", le="+Inf"}`:          "0+60x30",
		`orb8_dns_latency_seconds_bucket{namespace="a", workload="b", role="client", le="1"}`:    "0+60x30",
		`orb8_dns_latency_seconds_bucket{namespace="a", workload="b", role="client", le="+Inf"}`: "0+60x30",
	}, "9m", "15m", workload,
		"One in 100 DNS queries of deploy/web in namespace shop takes longer than 2.485s."},
	{"Orb8OOMKills", map[string]string{`orb8_oom_kills_total{` + ofWorkload + `}`: "0x4 1x20"}, "3m", "8m", workload,
		"The kernel has killed 1 processes of deploy/web in namespace shop within 10 minutes."},
	{"Orb8CPUThrottled", map[string]string{
		`orb8_cpu_throttled_periods_total{` + ofWorkload + `}`: "0+450x40",
		`orb8_cpu_periods_total{` + ofWorkload + `}`:           "0+600x40",
	}, "10m", "20m", workload, "deploy/web in namespace shop uses its quota up in 75% of the periods."},

	{"Orb8GPUXIDErrors", map[string]string{
		// The series begins with the first error.
		`orb8_gpu_xid_errors_total{` + ofGPU + `, xid="79"}`: "_x5 1x20",
	}, "4m", "8m", with(gpu, "xid", "79"), "GPU 0 of node n1 (GPU-1): XID 79 (1 within 10 minutes)."},
	{"Orb8GPUUncorrectedErrors", map[string]string{
		`orb8_gpu_ecc_uncorrected_errors_total{` + ofGPU + `}`: "0x5 2x30",
	}, "4m", "20m", gpu, "GPU 0 of node n1 (GPU-1) has had 2 uncorrected ECC errors within an hour."},
	{"Orb8GPUHeldIdle", map[string]string{`orb8_gpu_held_idle{` + ofGPU + `}`: "1x70"}, "50m", "65m", gpu,
		"A container holds GPU 0 of node n1 (GPU-1), and no kernel has run on it for an hour."},
	{"Orb8GPUThrottled", map[string]string{`orb8_gpu_throttled{` + ofGPU + `}`: "1x40"}, "10m", "20m", gpu,
		"GPU 0 of node n1 (GPU-1) is throttled by its power limit, its temperature, or its hardware."},
}

// object writes the test as promtool reads it.
func (r *ruleTest) object(t *testing.T, a *dashboards.Alert) any {
	t.Helper()
	type object = map[string]any
	series := []any{}
	for name, values := range r.series {
		series = append(series, object{"series": name, "values": values})
	}
	labels := with(r.labels, "severity", a.Severity)
	return object{"name": a.Name, "interval": "1m", "input_series": series, "alert_rule_test": []any{
		object{"alertname": a.Name, "eval_time": r.quiet, "exp_alerts": []any{}},
		object{"alertname": a.Name, "eval_time": r.firing, "exp_alerts": []any{object{"exp_labels": labels,
			"exp_annotations": object{"summary": a.Summary, "description": r.description,
				"runbook_url": a.Runbook()}}}},
	}}
}

func TestAlerts_FireAndStayQuiet(t *testing.T) {
	if os.Getenv("ORB8_E2E_STORES") == "" {
		t.Skip("it builds promtool: make test-stores")
	}
	alerts := map[string]*dashboards.Alert{}
	for _, g := range dashboards.Groups() {
		for _, a := range g.Alerts {
			alerts[a.Name] = &a
		}
	}
	var tests []any
	for _, r := range ruleTests {
		a := alerts[r.alert]
		if a == nil {
			t.Fatalf("there is no alert %s", r.alert)
		}
		tests = append(tests, r.object(t, a))
		delete(alerts, r.alert)
	}
	for name := range alerts {
		t.Errorf("%s has no test", name)
	}
	rules, err := filepath.Abs(filepath.Join(root, "docs", "dashboards", "alerts.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := yaml.Marshal(map[string]any{"rule_files": []string{rules}, "evaluation_interval": "1m",
		"tests": tests})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "tests.yaml")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	promtool, err := Promtool.Build(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"check", "rules", "--lint-fatal", rules}, {"test", "rules", path}} {
		out, err := exec.CommandContext(t.Context(), promtool, args...).CombinedOutput()
		t.Logf("promtool %s\n%s", fmt.Sprint(args[:2]), out)
		if err != nil {
			t.Errorf("promtool %s: %v", args[:2], err)
		}
	}
}
