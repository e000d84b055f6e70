package event

import "encoding/base64"

// MaxPacketBytes is how many bytes of a packet an event holds. Packets of TCP pass whole before the device or the
// kernel cuts them into segments (GSO), and are then longer than an IP packet may be: 64 KiB of payload, and headers.
const MaxPacketBytes = 1<<17 - 1

func isPacket(ev *Event) bool { _, ok := ev.GetKind().(*Event_Packet); return ok }

func newPackets() *Kind {
	k := newKind("packet", "A packet that a pod sent or received: what capture writes.", isPacket, packetColumns)
	k.Payload = true
	return k
}

// packetDirections are the words of the enum by number; the first, unknown, is null.
var packetDirections = []string{"", "sent", "received"}

// Word is the direction as JSON and tables show it; empty when unknown.
func (d PacketDirection) Word() string { return word(packetDirections, int32(d)) }

// packetColumns are what a packet adds, in the order of the JSON object.
var packetColumns = concat(
	podCells,
	[]Column{
		{
			Name: "direction", Header: "DIRECTION", Type: Enum, Enum: packetDirections[1:], Width: 9,
			Outputs: InTable | InWide | InJSON,
			Doc:     "Which way the packet went, as its pod sees it.",
			Get:     func(ev *Event) Value { return String(ev.GetPacket().GetDirection().Word()) },
		},
		{
			Name: "length", Header: "LENGTH", Type: Number, Width: 6, Outputs: InTable | InWide | InJSON,
			Doc: "Bytes from the IP header on.",
			Get: func(ev *Event) Value { return NonZero(uint64(ev.GetPacket().GetLength())) },
		},
		{
			Name: "data", Header: "DATA", Type: Text, Width: 20, Outputs: InJSON,
			Doc: "The bytes from the IP header on, up to the snap length, in base64.",
			Get: func(ev *Event) Value { return String(base64.StdEncoding.EncodeToString(ev.GetPacket().GetData())) },
		},
		{
			Name: "pid", Header: "PID", Type: Number, Width: 7, Outputs: InTable | InWide | InJSON,
			Doc: "Process that sends on the socket, on the node.",
			Get: func(ev *Event) Value { return NonZero(uint64(ev.GetPacket().GetPid())) },
		},
		{
			Name: "comm", Header: "COMM", Type: Text, Width: 15, Outputs: InTable | InWide | InJSON,
			Doc: "Command name of that process (task_struct.comm).",
			Get: func(ev *Event) Value { return exact(ev.GetPacket().GetComm()) },
		},
	},
)
