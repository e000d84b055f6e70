package dashboards

func gpuDashboard() Dashboard {
	const s, labels = `node=~"$node", uuid=~"$uuid"`, "node, gpu, uuid"
	device := func(title, unit string, metrics ...string) Panel {
		p := graph(title, unit)
		for i := 0; i < len(metrics); i += 2 {
			p.Queries = append(p.Queries, value(metrics[i], s, labels).named("{{node}} {{gpu}} "+metrics[i+1]))
		}
		return p
	}
	calls := func(title, unit string, metrics ...string) Panel {
		p := graph(title, unit)
		for i := 0; i < len(metrics); i += 2 {
			p.Queries = append(p.Queries, rate(metrics[i], onNode, "namespace, workload").
				named("{{workload}} "+metrics[i+1]))
		}
		return p
	}
	return Dashboard{
		Name: "orb8-gpu", Title: "orb8 / GPU", Description: "Devices, their holders, and calls of CUDA.",
		Variables: []Variable{{"node", "Node", "orb8_gpu_utilization_ratio"},
			{"uuid", "Device", "orb8_gpu_utilization_ratio"}},
		Rows: []Row{
			{"Now", []Panel{
				figure("Devices", "short", "count(orb8_gpu_utilization_ratio{"+s+"})"),
				figure("Mean utilization", "percentunit", "avg(orb8_gpu_utilization_ratio{"+s+"})"),
				figure("Memory used", "bytes", value("orb8_gpu_memory_used_bytes", s, "").Expr),
				figure("Power", "watt", value("orb8_gpu_power_watts", s, "").Expr),
				figure("Held and idle", "short", value("orb8_gpu_held_idle", s, "").Expr),
				figure("XID errors", "short", value("orb8_gpu_xid_errors_total", s, "").Expr),
			}},
			{"Activity", []Panel{
				device("Utilization", "percentunit", "orb8_gpu_utilization_ratio", "kernels",
					"orb8_gpu_memory_utilization_ratio", "memory"),
				device("Streaming multiprocessors", "percentunit", "orb8_gpu_sm_active_ratio", "active",
					"orb8_gpu_sm_occupancy_ratio", "occupancy", "orb8_gpu_tensor_active_ratio", "tensor cores"),
				device("Memory bandwidth", "percentunit", "orb8_gpu_dram_active_ratio", "used"),
				device("PCIe and NVLink", "Bps", "orb8_gpu_pcie_sent_bytes_per_second", "PCIe sent",
					"orb8_gpu_pcie_received_bytes_per_second", "PCIe received", "orb8_gpu_nvlink_sent_bytes_per_second",
					"NVLink sent", "orb8_gpu_nvlink_received_bytes_per_second", "NVLink received"),
			}},
			{"Memory and health", []Panel{
				device("Memory", "bytes", "orb8_gpu_memory_used_bytes", "used", "orb8_gpu_memory_reserved_bytes",
					"reserved", "orb8_gpu_memory_total_bytes", "total"),
				device("Power", "watt", "orb8_gpu_power_watts", "draw", "orb8_gpu_power_limit_watts", "limit"),
				device("Temperature", "celsius", "orb8_gpu_temperature_celsius", ""),
				device("Clocks", "hertz", "orb8_gpu_sm_clock_hertz", "SM", "orb8_gpu_memory_clock_hertz", "memory"),
				device("Throttled", "bool", "orb8_gpu_throttled", ""),
				device("Errors of memory", "short", "orb8_gpu_ecc_corrected_errors_total", "corrected",
					"orb8_gpu_ecc_uncorrected_errors_total", "uncorrected", "orb8_gpu_retired_pages", "retired pages",
					"orb8_gpu_remapped_rows", "remapped rows"),
				graph("XID errors", "short", value("orb8_gpu_xid_errors_total", s, labels+", xid").
					named("{{node}} {{gpu}} XID {{xid}}")),
			}},
			{"Holders", []Panel{
				{Type: table, Title: "Devices by container", Unit: "short",
					Queries: []Query{{Expr: "sum by (node, gpu, uuid, namespace, workload, pod, container) " +
						"(orb8_gpu_allocation_info{" + s + "})"}}},
				device("Containers and processes", "short", "orb8_gpu_allocated_containers", "containers",
					"orb8_gpu_processes", "processes"),
				device("Held and idle", "bool", "orb8_gpu_held_idle", ""),
				graph("Power by pod", "watt", Query{"sum by (namespace, pod) (orb8_gpu_power_watts{" + s +
					"} * on (node, uuid) group_right () orb8_gpu_allocation_info)", by("namespace, pod")}),
				graph("Memory by workload", "bytes",
					value("orb8_gpu_workload_memory_bytes", s, "namespace, workload")),
				graph("Share of the multiprocessors by workload", "percentunit",
					value("orb8_gpu_workload_sm_ratio", s, "namespace, workload, gpu")),
				graph("Processes by workload", "short",
					value("orb8_gpu_workload_processes", s, "namespace, workload")),
			}},
			{"CUDA", []Panel{
				calls("Launches", "ops", "orb8_cuda_launches_total", "kernels", "orb8_cuda_graph_launches_total",
					"graphs"),
				calls("Copied bytes", "Bps", "orb8_cuda_host_to_device_bytes_total", "to device",
					"orb8_cuda_device_to_host_bytes_total", "to host", "orb8_cuda_device_to_device_bytes_total",
					"between devices"),
				calls("Calls", "ops", "orb8_cuda_copies_total", "copies", "orb8_cuda_syncs_total", "synchronisations",
					"orb8_cuda_allocations_total", "allocations", "orb8_nccl_collectives_total", "NCCL operations"),
				calls("Host time", "s", "orb8_cuda_copy_seconds_total", "copies", "orb8_cuda_sync_seconds_total",
					"synchronisation").about("Seconds in each second, of all threads."),
				calls("Failed calls", "ops", "orb8_cuda_failures_total", ""),
			}},
		},
	}
}

