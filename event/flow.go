package event

import "strconv"

func isFlow(ev *Event) bool { _, ok := ev.GetKind().(*Event_Flow); return ok }

// The words of the enums by number; the first of each, unknown, is null.
var (
	protocols = []string{"", "tcp", "udp", "icmp", "icmpv6", "raw"}
	phases    = []string{"", "new", "update", "closed"}
	sides     = []string{"", "src", "dst"}
	tcpStates = []string{
		"", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT", "CLOSE", "CLOSE_WAIT",
		"LAST_ACK",
		"LISTEN", "CLOSING",
	}
)

// Word is the protocol as JSON and tables show it; empty when unknown.
func (p Protocol) Word() string { return word(protocols, int32(p)) }

// Word is the phase as JSON and tables show it; empty when unknown.
func (p Phase) Word() string { return word(phases, int32(p)) }

// Word is the side as JSON shows it; empty when unknown.
func (s Side) Word() string { return word(sides, int32(s)) }

// Word is the state as JSON and tables show it; empty when unknown.
func (s TCPState) Word() string { return word(tcpStates, int32(s)) }

// flowColumns are what a flow adds, in the order of the JSON object.
var flowColumns = concat(
	[]Column{
		{
			Name: "id", Header: "ID", Type: Text, Width: 16, Outputs: InJSON,
			Doc: "Same for all events of one flow.",
			Get: func(ev *Event) Value { return String(ev.GetFlow().GetId()) },
		},
		{
			Name: "phase", Header: "PHASE", Type: Enum, Enum: phases[1:], Width: 6, Outputs: InTable | InWide | InJSON,
			Doc: "new: the first event of the flow; update: its counters have changed; closed: the last event. " +
				"A flow that is over when it is first seen has only a closed event.",
			Get: func(ev *Event) Value { return String(ev.GetFlow().GetPhase().Word()) },
		},
		{
			Name: "protocol", Header: "PROTO", Type: Enum, Enum: protocols[1:], Width: 5,
			Outputs: InTable | InWide | InJSON,
			Doc:     "Transport protocol.",
			Get:     func(ev *Event) Value { return String(ev.GetFlow().GetProtocol().Word()) },
		},
		{
			Name: "state", Header: "STATE", Type: Enum, Enum: tcpStates[1:], Width: 11, Outputs: InWide | InJSON,
			Doc: "TCP state of src's socket, of dst's where only dst was observed.",
			Get: func(ev *Event) Value { return String(ev.GetFlow().GetState().Word()) },
		},
		{
			Name: "observed", Header: "OBSERVED", Type: Enum, Enum: sides[1:], Outputs: InJSON,
			Doc: "End that node, namespace, pod and container are of: src wherever src was observed.",
			Get: func(ev *Event) Value { return String(ev.GetFlow().GetObserved().Word()) },
		},
		{Name: "src", Header: "SRC", Doc: "End that opened the conversation.", Width: 22, Outputs: InTable | InWide,
			Show: showSrc},
		{
			Name: "dst", Header: "DST", Doc: "End that answered: service:port->pod, or pod:port.", Width: 27,
			Outputs: InTable | InWide,
			Show:    showDst,
		},
	},
	flowEndColumns("src", "the end that opened the conversation",
		func(ev *Event) end { f := ev.GetFlow(); return end{f.GetSrc(), f.GetSrcCounters()} }),
	flowEndColumns("dst", "the end that answered",
		func(ev *Event) end { f := ev.GetFlow(); return end{f.GetDst(), f.GetDstCounters()} }),
	[]Column{
		{
			Name: "bytesSent", Header: "SENT", Type: Bytes, Width: 5, Outputs: InTable | InWide | InJSON,
			Doc: "Payload bytes from src to dst since the flow began, without retransmissions: what src's kernel " +
				"counted as sent, " +
				"else what dst's counted as received.",
			Get: func(ev *Event) Value {
				f := ev.GetFlow()
				return counted(f, (*Counters).GetBytesSent, (*Counters).GetBytesReceived)
			},
		},
		{
			Name: "bytesReceived", Header: "RECV", Type: Bytes, Width: 5, Outputs: InTable | InWide | InJSON,
			Doc: "Payload bytes from dst to src since the flow began: what src's kernel counted as received, else " +
				"what dst's counted " +
				"as sent.",
			Get: func(ev *Event) Value {
				f := ev.GetFlow()
				return counted(f, (*Counters).GetBytesReceived, (*Counters).GetBytesSent)
			},
		},
		{
			Name: "packetsSent", Header: "PKTS-SENT", Type: Count, Outputs: InWide | InJSON,
			Doc: "Packets from src to dst (TCP: segments), counted at src, else at dst.",
			Get: func(ev *Event) Value {
				f := ev.GetFlow()
				return counted(f, (*Counters).GetPacketsSent, (*Counters).GetPacketsReceived)
			},
		},
		{
			Name: "packetsReceived", Header: "PKTS-RECV", Type: Count, Outputs: InWide | InJSON,
			Doc: "Packets from dst to src (TCP: segments), counted at src, else at dst.",
			Get: func(ev *Event) Value {
				f := ev.GetFlow()
				return counted(f, (*Counters).GetPacketsReceived, (*Counters).GetPacketsSent)
			},
		},
		{
			Name: "srttMicros", Header: "RTT", Type: Micros, Width: 5, Outputs: InTable | InWide | InJSON,
			Doc: "TCP: smoothed round-trip time in µs as src's kernel measured it, else dst's.",
			Get: func(ev *Event) Value {
				if c := measured(ev.GetFlow()); c != nil {
					return Optional(c.SrttMicros)
				}
				return Value{}
			},
		},
		{
			Name: "retransmits", Header: "RETR", Type: Count, Outputs: InTable | InWide | InJSON,
			Doc: "TCP: segments retransmitted by all observed ends together.",
			Get: retransmits,
		},
		clientResponses("responses", "RESP", Count, 5,
			"TCP: responses that src has got since the trace began.",
			responses),
		clientResponses("responseP50Micros", "RESP-P50", Micros, 8,
			"Half of them took no longer, µs: "+responseTime+".", responseP50),
		clientResponses("responseP99Micros", "RESP-P99", Micros, 8,
			"99 of 100 took no longer, µs.", responseP99),
		clientResponses("responseMaxMicros", "RESP-MAX", Micros, 8, "The longest, µs.", responseMax),
		{
			Name: "startTime", Header: "START", Type: Timestamp, Width: 12, Outputs: InJSON,
			Doc: "When the flow began; null for one older than the trace.",
			Get: func(ev *Event) Value { return Time(ev.GetFlow().GetStartTime()) },
		},
		{
			Name: "lastTime", Header: "LAST", Type: Timestamp, Width: 12, Outputs: InJSON,
			Doc: "Newest packet or socket change that is counted here.",
			Get: func(ev *Event) Value { return Time(ev.GetFlow().GetLastTime()) },
		},
		{
			Name: "icmpType", Header: "ICMP-TYPE", Type: Number, Outputs: InJSON,
			Doc: "ICMP and ICMPv6: message type of the packet that opened the flow.",
			Get: func(ev *Event) Value {
				if f := ev.GetFlow(); f != nil {
					return Optional(f.IcmpType)
				}
				return Value{}
			},
		},
		{
			Name: "icmpCode", Header: "ICMP-CODE", Type: Number, Outputs: InJSON,
			Doc: "ICMP and ICMPv6: message code of the packet that opened the flow.",
			Get: func(ev *Event) Value {
				if f := ev.GetFlow(); f != nil {
					return Optional(f.IcmpCode)
				}
				return Value{}
			},
		},
		{
			Name: "srcAddress", Header: "SRC-ADDRESS", Doc: "Address and port of src.", Width: 21, Outputs: InWide,
			Show: func(dst []byte, ev *Event, _ *View) []byte { return appendAddrPort(dst, ev.GetFlow().GetSrc()) },
		},
		{
			Name: "dstAddress", Header: "DST-ADDRESS", Doc: "Address and port of dst.", Width: 21, Outputs: InWide,
			Show: func(dst []byte, ev *Event, _ *View) []byte { return appendAddrPort(dst, ev.GetFlow().GetDst()) },
		},
		{
			Name: "containers", Header: "CONTAINERS", Doc: "Containers of both ends, src->dst.", Width: 12,
			Outputs: InWide,
			Show: func(dst []byte, ev *Event, _ *View) []byte {
				return appendPair(dst, ev.GetFlow().GetSrc().GetContainer(), ev.GetFlow().GetDst().GetContainer())
			},
		},
		{
			Name: "pids", Header: "PIDS", Doc: "Process ids of both ends, src->dst.", Width: 8, Outputs: InWide,
			Show: func(dst []byte, ev *Event, _ *View) []byte {
				src, to := ev.GetFlow().GetSrc().GetPid(), ev.GetFlow().GetDst().GetPid()
				if src != 0 {
					dst = strconv.AppendUint(dst, uint64(src), 10)
				}
				if to != 0 {
					dst = strconv.AppendUint(append(dst, arrow...), uint64(to), 10)
				}
				return dst
			},
		},
		{
			Name: "process", Header: "PROCESS", Doc: "Commands of both ends, src->dst.", Width: 8,
			Outputs: InTable | InWide,
			Show: func(dst []byte, ev *Event, _ *View) []byte {
				return appendPair(dst, ev.GetFlow().GetSrc().GetComm(), ev.GetFlow().GetDst().GetComm())
			},
		},
	},
)

