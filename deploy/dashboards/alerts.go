package dashboards

import (
	"fmt"
	"strings"

	"sigs.k8s.io/yaml"
)

// Alert is an alerting rule of Prometheus.
type Alert struct {
	Name string
	// Value is an expression that has a value also where nothing is wrong, unless Sparse gives the reason why not.
	// Condition is the comparison that makes it an alert; it is empty where each value is one.
	Value, Condition, Sparse string
	// For is how long the condition must hold.
	For string
	// Severity is critical, warning or info.
	Severity string
	// Summary is a line, Description a sentence with labels and the value.
	Summary, Description string
}

// Severities of alerts.
const (
	critical = "critical"
	warning  = "warning"
	info     = "info"
)

// Expr is the expression of the rule.
func (a *Alert) Expr() string {
	if a.Condition == "" {
		return a.Value
	}
	if strings.Contains(a.Value, " or ") || strings.Contains(a.Value, " and ") {
		return "(" + a.Value + ") " + a.Condition // which binds more strongly
	}
	return a.Value + " " + a.Condition
}

// Runbook is the URL of the alert's section in docs/runbooks.md.
func (a *Alert) Runbook() string {
	return "https://github.com/orb8-dev/kubectl-orb8/blob/main/docs/runbooks.md#" + strings.ToLower(a.Name)
}

// Group is a group of rules.
type Group struct {
	Name   string
	Alerts []Alert
}

// Groups are all alerts.
func Groups() []Group {
	return []Group{{"orb8-agents", agentAlerts}, {"orb8-servers", serverAlerts}, {"orb8-workloads", workloadAlerts},
		{"orb8-gpus", gpuAlerts}}
}

// agentJob and serverJob select the targets that ServiceMonitors, PodMonitors or the configuration in
// docs/operations.md make.
const (
	agentJob  = `job=~"(.*/)?orb8-agent"`
	serverJob = `job=~"(.*/)?orb8-server"`
)

// newCounter is what a counter has grown within 10 minutes, those whose series is new included: rate and increase
// do not see how such a series got to its first value.
func newCounter(metric, labels string) string {
	return fmt.Sprintf("sum by (%s) ((%s unless %s offset 10m) or increase(%s[10m]))", labels, metric, metric, metric)
}

// growth is the growth of a counter a second over 5 minutes.
func growth(metric, selector, labels string) string {
	return fmt.Sprintf("sum by (%s) (rate(%s{%s}[5m]))", labels, metric, selector)
}

