package event

import "bytes"

func isFlowSum(ev *Event) bool { _, ok := ev.GetKind().(*Event_FlowSum); return ok }

// flowSumColumns are what a FlowSum has: the fields that flows may be aggregated by, then the sums.
var flowSumColumns = concat(
	[]Column{
		{
			Name: "aggregatedBy", Header: "BY", Type: Text, Outputs: InJSON,
			Doc: "Fields that the row's flows have in common, with commas between. Other fields of flows are null.",
			Get: func(ev *Event) Value { return String(ev.GetFlowSum().GetAggregatedBy()) },
		},
		{
			Name: "others", Header: "OTHERS", Type: Bool, Outputs: InJSON,
			Doc: "true: the row is the sum of all groups beyond the server's limit; null otherwise.",
			Get: func(ev *Event) Value {
				if ev.GetFlowSum().GetOthers() {
					return Flag(true)
				}
				return Value{}
			},
		},
		sumKey("protocol", "PROTO", protocols, "Transport protocol.",
			func(s *FlowSum) string { return s.GetProtocol().Word() }),
		sumKey("phase", "PHASE", phases, "Phase of the flow's last event.",
			func(s *FlowSum) string { return s.GetPhase().Word() }),
		sumKey("state", "STATE", tcpStates, "TCP state of src's socket, of dst's where only dst was observed.",
			func(s *FlowSum) string { return s.GetState().Word() }),
		sumKey("observed", "OBSERVED", sides, "End that node, namespace, pod and container are of.",
			func(s *FlowSum) string { return s.GetObserved().Word() }),
		{
			Name: "icmpType", Header: "ICMP-TYPE", Type: Number, Outputs: InJSON,
			Doc: "ICMP and ICMPv6: message type of the packet that opened the flow.",
			Get: sumOptional(func(s *FlowSum) *uint32 { return s.IcmpType }),
		},
		{
			Name: "icmpCode", Header: "ICMP-CODE", Type: Number, Outputs: InJSON,
			Doc: "ICMP and ICMPv6: message code of the packet that opened the flow.",
			Get: sumOptional(func(s *FlowSum) *uint32 { return s.IcmpCode }),
		},
	},
	endpointColumns("src", "the end that opened the conversation",
		func(ev *Event) end { return end{Endpoint: ev.GetFlowSum().GetSrc()} }),
	endpointColumns("dst", "the end that answered",
		func(ev *Event) end { return end{Endpoint: ev.GetFlowSum().GetDst()} }),
	[]Column{
		total("flows", "FLOWS", Count, 5, everywhere, "Flows.",
			func(ev *Event) uint64 { return ev.GetFlowSum().GetFlows() }),
		total("open", "OPEN", Count, 5, everywhere, "Flows that have not ended.",
			func(ev *Event) uint64 { return ev.GetFlowSum().GetOpen() }),
		sumOf("bytesSent", "SENT", Bytes, everywhere, "Payload bytes from src to dst",
			func(s *FlowSum) *uint64 { return s.BytesSent }),
		sumOf("bytesReceived", "RECV", Bytes, everywhere, "Payload bytes from dst to src",
			func(s *FlowSum) *uint64 { return s.BytesReceived }),
		sumOf("packetsSent", "PKTS-SENT", Count, InWide|InJSON, "Packets from src to dst (TCP: segments)",
			func(s *FlowSum) *uint64 { return s.PacketsSent }),
		sumOf("packetsReceived", "PKTS-RECV", Count, InWide|InJSON, "Packets from dst to src (TCP: segments)",
			func(s *FlowSum) *uint64 { return s.PacketsReceived }),
		sumOf("retransmits", "RETR", Count, everywhere, "TCP segments retransmitted by all observed ends",
			func(s *FlowSum) *uint64 { return s.Retransmits }),
		sumResponses("responses", "RESP", Count, "TCP: responses that src got.",
			func(s *FlowSum) *uint64 { return s.Responses }),
		sumResponses("responseP50Micros", "RESP-P50", Micros, "Half of them took no longer, µs: "+responseTime+".",
			func(s *FlowSum) *uint64 { return s.ResponseP50Micros }),
		sumResponses("responseP99Micros", "RESP-P99", Micros, "99 of 100 took no longer, µs.",
			func(s *FlowSum) *uint64 { return s.ResponseP99Micros }),
		sumResponses("responseMaxMicros", "RESP-MAX", Micros, "The longest, µs.",
			func(s *FlowSum) *uint64 { return s.ResponseMaxMicros }),
	},
)

// sumKey makes a column of words that a FlowSum and a flow have alike.
func sumKey(name, header string, words []string, doc string, get func(*FlowSum) string) Column {
	return Column{
		Name: name, Header: header, Type: Enum, Enum: words[1:], Outputs: InJSON, Doc: doc,
		Get: func(ev *Event) Value { return String(get(ev.GetFlowSum())) },
	}
}

func sumOf(name, header string, typ Type, where Outputs, doc string, get func(*FlowSum) *uint64) Column {
	return Column{
		Name: name, Header: header, Type: typ, Width: 6, Outputs: where, Doc: doc + ": the sum of the known values.",
		Get: sumOptional(get),
	}
}