// SrttMicros is the smoothed round-trip time of a TCP flow, µs, as src's kernel measured it, else dst's; 0 where
// neither did.
func SrttMicros(f *Flow) uint32 { return measured(f).GetSrttMicros() }

// measured are the counters that a flow's round-trip time is read from; nil where there are none.
func measured(f *Flow) *Counters {
	if c := f.GetSrcCounters(); c != nil && c.SrttMicros != nil {
		return c
	}
	return f.GetDstCounters()
}

// flowEndColumns are the columns of one end of a flow, in the object called name.
func flowEndColumns(name, what string, of func(*Event) end) []Column {
	count := func(field, header string, typ Type, doc string, get func(*Counters) (uint64, bool)) Column {
		return endColumn(name, field, header, doc, typ, endField{of: of, number: func(e end) (uint64, bool) {
			if e.counters == nil {
				return 0, false
			}
			return get(e.counters)
		}})
	}
	doc := func(counts string) string { return counts + " " + what + "; null where that end was not observed." }
	return append(endpointColumns(name, what, of),
		count("bytesSent", "SENT", Bytes, doc("Payload bytes sent by"),
			func(c *Counters) (uint64, bool) { return c.BytesSent, true }),
		count("bytesReceived", "RECV", Bytes, doc("Payload bytes received by"),
			func(c *Counters) (uint64, bool) { return c.BytesReceived, true }),
		count("packetsSent", "PKTS-SENT", Count, doc("Packets (TCP: segments) sent by"),
			func(c *Counters) (uint64, bool) { return c.PacketsSent, true }),
		count("packetsReceived", "PKTS-RECV", Count, doc("Packets (TCP: segments) received by"),
			func(c *Counters) (uint64, bool) { return c.PacketsReceived, true }),
		count("dropped", "DROPPED", Count, "Datagrams of UDP, or ICMP messages, that the kernel of "+what+
			" dropped because the socket's receive buffer was full or memory was short; they are not in "+name+
			".packetsReceived. null for TCP, for raw sockets, for UDP over IPv6 before Linux 6.10, where they are in "+
			name+".packetsReceived, and where that end was not observed.",
			func(c *Counters) (uint64, bool) { return optional(c.Dropped) }),
		count("retransmits", "RETRANS", Count, doc("TCP segments retransmitted by"),
			func(c *Counters) (uint64, bool) { return optional(c.Retransmits) }),
		count("srttMicros", "RTT", Micros, doc("TCP smoothed round-trip time in µs measured by"),
			func(c *Counters) (uint64, bool) { return optional(c.SrttMicros) }),
		count("responses", "RESP", Count, "TCP: exchanges of a request and a response that "+what+
			" has had since the trace began; null without one.", responses),
		count("responseP50Micros", "RESP-P50", Micros, "Half of them took no longer, µs: at src "+responseTime+
			", at dst from the arrival of the request to sending the response.", responseP50),
		count("responseP99Micros", "RESP-P99", Micros, "99 of 100 took no longer, µs.", responseP99),
		count("responseMaxMicros", "RESP-MAX", Micros, "The longest, µs.", responseMax),
		count("responseTotalMicros", "RESP-TOTAL", Micros, "All of them together, µs.",
			func(c *Counters) (uint64, bool) { return c.GetResponses().GetTotalMicros(), c.Responses != nil }),
	)
}

