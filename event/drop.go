package event

// ByPolicy reports whether a policy or firewall has dropped the packets.
func (d *Drop) ByPolicy() bool { return causeOf(d.GetReason()) == causePolicy }

// NotAccepted reports whether the packets were to open connections, for which a listener's queue has no room.
func (d *Drop) NotAccepted() bool {
	return d.GetReason() == "TCP_LISTEN_OVERFLOW" || d.GetReason() == "TCP_REQQFULLDROP"
}

func isDrop(ev *Event) bool { _, ok := ev.GetKind().(*Event_Drop); return ok }

// dropColumns are what a drop adds, in the order of the JSON object.
var dropColumns = concat(
	[]Column{
		{
			Name: "id", Header: "ID", Type: Text, Width: 16, Outputs: InJSON,
			Doc: "Same for all events of the packets that are counted together: of one node, pod, reason, place and " +
				"5-tuple.",
			Get: func(ev *Event) Value { return String(ev.GetDrop().GetId()) },
		},
		{
			Name: "protocol", Header: "PROTO", Type: Enum, Enum: protocols[1:], Width: 5,
			Outputs: InTable | InWide | InJSON,
			Doc:     "Protocol of the packets; raw: another one than TCP, UDP, ICMP and ICMPv6.",
			Get:     func(ev *Event) Value { return String(ev.GetDrop().GetProtocol().Word()) },
		},
		{
			Name: "observed", Header: "OBSERVED", Type: Enum, Enum: sides[1:], Outputs: InJSON,
			Doc: "End that node, namespace and pod are of: src where the pod sent the packets, dst where they " +
				"were for it.",
			Get: func(ev *Event) Value { return String(ev.GetDrop().GetObserved().Word()) },
		},
		{Name: "src", Header: "SRC", Doc: "End that sent the packets.", Width: 22, Outputs: InTable | InWide,
			Show: showSrc},
		{
			Name: "dst", Header: "DST", Doc: "End that they were for: service:port->pod, or pod:port.", Width: 27,
			Outputs: InTable | InWide,
			Show:    showDst,
		},
	},
	endpointColumns("src", "the end that sent the packets",
		func(ev *Event) end { return end{Endpoint: ev.GetDrop().GetSrc()} }),
	endpointColumns("dst", "the end that they were for",
		func(ev *Event) end { return end{Endpoint: ev.GetDrop().GetDst()} }),
	[]Column{
		{
			Name: "packets", Header: "PKTS", Type: Count, Width: 5, Outputs: InTable | InWide | InJSON,
			Doc: "Packets dropped since the first one; segments, where the kernel handled several as one.",
			Get: func(ev *Event) Value { return NonZero(ev.GetDrop().GetPackets()) },
		},
		{
			Name: "bytes", Header: "BYTES", Type: Bytes, Width: 5, Outputs: InWide | InJSON,
			Doc: "Their bytes, with the IP header.",
			Get: func(ev *Event) Value { return NonZero(ev.GetDrop().GetBytes()) },
		},
		{
			Name: "cause", Header: "CAUSE", Type: Enum, Enum: dropCauses, Width: 9, Outputs: InTable | InWide | InJSON,
			Doc: "What kind of reason it is: policy (a firewall, a NetworkPolicy's enforcer, an eBPF program), queue " +
				"(a full queue, buffer or backlog), " +
				"checksum, no-socket (nothing listens), route (no route or no neighbor), protocol (what the packet " +
				"says is wrong or out of place), other. " +
				"null where the kernel gives no reason.",
			Get: func(ev *Event) Value { return String(causeOf(ev.GetDrop().GetReason())) },
		},
		{
			Name: "reason", Header: "REASON", Type: Text, Width: 16, Outputs: InTable | InWide | InJSON,
			Doc: "The kernel's own word (enum skb_drop_reason, without SKB_DROP_REASON_); null before Linux 5.17, " +
				"which gives none.",
			Get: func(ev *Event) Value { return String(ev.GetDrop().GetReason()) },
		},
		{
			Name: "location", Header: "LOCATION", Type: Text, Width: 16, Outputs: InTable | InWide | InJSON,
			Doc: "Function of the kernel that dropped them, with its module; an address where the kernel does not " +
				"tell names.",
			Get: func(ev *Event) Value { return String(ev.GetDrop().GetLocation()) },
		},
		{
			Name: "device", Header: "DEVICE", Type: Text, Width: 8, Outputs: InWide | InJSON,
			Doc: "Network device that the first of them was at; null where it was at none yet.",
			Get: func(ev *Event) Value { return String(ev.GetDrop().GetDevice()) },
		},
		{
			Name: "firstTime", Header: "FIRST", Type: Timestamp, Width: 12, Outputs: InJSON,
			Doc: "When the first of them was dropped.",
			Get: func(ev *Event) Value { return Time(ev.GetDrop().GetFirstTime()) },
		},
		{
			Name: "lastTime", Header: "LAST", Type: Timestamp, Width: 12, Outputs: InJSON,
			Doc: "When the newest of them was dropped.",
			Get: func(ev *Event) Value { return Time(ev.GetDrop().GetLastTime()) },
		},
		{
			Name: "srcAddress", Header: "SRC-ADDRESS", Doc: "Address and port of src.", Width: 21, Outputs: InWide,
			Show: func(dst []byte, ev *Event, _ *View) []byte { return appendAddrPort(dst, ev.GetDrop().GetSrc()) },
		},
		{
			Name: "dstAddress", Header: "DST-ADDRESS", Doc: "Address and port of dst.", Width: 21, Outputs: InWide,
			Show: func(dst []byte, ev *Event, _ *View) []byte { return appendAddrPort(dst, ev.GetDrop().GetDst()) },
		},
		{
			Name: "why", Header: "WHY", Doc: "The reason in words.", Width: 20, Outputs: InTable | InWide,
			Show: func(dst []byte, ev *Event, _ *View) []byte {
				return append(dst, wordsOf(ev.GetDrop().GetReason())...)
			},
		},
	},
)