var agentAlerts = []Alert{
	{Name: "Orb8AgentsMissing", Value: "absent(orb8_agent_info)", Sparse: "it has a value only without agents",
		For: "10m", Severity: critical, Summary: "Prometheus scrapes no agent of orb8",
		Description: "No agent has been scraped for 10 minutes."},
	{Name: "Orb8AgentDown", Value: "up{" + agentJob + "}", Condition: "== 0", For: "10m", Severity: warning,
		Summary:     "An agent of orb8 cannot be scraped",
		Description: "The agent at {{ $labels.instance }} (node {{ $labels.node }}) has not answered for 10 minutes."},
	{Name: "Orb8AgentNotObserving", Value: "orb8_agent_observing", Condition: "== 0", For: "5m", Severity: critical,
		Summary: "An agent observes nothing",
		Description: "The probes of the agent at {{ $labels.instance }} (node {{ $labels.node }}) are not attached: " +
			"nothing of that node is recorded."},
	{Name: "Orb8AgentRestarts", Value: "changes(process_start_time_seconds{" + agentJob + "}[1h])", Condition: "> 2",
		Severity: warning, Summary: "An agent restarts often",
		Description: "The agent at {{ $labels.instance }} (node {{ $labels.node }}) has started {{ $value }} times " +
			"within an hour."},
	{Name: "Orb8AgentConfigError", Value: "orb8_agent_config_error", Condition: "== 1", For: "5m", Severity: warning,
		Summary: "The agents' configuration is wrong",
		Description: "The agent at {{ $labels.instance }} (node {{ $labels.node }}) rejects the newest configuration " +
			"and keeps the one before."},
	{Name: "Orb8AgentCertificateExpires", Value: "orb8_agent_certificate_expiry_timestamp_seconds - time()",
		Condition: "< 4 * 3600", For: "15m", Severity: critical, Summary: "An agent's certificate is not renewed",
		Description: "The certificate of the agent at {{ $labels.instance }} (node {{ $labels.node }}) ends in " +
			"{{ $value | humanizeDuration }}; it is due after 16 of 24 hours."},
	{Name: "Orb8EventsLost", Value: growth("orb8_lost_events_total", `stage!~"naming|export"`,
		"instance, node, stage") + " / on (instance, node) group_left () " +
		growth("orb8_events_total", "", "instance, node"),
		Condition: "> 0.01", For: "10m", Severity: warning, Summary: "An agent loses events",
		Sparse: "an agent that has lost nothing has no such series",
		Description: "The agent at {{ $labels.instance }} (node {{ $labels.node }}) loses " +
			"{{ $value | humanizePercentage }} of its events in stage {{ $labels.stage }}."},
	{Name: "Orb8ExportFails", Value: "min_over_time(orb8_export_failing[5m])", Condition: "== 1", For: "5m",
		Severity: warning, Summary: "Events are not exported",
		Description: "The collector accepts nothing of the agent at {{ $labels.instance }} (node {{ $labels.node }})."},
	{Name: "Orb8ExportLosesRecords", Value: growth("orb8_lost_events_total", `stage="export"`,
		"instance, node, source"), Condition: "> 0", For: "10m", Severity: warning,
		Summary: "Records of events are lost on their way to the collector",
		Description: "The agent at {{ $labels.instance }} (node {{ $labels.node }}) loses {{ $value | humanize }} " +
			"records a second: {{ $labels.source }}."},
	{Name: "Orb8MetricsExportFails", Value: "min_over_time(orb8_export_points_failing[5m])", Condition: "== 1",
		For: "5m", Severity: warning, Summary: "Metrics are not exported",
		Description: "The collector does not accept all metrics of the agent at {{ $labels.instance }} (node " +
			"{{ $labels.node }})."},
	{Name: "Orb8MetricsFolded", Value: growth("orb8_metrics_folded_total", "", "instance, node, family"),
		Condition: "> 0", For: "1h", Severity: info, Summary: "An agent has more workloads or peers than series",
		Description: "The agent at {{ $labels.instance }} (node {{ $labels.node }}) counts workloads or peers as " +
			"other in family {{ $labels.family }}."},
	{Name: "Orb8ScrapesRefused", Value: growth("orb8_metrics_requests_total", `code=~"401|403|429"`,
		"instance, node, code"), Condition: "> 0", For: "15m", Severity: info,
		Sparse:  "an agent that has refused nothing has no such series",
		Summary: "An agent refuses scrapes",
		Description: "The agent at {{ $labels.instance }} (node {{ $labels.node }}) answers scrapes with status " +
			"{{ $labels.code }}."},
}

var serverAlerts = []Alert{
	{Name: "Orb8ServerDown", Value: "up{" + serverJob + "}", Condition: "== 0", For: "10m", Severity: warning,
		Summary:     "A server of orb8 cannot be scraped",
		Description: "The server at {{ $labels.instance }} has not answered for 10 minutes."},
	{Name: "Orb8AgentsUnreachable", Value: `sum by (instance) (orb8_server_agents{state="unreachable"})`,
		Condition: "> 0", For: "10m", Severity: warning, Summary: "A server does not reach agents",
		Description: "The server at {{ $labels.instance }} does not reach {{ $value }} agents: " +
			"answers lack their nodes."},
	{Name: "Orb8AgentsIncompatible", Value: `sum by (instance) (orb8_server_agents{state="incompatible"})`,
		Condition: "> 0", For: "30m", Severity: warning, Summary: "Agents and servers are of different versions",
		Description: "{{ $value }} agents speak another protocol than the server at {{ $labels.instance }}."},
	{Name: "Orb8ServerLosesEvents", Value: growth("orb8_server_lost_events_total", "", "instance, stage"),
		Condition: "> 1", For: "10m", Severity: warning, Summary: "A server loses events",
		Description: "The server at {{ $labels.instance }} loses {{ $value | humanize }} events a second in stage " +
			"{{ $labels.stage }}."},
	{Name: "Orb8ServerBusy", Value: growth("orb8_server_requests_total", `code="ResourceExhausted"`, "instance"),
		Condition: "> 0", For: "15m", Severity: warning, Summary: "A server refuses requests for lack of memory",
		Sparse:      "a server that has refused nothing has no such series",
		Description: "The server at {{ $labels.instance }} has refused requests for 15 minutes."},
	{Name: "Orb8MergeSlow", Value: "histogram_quantile(0.99, " + growth("orb8_server_merge_delay_seconds", "",
		"instance") + ") or histogram_quantile(0.99, " + growth("orb8_server_merge_delay_seconds_bucket", "",
		"instance, le") + ")", Condition: "> 20", For: "15m", Severity: info, Summary: "Streams are late",
		Description: "One in 100 events of streams of the server at {{ $labels.instance }} is " +
			"{{ $value | humanizeDuration }} late."},
	{Name: "Orb8ServerCertificateExpires", Value: "orb8_server_certificate_expiry_timestamp_seconds - time()",
		Condition: "< 4 * 3600", For: "15m", Severity: critical, Summary: "A server's certificate is not renewed",
		Description: "The certificate of the server at {{ $labels.instance }} ends in " +
			"{{ $value | humanizeDuration }}."},
	{Name: "Orb8AuthorityExpires", Value: "orb8_server_authority_expiry_timestamp_seconds - time()",
		Condition: "< 3 * 86400", For: "1h", Severity: critical, Summary: "The certificate authority is not renewed",
		Description: "The certificate of the authority ends in {{ $value | humanizeDuration }}."},
	{Name: "Orb8CertificatesFail", Value: growth("orb8_server_viewer_certificates_total", `result="failed"`,
		"instance"), Condition: "> 0", For: "15m", Severity: warning, Summary: "Users get no certificates",
		Description: "The server at {{ $labels.instance }} cannot sign the requests of users."},
}

