package event

import "strconv"

func isTCP(ev *Event) bool { _, ok := ev.GetKind().(*Event_Tcp); return ok }

// GetProtocol makes a Tcp one of Ends.
func (*Tcp) GetProtocol() Protocol { return Protocol_PROTOCOL_TCP }

// The words of the enums by number; the first of each, unknown, is null.
var (
	tcpOutcomes = []string{
		"", "connected", "accepted", "refused", "reset", "timeout", "unreachable", "abandoned", "closed", "retransmits",
		"failed",
	}
	tcpEnds   = []string{"", "local", "peer", "both"}
	tcpCauses = []string{
		"", "icmp", "unread-data", "linger", "not-accepted", "killed", "late-data", "orphan", "unacknowledged",
		"probes",
	}
)

// Word is the outcome as JSON and tables show it; empty when unknown.
func (o TCPOutcome) Word() string { return word(tcpOutcomes, int32(o)) }

// NeverMade reports whether a connection was not made, for whatever reason. Of a timeout, the state says whether it
// was.
func (o TCPOutcome) NeverMade() bool {
	switch o {
	case TCPOutcome_TCP_OUTCOME_REFUSED, TCPOutcome_TCP_OUTCOME_TIMEOUT, TCPOutcome_TCP_OUTCOME_UNREACHABLE,
		TCPOutcome_TCP_OUTCOME_ABANDONED, TCPOutcome_TCP_OUTCOME_FAILED:
		return true
	}
	return false
}

// Word is the end as JSON shows it; empty when unknown.
func (e TCPEnd) Word() string { return word(tcpEnds, int32(e)) }

// Word is the cause as JSON shows it; empty when unknown.
func (c TCPCause) Word() string { return word(tcpCauses, int32(c)) }

