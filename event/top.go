package event

import "strings"

func isNetworkTop(ev *Event) bool { _, ok := ev.GetKind().(*Event_NetworkTop); return ok }
func isDNSTop(ev *Event) bool     { _, ok := ev.GetKind().(*Event_DnsTop); return ok }
func isGpuTop(ev *Event) bool     { _, ok := ev.GetKind().(*Event_GpuTop); return ok }
func isSyscallTop(ev *Event) bool { _, ok := ev.GetKind().(*Event_SyscallTop); return ok }

// top is what rows of all topics have.
type top interface {
	GetGroup() string
	GetName() string
	GetWindowMicros() uint64
	GetWorkload() string
}

func topOf(ev *Event) top {
	switch k := ev.GetKind().(type) {
	case *Event_DnsTop:
		return k.DnsTop
	case *Event_SyscallTop:
		return k.SyscallTop
	case *Event_GpuTop:
		return k.GpuTop
	}
	return ev.GetNetworkTop()
}

// Others is the name of the row that stands for all that are not shown.
const Others = "others"

// topColumns are the columns of a kind of rows: what a row is of, then own.
func topColumns(groups []string, own []Column) []Column {
	return concat([]Column{
		{
			Name: "group", Header: "GROUP", Type: Enum, Enum: groups, Outputs: InJSON,
			Doc: "What is counted together.",
			Get: func(ev *Event) Value { return String(topOf(ev).GetGroup()) },
		},
		{
			Name: "name", Header: "NAME", Type: Text, Width: 30, Outputs: InTable | InWide | InJSON,
			Doc: "What the row is of: a " + groups[0] + ", …; others stands for the rows that are not shown.",
			Get: func(ev *Event) Value { return String(topOf(ev).GetName()) },
			Show: func(dst []byte, ev *Event, v *View) []byte {
				switch t := topOf(ev); t.GetGroup() {
				case "flow":
					dst = appendName(dst, ev.GetNamespace(), t.GetName(), v)
					if peer := ev.GetNetworkTop().GetPeer(); peer != "" {
						dst = append(append(dst, arrow...), inView(peer, v)...)
					}
					return dst
				case "pod", "container", "workload":
					return appendName(dst, ev.GetNamespace(), t.GetName(), v)
				default:
					return append(dst, inView(t.GetName(), v)...)
				}
			},
		},
		{
			Name: "workload", Header: "WORKLOAD", Type: Text, Width: 12, Outputs: InWide | InJSON,
			Doc: "Controller that owns the pod; null where a row counts pods of several.",
			Get: func(ev *Event) Value { return String(topOf(ev).GetWorkload()) },
		},
		{
			Name: "windowMicros", Header: "WINDOW", Type: Micros, Outputs: InWide | InJSON,
			Doc: "How long before time the amounts reach back, µs.",
			Get: func(ev *Event) Value { return NonZero(topOf(ev).GetWindowMicros()) },
		},
	}, own)
}

// inView omits the namespace of the view.
func inView(name string, v *View) string {
	if rest, ok := strings.CutPrefix(name, v.Namespace+"/"); ok && v.Namespace != "" {
		return rest
	}
	return name
}

// total makes a column of a number that every row has.
func total(name, header string, typ Type, width int, where Outputs, doc string, get func(*Event) uint64) Column {
	return Column{
		Name: name, Header: header, Type: typ, Width: width, Required: true, Outputs: where, Doc: doc,
		Get: func(ev *Event) Value { return Uint(get(ev)) },
	}
}

func rate(name, header, doc string, get func(*Event) float64) Column {
	return Column{
		Name: name, Header: header, Type: Rate, Width: 6, Required: true, Outputs: InTable | InWide | InJSON, Doc: doc,
		Get: func(ev *Event) Value { return Float(get(ev)) },
	}
}

// common makes a column of a text that is null where a row counts several.
func common(name, header string, width int, doc string, get func(*Event) string) Column {
	return Column{
		Name: name, Header: header, Type: Text, Width: width, Outputs: InWide | InJSON, Doc: doc +
			"; null where a row counts several.",
		Get: func(ev *Event) Value { return String(get(ev)) },
	}
}

const everywhere = InTable | InWide | InJSON