var workloadAlerts = []Alert{
	{Name: "Orb8ConnectionsFail", Value: "(" + growth("orb8_tcp_connections_total",
		`role="client", outcome=~"refused|timeout|unreachable"`, "namespace, workload") + " / " +
		growth("orb8_tcp_connections_total", `role="client", outcome=~"connected|refused|timeout|unreachable"`,
			"namespace, workload") + ") and " + growth("orb8_tcp_connections_total", `role="client"`,
		"namespace, workload") + " > 0.1", Condition: "> 0.2", For: "10m", Severity: warning,
		Sparse:  "workloads without a failed connection have no such series",
		Summary: "A workload cannot connect",
		Description: "{{ $value | humanizePercentage }} of the connections that {{ $labels.workload }} in namespace " +
			"{{ $labels.namespace }} opens fail."},
	{Name: "Orb8Retransmits", Value: "(" + growth("orb8_network_retransmitted_segments_total", `protocol="tcp"`,
		"namespace, workload") + " / " + growth("orb8_network_sent_packets_total", `protocol="tcp"`,
		"namespace, workload") + ") and " + growth("orb8_network_sent_packets_total", `protocol="tcp"`,
		"namespace, workload") + " > 10", Condition: "> 0.02", For: "15m", Severity: warning,
		Sparse:  "workloads that send less than 10 segments a second do not count",
		Summary: "A workload retransmits much",
		Description: "{{ $labels.workload }} in namespace {{ $labels.namespace }} retransmits " +
			"{{ $value | humanizePercentage }} of its TCP segments."},
	{Name: "Orb8PacketsDropped", Value: growth("orb8_drops_packets_total", "", "namespace, workload, reason"),
		Condition: "> 10", For: "15m", Severity: info, Summary: "The kernel drops packets of a workload",
		Description: "{{ $value | humanize }} packets a second of {{ $labels.workload }} in namespace " +
			"{{ $labels.namespace }} are dropped: {{ $labels.reason }}."},
	{Name: "Orb8ReceiveBufferFull", Value: growth("orb8_network_receive_dropped_packets_total", "",
		"namespace, workload"), Condition: "> 1", For: "10m", Severity: warning,
		Summary: "A workload reads its UDP sockets too slowly",
		Description: "{{ $value | humanize }} packets a second for {{ $labels.workload }} in namespace " +
			"{{ $labels.namespace }} are dropped since a receive buffer is full."},
	{Name: "Orb8DNSUnanswered", Value: "(" + growth("orb8_dns_queries_total", `role="client", outcome="timeout"`,
		"namespace, workload") + " / " + growth("orb8_dns_queries_total", `role="client"`, "namespace, workload") +
		")", Condition: "> 0.05", For: "10m", Severity: warning, Summary: "DNS queries of a workload stay unanswered",
		Sparse: "workloads without an unanswered query have no such series",
		Description: "{{ $value | humanizePercentage }} of the DNS queries of {{ $labels.workload }} in namespace " +
			"{{ $labels.namespace }} get no answer."},
	{Name: "Orb8DNSServerFailures", Value: growth("orb8_dns_queries_total",
		`role="client", rcode=~"SERVFAIL|REFUSED"`, "namespace, workload, rcode"), Condition: "> 0.1", For: "10m",
		Severity: warning, Sparse: "workloads without such an answer have no such series",
		Summary: "DNS servers fail",
		Description: "{{ $labels.workload }} in namespace {{ $labels.namespace }} gets {{ $value | humanize }} " +
			"answers {{ $labels.rcode }} a second."},
	{Name: "Orb8DNSSlow", Value: "histogram_quantile(0.99, " + growth("orb8_dns_latency_seconds", `role="client"`,
		"namespace, workload") + ") or histogram_quantile(0.99, " + growth("orb8_dns_latency_seconds_bucket",
		`role="client"`, "namespace, workload, le") + ")", Condition: "> 1", For: "10m", Severity: warning,
		Summary: "DNS is slow for a workload",
		Description: "One in 100 DNS queries of {{ $labels.workload }} in namespace {{ $labels.namespace }} takes " +
			"longer than {{ $value | humanizeDuration }}."},
	{Name: "Orb8OOMKills", Value: "sum by (namespace, workload) (increase(orb8_oom_kills_total[10m]))",
		Condition: "> 0", Severity: warning, Summary: "Processes of a workload are killed for lack of memory",
		Description: "The kernel has killed {{ $value | humanize }} processes of {{ $labels.workload }} in namespace " +
			"{{ $labels.namespace }} within 10 minutes."},
	{Name: "Orb8CPUThrottled", Value: growth("orb8_cpu_throttled_periods_total", "", "namespace, workload") + " / " +
		growth("orb8_cpu_periods_total", "", "namespace, workload"), Condition: "> 0.5", For: "15m", Severity: info,
		Sparse:  "containers without a CPU limit have no periods",
		Summary: "A workload is throttled by its CPU limit",
		Description: "{{ $labels.workload }} in namespace {{ $labels.namespace }} uses its quota up in " +
			"{{ $value | humanizePercentage }} of the periods."},
}