// ofAgents and ofServers keep the series of processes that are agents, or servers.
const (
	ofAgents  = " and on (instance, job) orb8_agent_info"
	ofServers = " and on (instance, job) orb8_server_info"
)

// servers shows the servers.
func servers() Row {
	return Row{"Servers", []Panel{
		graph("Agents by state", "short", Query{"max by (state) (orb8_server_agents)", by("state")}),
		graph("Running requests", "short", value("orb8_server_requests_open", "", "instance, method")),
		graph("Ended requests", "reqps", rate("orb8_server_requests_total", "", "method, code")),
		graph("Time of queries", "s", quantiles("orb8_server_request_seconds", `method=~"Query.*"`, "method")...),
		graph("Events", "ops", rate("orb8_server_received_events_total", "", "instance").
			named("{{instance}} received"), rate("orb8_server_merged_events_total", "", "instance").
			named("{{instance}} merged")),
		graph("Lost events", "ops", rate("orb8_server_lost_events_total", "", "instance, stage")),
		graph("Delay of merges", "s", quantiles("orb8_server_merge_delay_seconds", "", "instance")...),
		graph("Memory of requests", "bytes", value("orb8_server_held_bytes", "", "instance"),
			value("orb8_server_held_limit_bytes", "", "instance").named("{{instance}} limit")),
		graph("CPU of servers", "none", Query{"sum by (instance) (rate(process_cpu_seconds_total[$__rate_interval])" +
			ofServers + ")", by("instance")}).about("Cores."),
		graph("Memory of servers", "bytes", Query{"sum by (instance) (process_resident_memory_bytes" + ofServers + ")",
			by("instance")}),
		graph("Certificates of users", "ops", rate("orb8_server_viewer_certificates_total", "", "result")),
		figure("Servers", "short", "count(orb8_server_info)"),
		figure("First certificate to end", "dateTimeFromNow",
			"min(orb8_server_certificate_expiry_timestamp_seconds) * 1000"),
		figure("End of the authority", "dateTimeFromNow",
			"min(orb8_server_authority_expiry_timestamp_seconds) * 1000"),
	}}
}

