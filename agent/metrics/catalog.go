package metrics

// kind is the type of a metric.
type kind uint8

const (
	counter kind = iota
	gauge
	histogramKind
)

func (k kind) String() string { return [...]string{"counter", "gauge", "histogram"}[k] }

// metric describes one metric: it is the only description, of which the collector and docs/metrics.md are made.
type metric struct {
	name string
	kind kind
	help string
	// unit is what the value of a row is multiplied by; 0: 1.
	unit float64
}

// Units of the values in rows.
const (
	micro     = 1e-6
	nano      = 1e-9
	milli     = 1e-3
	basis     = 1e-4 // of hundredths of a percent
	mega      = 1e6  // Hz of MHz
	mebi      = 1. / (1 << 20)
	hundredth = 0.01
)

// family is a set of metrics with the same labels: the values of a row.
type family struct {
	// name is that in the label family of the metrics about metrics.
	name string
	doc  string
	// labels are those that a row is known by. The first two are namespace and workload in families of workloads; where
	// the configuration asks for it, pod follows.
	labels  []string
	metrics []metric
	// workloads: the rows are of workloads, and end with their pods.
	workloads bool
	// compat: only with dcgmCompat.
	compat bool
}

// familyID is the place of a family in families.
type familyID uint8

const (
	famNetwork familyID = iota
	famRTT
	famResponse
	famTCP
	famHandshake
	famDNS
	famDNSLatency
	famDrop
	famExec
	famExit
	famSignal
	famSyscall
	famResources
	famGPU
	famGPUAllocated
	famGPUXID
	famGPUProcess
	famGPUCalls
	famDCGM
	famLost
	famEvents
	famStatus
	famProgram
	famTable
	famRefused
	famInfo
	famExport
	famExportLost
	numFamilies
)

// workloadLabels are the first labels of families of workloads.
func workloadLabels(more ...string) []string {
	return append([]string{"namespace", "workload"}, more...)
}

// Values of rows of famNetwork.
const (
	netSentBytes = iota
	netReceivedBytes
	netSentPackets
	netReceivedPackets
	netRetransmits
	netDropped
	netOpened
	netClosed
	netOpen
)

// Values of rows of famResources.
const (
	resCPU = iota
	resPeriods
	resThrottledPeriods
	resThrottled
	resRunDelay
	resLockWaits
	resOOMKills
	resCPUWaiting
	resMemoryWaiting
	resMemoryStalled
	resIOWaiting
	resIOStalled
	resReads
	resReadBytes
	resReadTime
	resWrites
	resWriteBytes
	resWriteTime
	resCumulative // those before are counters, those after gauges
	resCPULimit   = iota - 1
	resMemory
	resWorkingSet
	resMemoryLimit
	resContainers
)

