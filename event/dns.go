package event

func isDNS(ev *Event) bool { _, ok := ev.GetKind().(*Event_Dns); return ok }

// The words of the enum by number; the first, unknown, is null.
var dnsOutcomes = []string{"", "answered", "timeout", "pending"}

// Word is the outcome as JSON and tables show it; empty when unknown.
func (o DnsOutcome) Word() string { return word(dnsOutcomes, int32(o)) }

// dnsColumns are what a query adds, in the order of the JSON object.
var dnsColumns = concat(
	[]Column{
		{
			Name: "protocol", Header: "PROTO", Type: Enum, Enum: protocols[1:], Width: 5, Outputs: InWide | InJSON,
			Doc: "udp or tcp.",
			Get: func(ev *Event) Value { return String(ev.GetDns().GetProtocol().Word()) },
		},
		{
			Name: "observed", Header: "OBSERVED", Type: Enum, Enum: sides[1:], Outputs: InJSON,
			Doc: "End that node, namespace, pod and container are of: src, which asked, where its side was seen; " +
				"else dst.",
			Get: func(ev *Event) Value { return String(ev.GetDns().GetObserved().Word()) },
		},
		{Name: "src", Header: "SRC", Doc: "End that asked.", Width: 22, Outputs: InTable | InWide, Show: showSrc},
		{Name: "dst", Header: "SERVER", Doc: "The server: service:port->pod, or pod:port.", Width: 22,
			Outputs: InTable | InWide, Show: showDst},
	},
	endpointColumns("src", "the end that asked", func(ev *Event) end { return end{Endpoint: ev.GetDns().GetSrc()} }),
	endpointColumns("dst", "the server", func(ev *Event) end { return end{Endpoint: ev.GetDns().GetDst()} }),
	[]Column{
		{
			Name: "type", Header: "TYPE", Type: Text, Width: 5, Outputs: InTable | InWide | InJSON,
			Doc: "Type of the question: A, AAAA, HTTPS, …, TYPE65280 for one without a name.",
			Get: func(ev *Event) Value { return String(ev.GetDns().GetType()) },
		},
		{
			Name: "name", Header: "NAME", Type: Text, Width: 30, Outputs: InTable | InWide | InJSON,
			Doc: `Queried name, with the dot at its end; bytes that are not printable ASCII as \DDD, as in zone files.`,
			Get: func(ev *Event) Value { return String(ev.GetDns().GetName()) },
		},
		{
			Name: "outcome", Header: "OUTCOME", Type: Enum, Enum: dnsOutcomes[1:], Outputs: InJSON,
			Doc: "answered; timeout: no answer for 5 s (one that comes later is an event of its own); pending: none " +
				"yet when the trace ended, or when more queries waited than there is room for, which is counted " +
				"as lost.",
			Get: func(ev *Event) Value { return String(ev.GetDns().GetOutcome().Word()) },
		},
		{
			Name: "rcode", Header: "RCODE", Type: Text, Outputs: InJSON,
			Doc: "What the answer says: NOERROR, NXDOMAIN, SERVFAIL, …; null without an answer.",
			Get: func(ev *Event) Value { return String(ev.GetDns().GetRcode()) },
		},
		{
			Name: "result", Header: "RESULT", Doc: "The answer's code, or timeout or pending.", Width: 8,
			Outputs: InTable | InWide,
			Show: func(dst []byte, ev *Event, _ *View) []byte {
				d := ev.GetDns()
				if d.GetOutcome() == DnsOutcome_DNS_OUTCOME_ANSWERED {
					dst = append(dst, d.Rcode...)
					if d.GetTruncated() {
						dst = append(dst, " (truncated)"...)
					}
					return dst
				}
				return append(dst, d.GetOutcome().Word()...)
			},
		},
		{
			Name: "latencyMicros", Header: "LATENCY", Type: Micros, Outputs: InTable | InWide | InJSON,
			Doc: "From the first query to the answer, in µs; null where the query began before the trace.",
			Get: func(ev *Event) Value {
				if d := ev.GetDns(); d != nil {
					return Optional(d.LatencyMicros)
				}
				return Value{}
			},
		},
		{
			Name: "attempts", Header: "TRIES", Type: Count, Outputs: InWide | InJSON,
			Doc: "Number of queries: 1, and the retries from the same socket.",
			Get: func(ev *Event) Value { return NonZero(uint64(ev.GetDns().GetAttempts())) },
		},
		{
			Name: "queryId", Header: "ID", Type: Count, Outputs: InJSON,
			Doc: "ID in the query's header: null in recordings of versions that did not keep it.",
			Get: func(ev *Event) Value {
				if d := ev.GetDns(); d != nil {
					return Optional(d.QueryId)
				}
				return Value{}
			},
		},
		{
			Name: "truncated", Header: "TC", Type: Bool, Outputs: InJSON,
			Doc: "The answer did not fit into its datagram (TC): the asker is to ask again by TCP.",
			Get: func(ev *Event) Value {
				if d := ev.GetDns(); d != nil {
					return optionalFlag(d.Truncated)
				}
				return Value{}
			},
		},
		{
			Name: "answerCount", Header: "COUNT", Type: Count, Outputs: InJSON,
			Doc: "Records in the answer.",
			Get: func(ev *Event) Value {
				if d := ev.GetDns(); d != nil {
					return Optional(d.AnswerCount)
				}
				return Value{}
			},
		},
		{
			Name: "answers", Header: "ANSWERS", Type: Text, Width: 15, Outputs: InTable | InWide | InJSON,
			Doc: "Addresses, and targets of CNAME, PTR and SRV, of the answer's first 16 such records, with commas " +
				"between.",
			Get: func(ev *Event) Value { return String(ev.GetDns().GetAnswers()) },
		},
		{
			Name: "process", Header: "PROCESS", Doc: "Command of the process that asked, or of the server.", Width: 8,
			Outputs: InTable | InWide,
			Show: func(dst []byte, ev *Event, _ *View) []byte {
				return appendPair(dst, ev.GetDns().GetSrc().GetComm(), ev.GetDns().GetDst().GetComm())
			},
		},
	},
)