func orb8Dashboard() Dashboard {
	const s = onNode
	return Dashboard{
		Name: "orb8-self", Title: "orb8 / orb8 itself", Description: "State and cost of orb8.",
		Variables: []Variable{nodeVariable},
		Rows: []Row{
			{"Agents", []Panel{
				figure("Agents", "short", "count(orb8_agent_info{"+s+"})"),
				figure("Observing", "short", value("orb8_agent_observing", s, "").Expr),
				figure("Wrong configurations", "short", value("orb8_agent_config_error", s, "").Expr),
				figure("Warnings", "short", value("orb8_agent_warnings", s, "").Expr),
				figure("First certificate to end", "dateTimeFromNow",
					"min(orb8_agent_certificate_expiry_timestamp_seconds{"+s+"}) * 1000"),
				figure("Reach of the shortest history", "s",
					"min(time() - orb8_history_oldest_timestamp_seconds{"+s+"})"),
				graph("Versions", "short", value("orb8_agent_info", s, "version, kernel")),
				graph("Refused connections", "cps", rate("orb8_agent_refused_connections_total", s, "node")),
			}},
			{"Cost", []Panel{
				graph("CPU of agents", "none", Query{"sum by (node) (rate(process_cpu_seconds_total{" + s +
					"}[$__rate_interval])" + ofAgents + ")", by("node")}).about("Cores."),
				graph("Memory of agents", "bytes", Query{"sum by (node) (process_resident_memory_bytes{" + s + "}" +
					ofAgents + ")", by("node")}),
				graph("Time in BPF programs", "s", top("orb8_bpf_program_run_seconds_total", s, "probe, program")).
					about("Seconds in each second, with metrics.probeCost."),
				graph("Time of a run", "s", ratio("orb8_bpf_program_run_seconds_total", "orb8_bpf_program_runs_total",
					s, "probe, program")),
				graph("Verified instructions", "short", Query{"max by (probe, program) " +
					"(orb8_bpf_program_verified_instructions{" + s + "})", by("probe, program")}),
			}},
			{"Events", []Panel{
				graph("Events", "ops", rate("orb8_events_total", s, "kind")),
				graph("Lost events", "ops", rate("orb8_lost_events_total", s, "node, stage, source")).
					about("Stage naming: delivered without a name."),
				graph("History", "bytes", value("orb8_history_bytes", s, "node"),
					value("orb8_history_limit_bytes", s, "node").named("{{node}} limit")),
				graph("Events in the history", "short", value("orb8_history_events", s, "node")),
			}},
			{"Export to a collector", []Panel{
				graph("Delivered records", "ops", rate("orb8_export_records_total", s, "node")),
				graph("Queue", "bytes", value("orb8_export_queue_bytes", s, "node"),
					value("orb8_export_queue_limit_bytes", s, "node").named("{{node}} limit")),
				graph("Lost records", "ops", rate("orb8_lost_events_total", s+`, stage="export"`, "node, source")),
				graph("Failing", "bool", value("orb8_export_failing", s, "node"),
					value("orb8_export_points_failing", s, "node").named("{{node}} metrics")),
				graph("Delivered points of metrics", "ops", rate("orb8_export_points_total", s, "node")),
				graph("Lost points of metrics", "ops", rate("orb8_export_lost_points_total", s, "node, reason")),
			}},
			{"Metrics", []Panel{
				graph("Series", "short", value("orb8_metrics_series", s, "family")),
				graph("Events counted as other", "ops", rate("orb8_metrics_folded_total", s, "family")),
				graph("Followed flows", "short", value("orb8_metrics_tracked", s, "node")),
				graph("Events counted late", "ops", rate("orb8_metrics_untracked_total", s, "node")),
				graph("Scrapes by status", "reqps", rate("orb8_metrics_requests_total", s, "code")),
			}},
			servers(),
		},
	}
}