// families are all metrics.
var families = [numFamilies]family{
	famNetwork: {
		name: "network", workloads: true, labels: workloadLabels("protocol", "role", "peer"),
		doc: "Flows of TCP, UDP, ICMP and raw sockets, from the counters of each pod's own sockets. `role` is " +
			"`client` " +
			"where the pod opened the flow, `server` where it answered. `peer` is the other end: see " +
			"[Labels](#labels). Of a TCP connection that is older than the agent's process, what was before it is " +
			"not " +
			"counted.",
		metrics: []metric{
			netSentBytes: {name: "orb8_network_sent_bytes_total",
				help: "Payload bytes that pods have sent, without retransmissions."},
			netReceivedBytes: {name: "orb8_network_received_bytes_total",
				help: "Payload bytes that pods have received."},
			netSentPackets: {name: "orb8_network_sent_packets_total",
				help: "Packets (TCP: segments) that pods have sent."},
			netReceivedPackets: {name: "orb8_network_received_packets_total",
				help: "Packets (TCP: segments) that pods have received."},
			netRetransmits: {name: "orb8_network_retransmitted_segments_total",
				help: "TCP segments that pods have retransmitted."},
			netDropped: {name: "orb8_network_receive_dropped_packets_total",
				help: "Packets of UDP and ICMP that the kernel dropped because a pod's receive buffer was full or " +
					"memory was " +
					"short."},
			netOpened: {name: "orb8_network_flows_opened_total",
				help: "Flows that have begun, each counted at every observed end."},
			netClosed: {name: "orb8_network_flows_closed_total",
				help: "Flows that have ended, each counted at every observed end."},
			netOpen: {name: "orb8_network_flows_open", kind: gauge,
				help: "Flows that are open, each counted at every observed end."},
		},
	},
	famRTT: {
		name: "rtt", workloads: true, labels: workloadLabels("role"),
		doc: "Round-trip times of TCP.",
		metrics: []metric{{name: "orb8_tcp_rtt_seconds", kind: histogramKind,
			help: "Smoothed round-trip time of TCP connections: one observation at each update of a connection with " +
				"traffic."}},
	},
	famResponse: {
		name: "response", workloads: true, labels: workloadLabels("role", "peer"),
		doc: "Response times of TCP: see [trace network](trace-network.md#response-times). `peer` is the kind of the " +
			"other end's address, also where flows have the address.",
		metrics: []metric{{name: "orb8_tcp_response_seconds", kind: histogramKind,
			help: "Role client: time from sending a request to the arrival of its response. Role server: from the " +
				"arrival of a request to sending its response. Within 4.6 %; the sum is exact."}},
	},
	famTCP: {
		name: "tcp", workloads: true, labels: workloadLabels("role", "outcome"),
		doc: "What becomes of TCP connections. `outcome` is that of `trace tcp`: `connected` and `accepted` are " +
			"beginnings, the others ends.",
		metrics: []metric{{name: "orb8_tcp_connections_total",
			help: "Beginnings and ends of TCP connections, by outcome, each counted at every observed end."}},
	},
	famHandshake: {
		name: "handshake", workloads: true, labels: workloadLabels(),
		doc: "Handshakes of TCP connections that pods have opened.",
		metrics: []metric{{name: "orb8_tcp_handshake_seconds", kind: histogramKind,
			help: "Time from SYN to its answer, of connections that pods have opened."}},
	},
	famDNS: {
		name: "dns", workloads: true, labels: workloadLabels("role", "outcome", "rcode"),
		doc: "DNS queries. `role` is `client` for queries that a pod sends, `server` for those that it receives. " +
			"`rcode` is the code of the answer, `other` for rare ones, and empty without an answer.",
		metrics: []metric{{name: "orb8_dns_queries_total", help: "DNS queries, by outcome and code of the answer."}},
	},
	famDNSLatency: {
		name: "dns_latency", workloads: true, labels: workloadLabels("role"),
		doc: "Latencies of DNS.",
		metrics: []metric{{name: "orb8_dns_latency_seconds", kind: histogramKind,
			help: "Time from the first query to the answer."}},
	},
	famDrop: {
		name: "drop", workloads: true, labels: workloadLabels("direction", "reason"),
		doc: "Packets that the kernel dropped. `direction` is `sent` or `received`, as the pod sees it; `reason` is " +
			"the " +
			"kernel's, and empty before Linux 5.17.",
		metrics: []metric{
			{name: "orb8_drops_packets_total", help: "Packets of pods that the kernel dropped, by reason."},
			{name: "orb8_drops_bytes_total", help: "IP bytes of these packets."},
		},
	},
	famExec: {
		name: "exec", workloads: true, labels: workloadLabels(),
		doc:     "Programs. Only with the kind `exec`, which is off by default.",
		metrics: []metric{{name: "orb8_execs_total", help: "Programs that processes have begun."}},
	},
	famExit: {
		name: "exit", workloads: true, labels: workloadLabels("outcome"),
		doc: "Ends of processes. Only with the kind `exec`. `outcome` is `exited`, `signaled` or `oom-killed`.",
		metrics: []metric{{name: "orb8_process_exits_total",
			help: "Processes that have ended, by outcome."}},
	},
	famSignal: {
		name: "signal", workloads: true, labels: workloadLabels("signal"),
		doc:     "Signals. Only with the kind `signal`, which is off by default.",
		metrics: []metric{{name: "orb8_signals_total", help: "Signals sent to processes of pods."}},
	},
	famSyscall: {
		name: "syscall", workloads: true, labels: workloadLabels("syscall"),
		doc: "System calls. Only with the kind `syscall` or `syscallSummary`, which are off by default, and only " +
			"those " +
			"that the configuration selects. With both kinds, summaries count.",
		metrics: []metric{
			{name: "orb8_syscalls_total", help: "System calls that have returned, or never do."},
			{name: "orb8_syscall_errors_total", help: "System calls that have returned an error."},
			{name: "orb8_syscall_seconds_total", unit: nano,
				help: "Time in system calls, of all threads together, as far as it was seen."},
		},
	},
	famResources: {
		name: "resources", workloads: true, labels: workloadLabels(),
		doc: "Resources of containers. Counters begin when the agent first sees a container.",
		metrics: []metric{
			resCPU: {name: "orb8_cpu_seconds_total", unit: micro,
				help: "CPU time of containers, user and system."},
			resPeriods: {name: "orb8_cpu_periods_total",
				help: "Enforcement periods of CPU limits in which containers ran."},
			resThrottledPeriods: {name: "orb8_cpu_throttled_periods_total",
				help: "Periods in which containers had used up their quota."},
			resThrottled: {name: "orb8_cpu_throttled_seconds_total", unit: micro,
				help: "Time in which containers then stood still."},
			resRunDelay: {name: "orb8_cpu_run_delay_seconds_total", unit: micro,
				help: "Time in which tasks waited for a CPU, of all tasks together."},
			resLockWaits: {name: "orb8_lock_wait_seconds_total", unit: micro,
				help: "Time in which threads waited in futex(2) for mutexes, of all together, by samples."},
			resOOMKills: {name: "orb8_oom_kills_total", help: "Processes that the kernel killed for lack of memory."},
			resCPUWaiting: {name: "orb8_pressure_cpu_waiting_seconds_total", unit: micro,
				help: "Time in which some task of a container waited for a CPU (pressure stall information)."},
			resMemoryWaiting: {name: "orb8_pressure_memory_waiting_seconds_total", unit: micro,
				help: "Time in which some task of a container waited for memory."},
			resMemoryStalled: {name: "orb8_pressure_memory_stalled_seconds_total", unit: micro,
				help: "Time in which all tasks of a container waited for memory."},
			resIOWaiting: {name: "orb8_pressure_io_waiting_seconds_total", unit: micro,
				help: "Time in which some task of a container waited for I/O."},
			resIOStalled: {name: "orb8_pressure_io_stalled_seconds_total", unit: micro,
				help: "Time in which all tasks of a container waited for I/O."},
			resReads: {name: "orb8_block_reads_total",
				help: "Read requests that block devices have done for containers."},
			resReadBytes: {name: "orb8_block_read_bytes_total", help: "Bytes that they have read."},
			resReadTime: {name: "orb8_block_read_seconds_total", unit: micro,
				help: "Time from the making of read requests to their ends, of all together."},
			resWrites: {name: "orb8_block_writes_total",
				help: "Write requests that block devices have done for containers."},
			resWriteBytes: {name: "orb8_block_written_bytes_total", help: "Bytes that they have written."},
			resWriteTime: {name: "orb8_block_write_seconds_total", unit: micro,
				help: "Time from the making of write requests to their ends, of all together."},
			resCPULimit: {name: "orb8_cpu_limit_cores", kind: gauge, unit: milli,
				help: "Sum of the CPU limits of the containers that have one."},
			resMemory: {name: "orb8_memory_bytes", kind: gauge,
				help: "Memory charged to containers, page cache included."},
			resWorkingSet: {name: "orb8_memory_working_set_bytes", kind: gauge,
				help: "Memory of containers without inactive page cache."},
			resMemoryLimit: {name: "orb8_memory_limit_bytes", kind: gauge,
				help: "Sum of the memory limits of the containers that have one."},
			resContainers: {name: "orb8_containers", kind: gauge, help: "Containers whose resources are read."},
		},
	},
	famGPU:          gpuFamily,
	famGPUAllocated: gpuAllocatedFamily,
	famGPUXID:       gpuXIDFamily,
	famGPUProcess:   gpuProcessFamily,
	famGPUCalls:     gpuCallsFamily,
	famDCGM:         dcgmFamily,
	famLost: {
		name: "lost", labels: []string{"stage", "source"},
		doc: "Losses: what was not observed, and where it was lost. `source` is the probe; of stage `export`, what " +
			"was not delivered to a collector, it is the reason.",
		metrics: []metric{{name: "orb8_lost_events_total",
			help: "Events that were lost on the node, by stage and probe (stage naming: delivered without a name)."}},
	},
	famEvents: {
		name: "event", labels: []string{"kind"},
		doc:     "Events.",
		metrics: []metric{{name: "orb8_events_total", help: "Events that the agent has made, by kind."}},
	},
	famStatus: statusFamily,
	famProgram: {
		name: "program", labels: []string{"program", "probe"},
		doc: "Cost of the BPF programs. The run time and the runs are counted only with `metrics.probeCost`, since " +
			"that " +
			"costs some 20 ns for each run of every BPF program on the node, those of others included.",
		metrics: []metric{
			{name: "orb8_bpf_program_run_seconds_total", unit: nano,
				help: "Time in which BPF programs of the agent ran (run_time_ns), over all CPUs."},
			{name: "orb8_bpf_program_runs_total", help: "Runs of BPF programs of the agent (run_cnt)."},
			{name: "orb8_bpf_program_verified_instructions", kind: gauge,
				help: "Instructions that the kernel's verifier processed (Linux 5.16 and later)."},
		},
	},
	famTable: {
		name: "series", labels: []string{"family"},
		doc: "Metrics about these metrics.",
		metrics: []metric{
			{name: "orb8_metrics_series", kind: gauge, help: "Series that the agent holds."},
			{name: "orb8_metrics_folded_total",
				help: "Events that were counted in a series with the labels other, since there was no room for one " +
					"of their own."},
			{name: "orb8_metrics_tracked", kind: gauge,
				help: "Flows, or other objects, whose counters the agent follows."},
			{name: "orb8_metrics_untracked_total",
				help: "Events that were not counted at first, since the agent followed as many objects as it may. " +
					"What such a flow " +
					"has carried is counted when it ends."},
		},
	},
	famRefused: {
		name: "scrape", labels: []string{"code"},
		doc: "Scrapes.",
		metrics: []metric{{name: "orb8_metrics_requests_total",
			help: "Requests for these metrics, by the HTTP status code of the answer."}},
	},
	famExport: {
		name: "export",
		doc: "The [export](otlp.md) to a collector, where there is one. `orb8_lost_events_total` has the losses of " +
			"events.",
		metrics: []metric{
			{name: "orb8_export_records_total", help: "Records that the collector has accepted."},
			{name: "orb8_export_queue_bytes", kind: gauge, help: "Bytes that wait for the collector."},
			{name: "orb8_export_queue_limit_bytes", kind: gauge, help: "Most bytes that may wait."},
			{name: "orb8_export_failing", kind: gauge, help: "Whether the last attempt to send events has failed."},
			{name: "orb8_export_points_total", help: "Points of metrics that the collector has accepted."},
			{name: "orb8_export_points_failing", kind: gauge,
				help: "Whether the last attempt to send metrics has failed, or some do not fit."},
		},
	},
	famExportLost: {
		name: "export_lost", labels: []string{"reason"},
		doc: "Losses of the export of metrics. With `reason` `replaced`, a newer snapshot took their place.",
		metrics: []metric{{name: "orb8_export_lost_points_total",
			help: "Points of metrics that the collector did not get, by reason."}},
	},
	famInfo: {
		name: "info", labels: []string{"version", "kernel"},
		doc: "The agent.",
		metrics: []metric{{name: "orb8_agent_info", kind: gauge,
			help: "1, with the version of the agent and its kernel."}},
	},
}

