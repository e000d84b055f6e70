package metrics

import (
	"bytes"
	"fmt"
	"strings"
)

//go:generate go test . -run Docs -update

// metric describes one metric: the collector and docs/metrics.md are made of it.
type metric struct {
	name, kind, help string
	labels           []string
}

// Metrics that are counted.
var (
	open = metric{"orb8_server_requests_open", "gauge", "Running requests: streams, queries and others.",
		[]string{"method"}}
	requests = metric{"orb8_server_requests_total", "counter",
		"Requests that have ended, by gRPC code: `PermissionDenied`, `Unauthenticated` and `ResourceExhausted` were " +
			"refused.", []string{"method", "code"}}
	duration = metric{"orb8_server_request_seconds", "histogram", "Time from a request to the end of its answer.",
		[]string{"method"}}
	received = metric{"orb8_server_received_events_total", "counter",
		"Events that agents have sent, once for each stream or query.", nil}
	emitted = metric{"orb8_server_merged_events_total", "counter",
		"Events that merges have emitted, redacted and filtered ones included.", nil}
	lost = metric{"orb8_server_lost_events_total", "counter",
		"Events that this server lost, by stage: `queue` of a slow client, `merge`, `decode`, and `stream-gap` " +
			"between an agent and this server.", []string{"stage"}}
	delay = metric{"orb8_server_merge_delay_seconds", "histogram",
		"Time from an event to its emission by the merge of a stream, of one event in 16. It includes the time until " +
			"the agent has reported it, and the difference of the clocks.", nil}
	certificates = metric{"orb8_server_viewer_certificates_total", "counter",
		"Requests of users for a certificate, by result: `signed`, `denied`, or `failed`, to be tried again.",
		[]string{"result"}}
)

// Metrics of the state.
var (
	agents = metric{"orb8_server_agents", "gauge",
		"Agents by the state of the connection: `connected`, `connecting`, `idle` (no request has needed it lately), " +
			"`unreachable`, `late` (it did not answer the last request in time), or `incompatible` (another " +
			"protocol).", []string{"state"}}
	certificateExpiry = metric{"orb8_server_certificate_expiry_timestamp_seconds", "gauge",
		"When the server's certificate ends, since the Unix epoch.", nil}
	authorityExpiry = metric{"orb8_server_authority_expiry_timestamp_seconds", "gauge",
		"When the certificate of the authority ends, since the Unix epoch.", nil}
	heldBytes  = metric{"orb8_server_held_bytes", "gauge", "Memory that requests hold, approximately.", nil}
	limitBytes = metric{"orb8_server_held_limit_bytes", "gauge", "Most memory that requests may hold.", nil}
	scrapes    = metric{"orb8_metrics_requests_total", "counter",
		"Requests for these metrics, by the HTTP status code of the answer.", []string{"code"}}
	info = metric{"orb8_server_info", "gauge", "1, with the version of the server.", []string{"version"}}

	states = []metric{agents, certificateExpiry, authorityExpiry, heldBytes, limitBytes, scrapes, info}
)

// process are the metrics of client_golang's process collector.
var process = []metric{
	{"process_cpu_seconds_total", "counter", "CPU time of the server, user and system.", nil},
	{"process_resident_memory_bytes", "gauge", "Resident memory of the server.", nil},
	{"process_virtual_memory_bytes", "gauge", "Virtual memory of the server.", nil},
	{"process_virtual_memory_max_bytes", "gauge", "Most virtual memory that it may have.", nil},
	{"process_open_fds", "gauge", "Open file descriptors.", nil},
	{"process_max_fds", "gauge", "Most open file descriptors.", nil},
	{"process_start_time_seconds", "gauge", "When the server started, since the Unix epoch.", nil},
	{"process_network_receive_bytes_total", "counter", "Bytes that the pod's network devices have received.", nil},
	{"process_network_transmit_bytes_total", "counter", "Bytes that they have sent.", nil},
}

// groups are the sections of the documentation, each of metrics with the same labels.
func groups() [][]metric {
	var all [][]metric
	for _, m := range append([]metric{open, duration, requests, received, emitted, delay, certificateExpiry,
		authorityExpiry, heldBytes, limitBytes, lost, certificates, agents, scrapes, info}, process...) {
		last := len(all) - 1
		if last >= 0 && strings.Join(all[last][0].labels, " ") == strings.Join(m.labels, " ") {
			all[last] = append(all[last], m)
		} else {
			all = append(all, []metric{m})
		}
	}
	return all
}

// Marker is the line of docs/metrics.md at which the part of servers begins.
const Marker = "<!-- What follows is written by `go test ./server/metrics -run Docs -update`; do not edit. -->\n"

// Markdown returns the reference of the metrics.
func Markdown() []byte {
	var b bytes.Buffer
	b.WriteString(Marker + "\n## Servers\n\nServers serve these on port 9091, as agents do.\n")
	for _, group := range groups() {
		b.WriteByte('\n')
		if labels := group[0].labels; len(labels) > 0 {
			fmt.Fprintf(&b, "Labels: `%s`.\n\n", strings.Join(labels, "`, `"))
		} else {
			b.WriteString("Without labels:\n\n")
		}
		b.WriteString("| metric | type | meaning |\n|---|---|---|\n")
		for _, m := range group {
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", m.name, m.kind, m.help)
		}
	}
	return b.Bytes()
}
