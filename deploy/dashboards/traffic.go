package dashboards

// Selectors.
const (
	inNamespace = `namespace=~"$namespace"`
	ofWorkload  = `namespace=~"$namespace", workload=~"$workload"`
	onNode      = `node=~"$node"`
)

// awaited describes response times of clients.
const awaited = "From sending a request to the arrival of its response."

// failed selects connections that were not made or broke.
const failed = `, outcome=~"refused|reset|timeout|unreachable|failed"`

func clusterDashboard() Dashboard {
	const s = inNamespace
	return Dashboard{
		Name: "orb8-cluster", Title: "orb8 / Cluster", Description: "Traffic, names and resources of all workloads.",
		Variables: []Variable{namespaceVariable},
		Rows: []Row{
			{"Now", []Panel{
				figure("Nodes observed", "short", "sum(orb8_agent_observing)"),
				figure("Open flows", "short", value("orb8_network_flows_open", s, "").Expr),
				figure("Sent", "Bps", rate("orb8_network_sent_bytes_total", s, "").Expr),
				figure("DNS queries", "reqps", rate("orb8_dns_queries_total", s+`, role="client"`, "").Expr),
				figure("Failed connections", "cps", rate("orb8_tcp_connections_total", s+failed, "").Expr),
				figure("Dropped packets", "pps", rate("orb8_drops_packets_total", s, "").Expr),
			}},
			{"Traffic", []Panel{
				graph("Sent by namespace", "Bps", rate("orb8_network_sent_bytes_total", s, "namespace")),
				graph("Received by namespace", "Bps", rate("orb8_network_received_bytes_total", s, "namespace")),
				graph("Workloads that send most", "Bps",
					top("orb8_network_sent_bytes_total", s, "namespace, workload")),
				graph("Sent by kind of peer", "Bps", rate("orb8_network_sent_bytes_total", s, "peer")),
				graph("Packets by protocol", "pps",
					rate("orb8_network_sent_packets_total", s, "protocol").named("{{protocol}} sent"),
					rate("orb8_network_received_packets_total", s, "protocol").named("{{protocol}} received")),
				graph("Flows", "cps", rate("orb8_network_flows_opened_total", s, "").named("opened"),
					rate("orb8_network_flows_closed_total", s, "").named("closed")),
			}},
			{"TCP", []Panel{
				graph("Connections by outcome", "cps", rate("orb8_tcp_connections_total", s, "outcome")),
				graph("Workloads with failed connections", "cps",
					top("orb8_tcp_connections_total", s+failed, "namespace, workload, outcome")),
				graph("Retransmitted part of segments", "percentunit",
					ratio("orb8_network_retransmitted_segments_total", "orb8_network_sent_packets_total",
						s+`, protocol="tcp"`, "namespace")),
				graph("Round-trip time", "s", quantiles("orb8_tcp_rtt_seconds", s+`, role="client"`, "namespace")...),
				graph("Response time", "s",
					quantiles("orb8_tcp_response_seconds", s+`, role="client"`, "namespace")...).about(awaited),
				graph("Workloads that wait longest for responses", "s", topQuantile("0.99",
					"orb8_tcp_response_seconds", s+`, role="client"`, "namespace, workload")).about(awaited),
			}},
			{"Losses of packets", []Panel{
				graph("Dropped by reason", "pps", rate("orb8_drops_packets_total", s, "reason")),
				graph("Workloads with most drops", "pps",
					top("orb8_drops_packets_total", s, "namespace, workload")),
				graph("Full receive buffers", "pps",
					top("orb8_network_receive_dropped_packets_total", s, "namespace, workload")),
			}},
			{"Resources", []Panel{
				graph("CPU by namespace", "none", rate("orb8_cpu_seconds_total", s, "namespace")).about("Cores."),
				graph("Working set by namespace", "bytes", value("orb8_memory_working_set_bytes", s, "namespace")),
				graph("Containers by namespace", "short", value("orb8_containers", s, "namespace")),
				graph("Processes killed for lack of memory", "ops",
					rate("orb8_oom_kills_total", s, "namespace, workload")),
			}},
		},
	}
}