// tcpColumns are what a tcp event adds, in the order of the JSON object.
var tcpColumns = concat(
	[]Column{
		{
			Name: "who", Header: "POD",
			Doc: "The observed pod; with its namespace where that is not that of the view.", Width: 24,
			Outputs: InTable | InWide, Show: showTCPWho,
		},
		{
			Name: "peer", Header: "PEER", Doc: "-> the end that the observed one called, <- the end that called it.",
			Width:   29,
			Outputs: InTable | InWide, Show: showTCPPeer,
		},
		{
			Name: "outcome", Header: "OUTCOME", Type: Enum, Enum: tcpOutcomes[1:], Width: 11,
			Outputs: InTable | InWide | InJSON,
			Doc: "connected: the peer answered; accepted: the peer's handshake is complete; refused, timeout, " +
				"unreachable, abandoned (closed by " +
				"the program before there was an answer), failed (no SYN could be sent): it was never made; closed: " +
				"by both ends or by " +
				"this one, orderly; reset: by a RST; timeout and unreachable also end what was made; retransmits: " +
				"segments were sent " +
				"again in this interval, and it goes on.",
			Get: func(ev *Event) Value { return String(ev.GetTcp().GetOutcome().Word()) },
		},
		{
			Name: "state", Header: "STATE", Type: Enum, Enum: tcpStates[1:], Width: 11, Outputs: InWide | InJSON,
			Doc: "TCP state of the observed socket; at the end, the last one it had.",
			Get: func(ev *Event) Value { return String(ev.GetTcp().GetState().Word()) },
		},
		{
			Name: "observed", Header: "OBSERVED", Type: Enum, Enum: sides[1:], Outputs: InJSON,
			Doc: "End that this is about: that of node, namespace, pod and container, and of all counters. A " +
				"connection between two traced " +
				"pods has events of both.",
			Get: func(ev *Event) Value { return String(ev.GetTcp().GetObserved().Word()) },
		},
		{
			Name: "resetBy", Header: "RESET-BY", Type: Enum, Enum: tcpEnds[1:], Outputs: InJSON,
			Doc: "Who sent the RST that ended it: local is the observed end.",
			Get: func(ev *Event) Value { return String(ev.GetTcp().GetResetBy().Word()) },
		},
		{
			Name: "closedBy", Header: "CLOSED-BY", Type: Enum, Enum: tcpEnds[1:], Outputs: InJSON,
			Doc: "Who closed first, by a FIN; both: their FINs crossed. Null where there was none.",
			Get: func(ev *Event) Value { return String(ev.GetTcp().GetClosedBy().Word()) },
		},
		{
			Name: "cause", Header: "CAUSE", Type: Enum, Enum: tcpCauses[1:], Outputs: InJSON,
			Doc: "Why, where the kernel knows more. icmp: an ICMP message said so; unacknowledged: the peer " +
				"acknowledges nothing; probes: it " +
				"answers no probes. Of a reset by the observed end: unread-data: closed with bytes that were not " +
				"read; linger: closed " +
				"with SO_LINGER 0; not-accepted: the listener was closed before the connection was accepted; killed: " +
				"from outside, as " +
				"ss -K does; late-data: the peer sent after this end had closed; orphan: the kernel gave up what the " +
				"program had closed.",
			Get: func(ev *Event) Value { return String(ev.GetTcp().GetCause().Word()) },
		},
	},
	endpointColumns("src", "the end that opened the connection",
		func(ev *Event) end { return end{Endpoint: ev.GetTcp().GetSrc()} }),
	endpointColumns("dst", "the end that was called",
		func(ev *Event) end { return end{Endpoint: ev.GetTcp().GetDst()} }),
	[]Column{
		{
			Name: "handshakeMicros", Header: "HANDSHAKE", Type: Micros, Outputs: InJSON,
			Doc: "Time in µs from the first SYN to the answer, at the end that opened; null at the other, whose " +
				"srttMicros begins with the " +
				"time from its answer to the peer's.",
			Get: func(ev *Event) Value { return tcpNumber(ev, func(t *Tcp) *uint64 { return t.HandshakeMicros }) },
		},
		{
			Name: "durationMicros", Header: "DURATION", Type: Micros, Outputs: InJSON,
			Doc: "Time in µs since it was opened, at the end that was called since it was accepted; null of one " +
				"older than the trace.",
			Get: func(ev *Event) Value { return tcpNumber(ev, func(t *Tcp) *uint64 { return t.DurationMicros }) },
		},
		{
			Name: "took", Header: "DURATION",
			Doc:   "How long it took: the handshake of what is connected, else the time since it was opened.",
			Width: 8, Outputs: InTable | InWide, Show: showTCPTook,
		},
		{
			Name: "bytesSent", Header: "SENT", Type: Bytes, Width: 5, Outputs: InTable | InWide | InJSON,
			Doc: "Payload bytes that the observed end has sent, without retransmissions.",
			Get: func(ev *Event) Value { return tcpNumber(ev, func(t *Tcp) *uint64 { return t.BytesSent }) },
		},
		{
			Name: "bytesReceived", Header: "RECV", Type: Bytes, Width: 5, Outputs: InTable | InWide | InJSON,
			Doc: "Payload bytes that the observed end has received.",
			Get: func(ev *Event) Value { return tcpNumber(ev, func(t *Tcp) *uint64 { return t.BytesReceived }) },
		},
		{
			Name: "unreadBytes", Header: "UNREAD", Type: Bytes, Outputs: InJSON,
			Doc: "At the end: bytes of these that the program had not read by then.",
			Get: func(ev *Event) Value { return tcpNumber(ev, func(t *Tcp) *uint32 { return t.UnreadBytes }) },
		},
		{
			Name: "retransmits", Header: "RETR", Type: Count, Outputs: InTable | InWide | InJSON,
			Doc: "Segments that the observed end has retransmitted since the connection began, SYNs included.",
			Get: func(ev *Event) Value { return tcpNumber(ev, func(t *Tcp) *uint64 { return t.Retransmits }) },
		},
		{
			Name: "synRetransmits", Header: "SYN-RETR", Type: Count, Outputs: InWide | InJSON,
			Doc: "SYNs of these; at the end that was called, SYN-ACKs. Null where the handshake was not seen.",
			Get: func(ev *Event) Value { return tcpNumber(ev, func(t *Tcp) *uint32 { return t.SynRetransmits }) },
		},
		{
			Name: "newRetransmits", Header: "NEW-RETR", Type: Count, Outputs: InJSON,
			Doc: "retransmits: segments retransmitted since the last event that reported any.",
			Get: func(ev *Event) Value { return tcpNumber(ev, func(t *Tcp) *uint32 { return t.NewRetransmits }) },
		},
		{
			Name: "srttMicros", Header: "RTT", Type: Micros, Width: 5, Outputs: InTable | InWide | InJSON,
			Doc: "Smoothed round-trip time in µs as the observed end's kernel measured it.",
			Get: func(ev *Event) Value { return tcpNumber(ev, func(t *Tcp) *uint32 { return t.SrttMicros }) },
		},
		{
			Name: "error", Header: "ERROR", Type: Text, Width: 12, Outputs: InWide | InJSON,
			Doc: "Name of the error that the kernel left for the program, ECONNREFUSED.",
			Get: func(ev *Event) Value { return String(ev.GetTcp().GetError()) },
		},
		{
			Name: "process", Header: "PROCESS", Doc: "Process of the observed end.", Width: 15,
			Outputs: InTable | InWide,
			Show: func(dst []byte, ev *Event, _ *View) []byte {
				return append(dst, tcpOwn(ev.GetTcp()).GetComm()...)
			},
		},
		{
			Name: "owner", Header: "PID", Doc: "Process id of the observed end, on its node.", Width: 7,
			Outputs: InWide,
			Show: func(dst []byte, ev *Event, _ *View) []byte {
				return NonZero(uint64(tcpOwn(ev.GetTcp()).GetPid())).Append(dst)
			},
		},
		{
			Name: "reason", Header: "WHY", Type: Text, Width: 20, Outputs: InTable | InWide | InJSON,
			Doc: "What happened, in words for people; they may change from release to release.",
			Get: func(ev *Event) Value { return String(string(ev.GetTcp().appendReason(nil))) },
		},
		{
			Name: "socketCookie", Header: "SOCKET", Type: Number, Outputs: InJSON,
			Doc: "The kernel's number of the socket: the same for all events of one end of a connection, unique on " +
				"its node until that restarts.",
			Get: func(ev *Event) Value { return NonZero(ev.GetTcp().GetSocketCookie()) },
		},
	},
)