const responseTime = "from sending the request to the arrival of the response"

// clientResponses makes a column of the response times as src has seen them.
func clientResponses(
	name, header string, typ Type, width int, doc string, get func(*Counters) (uint64, bool),
) Column {
	return Column{
		Name: name, Header: header, Type: typ, Width: width, Outputs: InWide | InJSON,
		Doc: doc + " null where src was not observed or there was no response.",
		Get: func(ev *Event) Value {
			if c := ev.GetFlow().GetSrcCounters(); c != nil {
				if n, ok := get(c); ok {
					return Uint(n)
				}
			}
			return Value{}
		},
	}
}

func responses(c *Counters) (uint64, bool) {
	n := ResponseCount(c.GetResponses())
	return n, n > 0
}

func responseP50(c *Counters) (uint64, bool) { return ResponseQuantile(c.GetResponses(), 50) }

func responseP99(c *Counters) (uint64, bool) { return ResponseQuantile(c.GetResponses(), 99) }

func responseMax(c *Counters) (uint64, bool) {
	return c.GetResponses().GetMaxMicros(), c.GetResponses() != nil
}

// optional returns a number and whether it is known.
func optional[T uint32 | uint64](n *T) (uint64, bool) {
	if n == nil {
		return 0, false
	}
	return uint64(*n), true
}

// counted reads src's own counter where src was observed, else dst's of the other direction.
func counted(f *Flow, src, dst func(*Counters) uint64) Value {
	if c := f.GetSrcCounters(); c != nil {
		return Uint(src(c))
	}
	if c := f.GetDstCounters(); c != nil {
		return Uint(dst(c))
	}
	return Value{}
}

func retransmits(ev *Event) Value {
	var sum uint64
	known := false
	for _, c := range [...]*Counters{ev.GetFlow().GetSrcCounters(), ev.GetFlow().GetDstCounters()} {
		if c != nil && c.Retransmits != nil {
			sum += *c.Retransmits
			known = true
		}
	}
	if !known {
		return Value{}
	}
	return Uint(sum)
}

func concat(parts ...[]Column) []Column {
	var all []Column
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}