func workloadDashboard() Dashboard {
	const s = ofWorkload
	return Dashboard{
		Name: "orb8-workload", Title: "orb8 / Workload", Description: "One workload, or some, in detail.",
		Variables: []Variable{namespaceVariable, workloadVariable},
		Rows: []Row{
			{"Traffic", []Panel{
				graph("Sent", "Bps", rate("orb8_network_sent_bytes_total", s, "workload, role, peer")),
				graph("Received", "Bps", rate("orb8_network_received_bytes_total", s, "workload, role, peer")),
				graph("Open flows", "short", value("orb8_network_flows_open", s, "workload, role")),
				graph("Opened flows", "cps", rate("orb8_network_flows_opened_total", s, "workload, role")),
			}},
			{"TCP", []Panel{
				graph("Connections by outcome", "cps",
					rate("orb8_tcp_connections_total", s, "workload, role, outcome")),
				graph("Retransmitted segments", "pps",
					rate("orb8_network_retransmitted_segments_total", s, "workload")),
				graph("Round-trip time", "s", quantiles("orb8_tcp_rtt_seconds", s, "workload, role")...),
				graph("Handshakes of opened connections", "s",
					quantiles("orb8_tcp_handshake_seconds", s, "workload")...),
				graph("Response time of what it asks", "s",
					quantiles("orb8_tcp_response_seconds", s+`, role="client"`, "workload, peer")...).about(awaited),
				graph("Response time of what it answers", "s",
					quantiles("orb8_tcp_response_seconds", s+`, role="server"`, "workload, peer")...).
					about("From the arrival of a request to sending the response."),
			}},
			{"DNS", []Panel{
				graph("Queries", "reqps", rate("orb8_dns_queries_total", s, "workload, role, outcome, rcode")),
				graph("Latency", "s", quantiles("orb8_dns_latency_seconds", s, "workload, role")...),
			}},
			{"Losses of packets", []Panel{
				graph("Dropped", "pps", rate("orb8_drops_packets_total", s, "workload, direction, reason")),
				graph("Dropped bytes", "Bps", rate("orb8_drops_bytes_total", s, "workload, direction")),
				graph("Full receive buffers", "pps",
					rate("orb8_network_receive_dropped_packets_total", s, "workload, protocol")),
			}},
			{"CPU", []Panel{
				graph("CPU and its limit", "none", rate("orb8_cpu_seconds_total", s, "workload"),
					value("orb8_cpu_limit_cores", s, "workload").named("{{workload}} limit")).about("Cores."),
				graph("Throttled part of periods", "percentunit",
					ratio("orb8_cpu_throttled_periods_total", "orb8_cpu_periods_total", s, "workload")),
				graph("Throttled time", "s", rate("orb8_cpu_throttled_seconds_total", s, "workload")).
					about("Seconds in each second."),
				graph("Waits for a CPU", "s",
					rate("orb8_cpu_run_delay_seconds_total", s, "workload").named("{{workload}} all tasks"),
					rate("orb8_pressure_cpu_waiting_seconds_total", s, "workload").named("{{workload}} some task")).
					about("Seconds in each second."),
			}},
			{"Memory", []Panel{
				graph("Working set and its limit", "bytes", value("orb8_memory_working_set_bytes", s, "workload"),
					value("orb8_memory_limit_bytes", s, "workload").named("{{workload}} limit")),
				graph("Memory with page cache", "bytes", value("orb8_memory_bytes", s, "workload")),
				graph("Waits for memory", "s",
					rate("orb8_pressure_memory_waiting_seconds_total", s, "workload").named("{{workload}} some task"),
					rate("orb8_pressure_memory_stalled_seconds_total", s, "workload").named("{{workload}} all tasks")).
					about("Seconds in each second."),
				graph("Processes killed for lack of memory", "ops", rate("orb8_oom_kills_total", s, "workload")),
			}},
			{"Storage", []Panel{
				graph("Bytes", "Bps", rate("orb8_block_read_bytes_total", s, "workload").named("{{workload}} read"),
					rate("orb8_block_written_bytes_total", s, "workload").named("{{workload}} written")),
				graph("Time of a request", "s",
					ratio("orb8_block_read_seconds_total", "orb8_block_reads_total", s, "workload").
						named("{{workload}} read"),
					ratio("orb8_block_write_seconds_total", "orb8_block_writes_total", s, "workload").
						named("{{workload}} write")),
				graph("Waits for I/O", "s",
					rate("orb8_pressure_io_waiting_seconds_total", s, "workload").named("{{workload}} some task"),
					rate("orb8_pressure_io_stalled_seconds_total", s, "workload").named("{{workload}} all tasks")).
					about("Seconds in each second."),
			}},
			processes(s),
		},
	}
}