// tcpOwn is the observed end.
func tcpOwn(t *Tcp) *Endpoint {
	if t.GetObserved() == Side_SIDE_DST {
		return t.GetDst()
	}
	return t.GetSrc()
}

func tcpNumber[T uint32 | uint64](ev *Event, field func(*Tcp) *T) Value {
	if t := ev.GetTcp(); t != nil {
		return Optional(field(t))
	}
	return Value{}
}

func showTCPWho(dst []byte, ev *Event, v *View) []byte {
	dst, _ = appendEnd(dst, tcpOwn(ev.GetTcp()), v)
	return dst
}

func showTCPPeer(dst []byte, ev *Event, v *View) []byte {
	switch ev.GetTcp().GetObserved() {
	case Side_SIDE_SRC:
		return showDst(append(dst, arrow...), ev, v)
	case Side_SIDE_DST:
		return showSrc(append(dst, "<-"...), ev, v)
	}
	return dst
}

func showTCPTook(dst []byte, ev *Event, _ *View) []byte {
	t := ev.GetTcp()
	switch {
	case t == nil:
		return dst
	case t.HandshakeMicros != nil && t.Outcome == TCPOutcome_TCP_OUTCOME_CONNECTED:
		return AppendMicros(dst, *t.HandshakeMicros)
	case t.DurationMicros != nil:
		return AppendMicros(dst, *t.DurationMicros)
	}
	return dst
}

// appendReason says in words what the other fields say in theirs.
func (t *Tcp) appendReason(dst []byte) []byte {
	switch t.GetOutcome() {
	case TCPOutcome_TCP_OUTCOME_CONNECTED:
		return t.appendSYNs(append(dst, "the peer answered"...), "SYN")
	case TCPOutcome_TCP_OUTCOME_ACCEPTED:
		return t.appendSYNs(append(dst, "the peer connected"...), "SYN-ACK")
	case TCPOutcome_TCP_OUTCOME_REFUSED:
		if t.ResetBy == TCPEnd_TCP_END_PEER {
			return append(dst, "the peer answered the SYN with a RST: nothing listens there, or a firewall says so"...)
		}
		return append(dst, "an ICMP message refused the SYN, as of a firewall, or for a Service without endpoints"...)
	case TCPOutcome_TCP_OUTCOME_RESET:
		if t.ResetBy == TCPEnd_TCP_END_LOCAL {
			return t.appendLocalReset(dst)
		}
		return t.appendPeerReset(dst)
	case TCPOutcome_TCP_OUTCOME_TIMEOUT:
		return t.appendTimeout(dst)
	case TCPOutcome_TCP_OUTCOME_UNREACHABLE:
		if t.GetState() == TCPState_TCP_STATE_SYN_SENT {
			return append(dst, "a router or this host says that the peer cannot be reached"...)
		}
		return append(dst, "a router or this host says that the peer cannot be reached any more"...)
	case TCPOutcome_TCP_OUTCOME_ABANDONED:
		return t.appendAbandoned(dst)
	case TCPOutcome_TCP_OUTCOME_CLOSED:
		return t.appendClosed(dst)
	case TCPOutcome_TCP_OUTCOME_RETRANSMITS:
		return t.appendRetransmits(dst)
	case TCPOutcome_TCP_OUTCOME_FAILED:
		return append(dst, "this host could not send a SYN: no free port, no memory or no route"...)
	}
	return dst
}