var networkTopColumns = topColumns([]string{"pod", "flow", "container", "workload", "namespace", "node", "peer",
	"process"}, []Column{
	{
		Name: "id", Header: "ID", Type: Text, Outputs: InJSON,
		Doc: "Same as that of the flow's events; null where a row counts several, or flows that are over.",
		Get: func(ev *Event) Value { return String(ev.GetNetworkTop().GetId()) },
	},
	common("peer", "PEER", 20, "Other end: service:port, workload, node or address",
		func(ev *Event) string { return ev.GetNetworkTop().GetPeer() }),
	{
		Name: "protocol", Header: "PROTO", Type: Enum, Enum: protocols[1:], Width: 5, Outputs: InWide | InJSON,
		Doc: "Transport protocol; null where a row counts several.",
		Get: func(ev *Event) Value { return String(ev.GetNetworkTop().GetProtocol().Word()) },
	},
	common("process", "PROCESS", 8, "Command", func(ev *Event) string { return ev.GetNetworkTop().GetProcess() }),
	total("sentPerSecond", "SENT/S", Bytes, 6, everywhere, "Payload bytes sent a second, mean over the window.",
		func(ev *Event) uint64 { return ev.GetNetworkTop().GetSentPerSecond() }),
	total("receivedPerSecond", "RECV/S", Bytes, 6, everywhere, "Payload bytes received a second.",
		func(ev *Event) uint64 { return ev.GetNetworkTop().GetReceivedPerSecond() }),
	total("bytesSent", "SENT", Bytes, 6, InWide|InJSON, "Payload bytes sent in the window.",
		func(ev *Event) uint64 { return ev.GetNetworkTop().GetBytesSent() }),
	total("bytesReceived", "RECV", Bytes, 6, InWide|InJSON, "Payload bytes received in the window.",
		func(ev *Event) uint64 { return ev.GetNetworkTop().GetBytesReceived() }),
	total("flows", "FLOWS", Count, 5, everywhere, "Flows that live at the end of the window.",
		func(ev *Event) uint64 { return ev.GetNetworkTop().GetFlows() }),
	total("opened", "OPENED", Count, 6, everywhere, "Flows that were opened in the window.",
		func(ev *Event) uint64 { return ev.GetNetworkTop().GetOpened() }),
	total("failed", "FAILED", Count, 6, everywhere, "TCP connections that in the window came to nothing or were reset.",
		func(ev *Event) uint64 { return ev.GetNetworkTop().GetFailed() }),
	total("retransmits", "RETR", Count, 5, everywhere, "TCP segments retransmitted in the window.",
		func(ev *Event) uint64 { return ev.GetNetworkTop().GetRetransmits() }),
	{
		Name: "srttMicros", Header: "RTT", Type: Micros, Width: 6, Outputs: everywhere,
		Doc: "Mean of the smoothed round-trip times of the TCP flows that live or ended in the window, µs.",
		Get: func(ev *Event) Value {
			if n := ev.GetNetworkTop(); n != nil {
				return Optional(n.SrttMicros)
			}
			return Value{}
		},
	},
	topResponses("responses", "RESP", Count, "TCP: responses that the row's pods got in the window.",
		func(n *NetworkTop) *uint64 { return n.Responses }),
	topResponses("responseP50Micros", "RESP-P50", Micros, "Half of them took no longer, µs: "+responseTime+".",
		func(n *NetworkTop) *uint64 { return n.ResponseP50Micros }),
	topResponses("responseP99Micros", "RESP-P99", Micros, "99 of 100 took no longer, µs.",
		func(n *NetworkTop) *uint64 { return n.ResponseP99Micros }),
	topResponses("responseMaxMicros", "RESP-MAX", Micros, "The longest, µs, at most 9 % above it.",
		func(n *NetworkTop) *uint64 { return n.ResponseMaxMicros }),
	topResponses("served", "SERVED", Count, "TCP: requests that the row's pods have answered in the window.",
		func(n *NetworkTop) *uint64 { return n.Served }),
	topResponses("servedP50Micros", "SERVED-P50", Micros,
		"Half of them took no longer, µs: from the arrival of the request to sending the response.",
		func(n *NetworkTop) *uint64 { return n.ServedP50Micros }),
	topResponses("servedP99Micros", "SERVED-P99", Micros, "99 of 100 took no longer, µs.",
		func(n *NetworkTop) *uint64 { return n.ServedP99Micros }),
	topResponses("servedMaxMicros", "SERVED-MAX", Micros, "The longest, µs, at most 9 % above it.",
		func(n *NetworkTop) *uint64 { return n.ServedMaxMicros }),
})

// topResponses makes a column of the response times of a row.
func topResponses(name, header string, typ Type, doc string, get func(*NetworkTop) *uint64) Column {
	return Column{
		Name: name, Header: header, Type: typ, Width: 8, Outputs: InWide | InJSON, Doc: doc,
		Get: func(ev *Event) Value {
			if n := ev.GetNetworkTop(); n != nil {
				return Optional(get(n))
			}
			return Value{}
		},
	}
}