// processes shows kinds of events that are off by default.
func processes(s string) Row {
	return Row{"Processes, where their kinds of events are on", []Panel{
		graph("Programs", "ops", rate("orb8_execs_total", s, "workload")),
		graph("Ends of processes", "ops", rate("orb8_process_exits_total", s, "workload, outcome")),
		graph("Signals", "ops", rate("orb8_signals_total", s, "workload, signal")),
		graph("System calls", "ops", top("orb8_syscalls_total", s, "workload, syscall")),
		graph("Failed system calls", "ops", top("orb8_syscall_errors_total", s, "workload, syscall")),
		graph("Time in system calls", "s", top("orb8_syscall_seconds_total", s, "workload, syscall")).
			about("Seconds in each second, of all threads."),
	}}
}

func nodeDashboard() Dashboard {
	const s = onNode
	return Dashboard{
		Name: "orb8-node", Title: "orb8 / Node", Description: "What the pods of a node do.",
		Variables: []Variable{nodeVariable},
		Rows: []Row{
			{"Traffic", []Panel{
				graph("Sent", "Bps", rate("orb8_network_sent_bytes_total", s, "node")),
				graph("Received", "Bps", rate("orb8_network_received_bytes_total", s, "node")),
				graph("Open flows", "short", value("orb8_network_flows_open", s, "node")),
				graph("Workloads that send most", "Bps",
					top("orb8_network_sent_bytes_total", s, "node, namespace, workload")),
			}},
			{"Network errors", []Panel{
				graph("Retransmitted part of segments", "percentunit",
					ratio("orb8_network_retransmitted_segments_total", "orb8_network_sent_packets_total",
						s+`, protocol="tcp"`, "node")),
				graph("Dropped packets", "pps", rate("orb8_drops_packets_total", s, "node, reason")),
				graph("Failed connections", "cps", rate("orb8_tcp_connections_total", s+failed, "node, outcome")),
				graph("Round-trip time", "s", quantiles("orb8_tcp_rtt_seconds", s, "node")...),
			}},
			{"Resources", []Panel{
				graph("CPU", "none", top("orb8_cpu_seconds_total", s, "node, namespace, workload")).about("Cores."),
				graph("Waits for a CPU", "s", top("orb8_cpu_run_delay_seconds_total", s, "node, namespace, workload")).
					about("Seconds in each second, of all tasks."),
				graph("Working set", "bytes",
					topValue("orb8_memory_working_set_bytes", s, "node, namespace, workload")),
				graph("Waits for memory", "s",
					top("orb8_pressure_memory_waiting_seconds_total", s, "node, namespace, workload")).
					about("Seconds in each second."),
				graph("Bytes read", "Bps", top("orb8_block_read_bytes_total", s, "node, namespace, workload")),
				graph("Bytes written", "Bps", top("orb8_block_written_bytes_total", s, "node, namespace, workload")),
				graph("Waits for I/O", "s",
					top("orb8_pressure_io_waiting_seconds_total", s, "node, namespace, workload")).
					about("Seconds in each second."),
				graph("Containers", "short", value("orb8_containers", s, "node")),
			}},
		},
	}
}

func dnsDashboard() Dashboard {
	const s, clients = ofWorkload, ofWorkload + `, role="client"`
	return Dashboard{
		Name: "orb8-dns", Title: "orb8 / DNS", Description: "Queries of pods, their answers and latencies.",
		Variables: []Variable{namespaceVariable, workloadVariable},
		Rows: []Row{
			{"Queries", []Panel{
				graph("By outcome", "reqps", rate("orb8_dns_queries_total", s, "role, outcome")),
				graph("By code of the answer", "reqps", rate("orb8_dns_queries_total", clients, "rcode")),
				graph("Workloads that ask most", "reqps",
					top("orb8_dns_queries_total", clients, "namespace, workload")),
				graph("Servers", "reqps",
					top("orb8_dns_queries_total", s+`, role="server"`, "namespace, workload")),
			}},
			{"Failures", []Panel{
				graph("Unanswered part", "percentunit", Query{
					rate("orb8_dns_queries_total", clients+`, outcome="timeout"`, "namespace").Expr + " / " +
						rate("orb8_dns_queries_total", clients, "namespace").Expr, by("namespace")}),
				graph("Answers with an error", "reqps", top("orb8_dns_queries_total",
					clients+`, rcode!~"|NOERROR"`, "namespace, workload, rcode")),
			}},
			{"Latency", []Panel{
				graph("Of clients", "s", quantiles("orb8_dns_latency_seconds", clients, "namespace")...),
				graph("Of servers", "s",
					quantiles("orb8_dns_latency_seconds", s+`, role="server"`, "namespace, workload")...),
				graph("Workloads that wait longest", "s",
					topQuantile("0.99", "orb8_dns_latency_seconds", clients, "namespace, workload")),
			}},
		},
	}
}