var gpuAlerts = []Alert{
	{Name: "Orb8GPUXIDErrors", Value: newCounter("orb8_gpu_xid_errors_total", "node, gpu, uuid, xid"),
		Condition: "> 0", Severity: warning, Summary: "The driver reports errors of a GPU",
		Sparse: "devices without errors have no such series",
		Description: "GPU {{ $labels.gpu }} of node {{ $labels.node }} ({{ $labels.uuid }}): XID {{ $labels.xid }} " +
			"({{ $value | humanize }} within 10 minutes)."},
	{Name: "Orb8GPUUncorrectedErrors", Value: "increase(orb8_gpu_ecc_uncorrected_errors_total[1h])",
		Condition: "> 0", Severity: critical, Summary: "A GPU has uncorrected memory errors",
		Description: "GPU {{ $labels.gpu }} of node {{ $labels.node }} ({{ $labels.uuid }}) has had " +
			"{{ $value | humanize }} uncorrected ECC errors within an hour."},
	{Name: "Orb8GPUHeldIdle", Value: "orb8_gpu_held_idle", Condition: "== 1", For: "1h", Severity: info,
		Summary: "A GPU is held and not used",
		Description: "A container holds GPU {{ $labels.gpu }} of node {{ $labels.node }} ({{ $labels.uuid }}), and " +
			"no kernel has run on it for an hour."},
	{Name: "Orb8GPUThrottled", Value: "min_over_time(orb8_gpu_throttled[5m])", Condition: "== 1", For: "15m",
		Severity: info, Summary: "A GPU's clocks are kept down",
		Description: "GPU {{ $labels.gpu }} of node {{ $labels.node }} ({{ $labels.uuid }}) is throttled by its " +
			"power limit, its temperature, or its hardware."},
}

// header is the first line of the generated files.
const header = "# Written by `go test ./deploy/dashboards -run Files -update`; do not edit.\n"

// Rules returns the file of rules for Prometheus.
func Rules() ([]byte, error) { return marshal(rules()) }

// PrometheusRule returns the same rules as an object of the Prometheus Operator.
func PrometheusRule() ([]byte, error) {
	return marshal(object{"apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule",
		"metadata": object{"name": "orb8", "labels": object{"app.kubernetes.io/name": "orb8"}}, "spec": rules()})
}

func marshal(v any) ([]byte, error) {
	text, err := yaml.Marshal(v)
	return append([]byte(header), text...), err
}

func rules() object {
	var groups []any
	for _, g := range Groups() {
		var all []any
		for _, a := range g.Alerts {
			rule := object{"alert": a.Name, "expr": a.Expr(), "labels": object{"severity": a.Severity},
				"annotations": object{"summary": a.Summary, "description": a.Description, "runbook_url": a.Runbook()}}
			if a.For != "" {
				rule["for"] = a.For
			}
			all = append(all, rule)
		}
		groups = append(groups, object{"name": g.Name, "rules": all})
	}
	return object{"groups": groups}
}