var dnsTopColumns = topColumns([]string{"question", "pod", "container", "workload", "namespace", "node", "server",
	"type", "process"}, []Column{
	common("question", "QUESTION", 20, "Queried name",
		func(ev *Event) string { return ev.GetDnsTop().GetQuestion() }),
	common("type", "TYPE", 5, "Queried type", func(ev *Event) string { return ev.GetDnsTop().GetType() }),
	common("server", "SERVER", 20, "The server", func(ev *Event) string { return ev.GetDnsTop().GetServer() }),
	common("process", "PROCESS", 8, "Command that asked",
		func(ev *Event) string { return ev.GetDnsTop().GetProcess() }),
	total("queries", "QUERIES", Count, 7, everywhere, "Questions that were answered, or given up, in the window.",
		func(ev *Event) uint64 { return ev.GetDnsTop().GetQueries() }),
	rate("queriesPerSecond", "/S", "The same a second.",
		func(ev *Event) float64 { return ev.GetDnsTop().GetQueriesPerSecond() }),
	total("nxdomain", "NXDOMAIN", Count, 8, everywhere, "Answers that there is no such name.",
		func(ev *Event) uint64 { return ev.GetDnsTop().GetNxdomain() }),
	total("failed", "FAILED", Count, 6, everywhere, "Answers with any other error: SERVFAIL, REFUSED, ….",
		func(ev *Event) uint64 { return ev.GetDnsTop().GetFailed() }),
	total("timeouts", "TIMEOUTS", Count, 8, everywhere, "Questions without an answer for 5 s.",
		func(ev *Event) uint64 { return ev.GetDnsTop().GetTimeouts() }),
	quantileOf((*Event).GetDnsTop, "p50Micros", "P50", Micros, "Half of the answers took no longer, µs",
		func(d *DnsTop) *uint64 { return d.P50Micros }),
	quantileOf((*Event).GetDnsTop, "p95Micros", "P95", Micros, "95 of 100 took no longer, µs",
		func(d *DnsTop) *uint64 { return d.P95Micros }),
	quantileOf((*Event).GetDnsTop, "p99Micros", "P99", Micros, "99 of 100 took no longer, µs",
		func(d *DnsTop) *uint64 { return d.P99Micros }),
})

var syscallTopColumns = topColumns([]string{"syscall", "pod", "container", "workload", "namespace", "node"}, []Column{
	common("syscall", "SYSCALL", 12, "System call", func(ev *Event) string { return ev.GetSyscallTop().GetSyscall() }),
	total("calls", "CALLS", Count, 8, everywhere, "Calls in the window.",
		func(ev *Event) uint64 { return ev.GetSyscallTop().GetCalls() }),
	rate("callsPerSecond", "/S", "The same a second.",
		func(ev *Event) float64 { return ev.GetSyscallTop().GetCallsPerSecond() }),
	total("errors", "ERRORS", Count, 7, everywhere, "Those that returned an error.",
		func(ev *Event) uint64 { return ev.GetSyscallTop().GetErrors() }),
	rate("busyPercent", "BUSY%",
		"How much of the window one thread would have spent in them, of 100: several threads may come to more.",
		func(ev *Event) float64 { return ev.GetSyscallTop().GetBusyPercent() }),
	total("totalNanos", "TOTAL", Nanos, 7, everywhere, "How long they took together, ns.",
		func(ev *Event) uint64 { return ev.GetSyscallTop().GetTotalNanos() }),
	quantileOf((*Event).GetSyscallTop, "p50Nanos", "P50", Nanos, "Half of them took no longer, ns",
		func(s *SyscallTop) *uint64 { return s.P50Nanos }),
	quantileOf((*Event).GetSyscallTop, "p95Nanos", "P95", Nanos, "95 of 100 took no longer, ns",
		func(s *SyscallTop) *uint64 { return s.P95Nanos }),
	quantileOf((*Event).GetSyscallTop, "p99Nanos", "P99", Nanos, "99 of 100 took no longer, ns",
		func(s *SyscallTop) *uint64 { return s.P99Nanos }),
})

func quantileOf[Row any](
	row func(*Event) *Row, name, header string, typ Type, doc string, get func(*Row) *uint64,
) Column {
	return Column{
		Name: name, Header: header, Type: typ, Width: 7, Outputs: everywhere,
		Doc: doc + ", by a histogram of powers of two: within its bucket it is estimated.",
		Get: func(ev *Event) Value {
			if r := row(ev); r != nil {
				return Optional(get(r))
			}
			return Value{}
		},
	}
}