// appendSYNs describes a handshake that took more than one try.
func (t *Tcp) appendSYNs(dst []byte, what string) []byte {
	if n := t.GetSynRetransmits(); n > 0 {
		dst = append(dst, " after "...)
		dst = appendNumber(dst, uint64(n), what+" retransmit")
	}
	return dst
}

func (t *Tcp) appendLocalReset(dst []byte) []byte {
	closed := "this end closed"
	if t.ProcessEnded {
		closed = "this end's process ended"
	}
	switch t.Cause {
	case TCPCause_TCP_CAUSE_UNREAD:
		dst = append(append(dst, closed...), " with "...)
		return append(appendNumber(dst, uint64(t.GetUnreadBytes()), "byte"), " unread"...)
	case TCPCause_TCP_CAUSE_LINGER:
		return append(append(dst, closed...), " with SO_LINGER 0"...)
	case TCPCause_TCP_CAUSE_NOT_ACCEPTED:
		return append(dst, "this end closed its listener before accepting"...)
	case TCPCause_TCP_CAUSE_KILLED:
		return append(dst, "killed from outside, as ss -K does"...)
	case TCPCause_TCP_CAUSE_LATE_DATA:
		return append(dst, "the peer sent data after this end had closed"...)
	case TCPCause_TCP_CAUSE_ORPHAN:
		return append(dst, "this end's kernel gave up on what the program had closed"...)
	}
	return append(dst, "this end aborted"...)
}

func (t *Tcp) appendPeerReset(dst []byte) []byte {
	dst = append(dst, "the peer sent a RST"...)
	switch t.ClosedBy {
	case TCPEnd_TCP_END_LOCAL:
		return append(dst, " after this end had closed"...)
	case TCPEnd_TCP_END_PEER:
		return append(dst, " after it had closed"...)
	case TCPEnd_TCP_END_BOTH:
		return append(dst, " after both had closed"...)
	}
	return dst
}

func (t *Tcp) appendTimeout(dst []byte) []byte {
	switch {
	case t.State == TCPState_TCP_STATE_SYN_SENT:
		dst = append(dst, "no answer"...)
		if t.SynRetransmits != nil {
			dst = appendNumber(append(dst, " to "...), uint64(*t.SynRetransmits)+1, "SYN")
		}
		return dst
	case t.Cause == TCPCause_TCP_CAUSE_PROBES:
		return append(dst, "the peer answers no probes"...)
	}
	dst = append(dst, "the peer acknowledges nothing"...)
	if n := t.GetRetransmits(); n > 0 {
		dst = append(appendNumber(append(dst, " after "...), n, "retransmit"), " in all"...)
	}
	return dst
}

func (t *Tcp) appendAbandoned(dst []byte) []byte {
	if t.Cause == TCPCause_TCP_CAUSE_KILLED {
		return append(dst, "killed from outside before there was an answer"...)
	}
	dst = append(dst, "the program gave up"...)
	if t.DurationMicros != nil {
		dst = AppendMicros(append(dst, " after "...), *t.DurationMicros)
	}
	if t.SynRetransmits != nil {
		dst = appendNumber(append(dst, " and "...), uint64(*t.SynRetransmits), "SYN retransmit")
	}
	return append(dst, ", before any answer"...)
}

func (t *Tcp) appendClosed(dst []byte) []byte {
	switch t.ClosedBy {
	case TCPEnd_TCP_END_LOCAL:
		return append(dst, "this end closed first"...)
	case TCPEnd_TCP_END_PEER:
		return append(dst, "the peer closed first"...)
	case TCPEnd_TCP_END_BOTH:
		return append(dst, "both ends closed at once"...)
	}
	return append(dst, "this end is gone without a FIN or a RST"...)
}

func (t *Tcp) appendRetransmits(dst []byte) []byte {
	if t.State == TCPState_TCP_STATE_SYN_SENT {
		return append(appendNumber(append(dst, "no answer yet: "...), uint64(t.GetNewRetransmits()), "SYN"),
			" retransmitted"...)
	}
	return append(appendNumber(dst, uint64(t.GetNewRetransmits()), "segment"), " retransmitted"...)
}

// appendNumber appends "1 byte", "2 bytes".
func appendNumber(dst []byte, n uint64, what string) []byte {
	dst = append(append(strconv.AppendUint(dst, n, 10), ' '), what...)
	if n != 1 {
		dst = append(dst, 's')
	}
	return dst
}