func sumResponses(name, header string, typ Type, doc string, get func(*FlowSum) *uint64) Column {
	return Column{
		Name: name, Header: header, Type: typ, Width: 8, Outputs: InWide | InJSON, Doc: doc, Get: sumOptional(get),
	}
}

func sumOptional[T uint32 | uint64](get func(*FlowSum) *T) func(*Event) Value {
	return func(ev *Event) Value {
		if s := ev.GetFlowSum(); s != nil {
			return Optional(get(s))
		}
		return Value{}
	}
}

// newFlowSums makes the kind of FlowSum, whose keys tables show differently.
func newFlowSums() *Kind {
	k := newRows("flowSum", "Flows that have some fields in common: a row of query flows --aggregate-by.", isFlowSum,
		flowSumColumns)
	for i := range k.Columns {
		c := &k.Columns[i]
		if c.Name == "node" {
			c.Outputs = InJSON // null in most rows
		}
		if f := groupFields[c.Name]; f != nil {
			c.Show = showKey(c.Get, f.side)
		}
	}
	return k
}

// showKey shows a key: a value that is withheld is not one that nobody knows.
func showKey(get func(*Event) Value, side Side) func([]byte, *Event, *View) []byte {
	return func(dst []byte, ev *Event, _ *View) []byte {
		s := ev.GetFlowSum()
		v := get(ev)
		switch {
		case s.GetOthers():
			return append(dst, Others...)
		case v.IsNull() && endAt(s, side).GetRedacted():
			return append(dst, "(redacted)"...)
		}
		return v.Append(dst)
	}
}

// groupField is a field by which flows can be aggregated.
type groupField struct {
	// copy sets the field of a FlowSum to that of a flow.
	copy func(to, from *Event)
	// side is the end that the field is of; unknown for one of the flow.
	side Side
}

// groupFields are all of them, by name: those that are neither amounts nor times, and that are not of one flow only.
var groupFields = func() map[string]*groupField {
	all := map[string]*groupField{
		"node":      {copy: func(to, from *Event) { to.Node = from.GetNode() }},
		"namespace": {copy: func(to, from *Event) { to.Namespace = from.GetNamespace() }},
		"pod":       {copy: func(to, from *Event) { to.Pod = from.GetPod() }},
		"container": {copy: func(to, from *Event) { to.Container = from.GetContainer() }},
		"protocol":  ofFlow(func(to *FlowSum, from *Flow) { to.Protocol = from.GetProtocol() }),
		"phase":     ofFlow(func(to *FlowSum, from *Flow) { to.Phase = from.GetPhase() }),
		"state":     ofFlow(func(to *FlowSum, from *Flow) { to.State = from.GetState() }),
		"observed":  ofFlow(func(to *FlowSum, from *Flow) { to.Observed = from.GetObserved() }),
		"icmpType":  ofFlow(func(to *FlowSum, from *Flow) { to.IcmpType = from.IcmpType }),
		"icmpCode":  ofFlow(func(to *FlowSum, from *Flow) { to.IcmpCode = from.IcmpCode }),
	}
	for _, side := range []Side{Side_SIDE_SRC, Side_SIDE_DST} {
		for field, set := range map[string]func(to, from *Endpoint){
			"namespace":        func(to, from *Endpoint) { to.Namespace = from.GetNamespace() },
			"pod":              func(to, from *Endpoint) { to.Pod = from.GetPod() },
			"container":        func(to, from *Endpoint) { to.Container = from.GetContainer() },
			"workload":         func(to, from *Endpoint) { to.Workload = from.GetWorkload() },
			"service":          func(to, from *Endpoint) { to.Service = from.GetService() },
			"serviceNamespace": func(to, from *Endpoint) { to.ServiceNamespace = from.GetServiceNamespace() },
			"serviceAddress":   func(to, from *Endpoint) { to.ServiceAddress = bytes.Clone(from.GetServiceAddress()) },
			"servicePort":      func(to, from *Endpoint) { to.ServicePort = from.GetServicePort() },
			"serviceNote":      func(to, from *Endpoint) { to.ServiceNote = from.GetServiceNote() },
			"node":             func(to, from *Endpoint) { to.Node = from.GetNode() },
			"host":             func(to, from *Endpoint) { to.Host = from.GetHost() },
			"address":          func(to, from *Endpoint) { to.Address = bytes.Clone(from.GetAddress()) },
			"port":             func(to, from *Endpoint) { to.Port = from.GetPort() },
			"pid":              func(to, from *Endpoint) { to.Pid = from.GetPid() },
			"comm":             func(to, from *Endpoint) { to.Comm = from.GetComm() },
			"redacted":         func(to, from *Endpoint) { to.Redacted = from.GetRedacted() },
		} {
			all[side.Word()+"."+field] = &groupField{side: side, copy: func(to, from *Event) {
				set(endAt(to.GetFlowSum(), side), endAt(from.GetFlow(), side))
			}}
		}
	}
	return all
}()

func ofFlow(set func(to *FlowSum, from *Flow)) *groupField {
	return &groupField{copy: func(to, from *Event) { set(to.GetFlowSum(), from.GetFlow()) }}
}

// endAt returns the end at a side, nil for none.
func endAt(ends Ends, side Side) *Endpoint {
	switch side {
	case Side_SIDE_SRC:
		return ends.GetSrc()
	case Side_SIDE_DST:
		return ends.GetDst()
	}
	return nil
}