// Values of the row of famStatus.
const (
	statCPU = iota
	statMemory
	statStart
	statObserving
	statConfigError
	statWarnings
	statCertificate
	statRefused
	statHistoryEvents
	statHistoryBytes
	statHistoryLimit
	statHistoryOldest
)

// statusFamily is the state of the agent.
var statusFamily = family{
	name: "agent", doc: "The agent itself.",
	metrics: []metric{
		statCPU:    {name: "process_cpu_seconds_total", unit: micro, help: "CPU time of the agent, user and system."},
		statMemory: {name: "process_resident_memory_bytes", kind: gauge, help: "Resident memory of the agent."},
		statStart: {name: "process_start_time_seconds", kind: gauge, unit: nano,
			help: "When the agent started, since the Unix epoch."},
		statObserving: {name: "orb8_agent_observing", kind: gauge, help: "Whether the probes are attached."},
		statConfigError: {name: "orb8_agent_config_error", kind: gauge,
			help: "Whether the newest configuration is wrong, so that an older one is in force."},
		statWarnings: {name: "orb8_agent_warnings", kind: gauge, help: "Warnings that `kubectl orb8 status` shows."},
		statCertificate: {name: "orb8_agent_certificate_expiry_timestamp_seconds", kind: gauge, unit: nano,
			help: "When the agent's certificate ends, since the Unix epoch."},
		statRefused: {name: "orb8_agent_refused_connections_total",
			help: "Connections at the port for servers that were refused."},
		statHistoryEvents: {name: "orb8_history_events", kind: gauge, help: "Events in the history."},
		statHistoryBytes:  {name: "orb8_history_bytes", kind: gauge, help: "Memory of the history."},
		statHistoryLimit:  {name: "orb8_history_limit_bytes", kind: gauge, help: "Most memory of the history."},
		statHistoryOldest: {name: "orb8_history_oldest_timestamp_seconds", kind: gauge, unit: nano,
			help: "Time of the oldest event in the history, since the Unix epoch."},
	},
}
