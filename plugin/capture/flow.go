package capture

import (
	"encoding/binary"
	"net/netip"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// flow is a conversation as a pod sees it: the ends of its packets, the pod's own first.
type flow struct {
	local, remote netip.AddrPort
	protocol      uint8
}

// Numbers of IP protocols, and the next headers of IPv6 that only precede a transport protocol.
const (
	protocolTCP  = 6
	protocolUDP  = 17
	protocolSCTP = 132

	hopByHop    = 0
	routing     = 43
	fragment    = 44
	destination = 60
)

// parse reads the ends of a packet. It returns false for what is no whole header of IPv4 or IPv6. Ports are 0 for
// protocols without, and for fragments that do not have them.
func parse(data []byte, direction event.PacketDirection) (flow, bool) {
	var src, dst netip.Addr
	var protocol uint8
	var rest []byte
	switch {
	case len(data) >= 20 && data[0]>>4 == 4:
		src, dst = netip.AddrFrom4([4]byte(data[12:])), netip.AddrFrom4([4]byte(data[16:]))
		protocol = data[9]
		if binary.BigEndian.Uint16(data[6:])&0x1fff == 0 {
			rest = data[min(int(data[0]&15)*4, len(data)):]
		}
	case len(data) >= 40 && data[0]>>4 == 6:
		src, dst = netip.AddrFrom16([16]byte(data[8:])), netip.AddrFrom16([16]byte(data[24:]))
		protocol, rest = skipExtensions(data[6], data[40:])
	default:
		return flow{}, false
	}
	var ports [2]uint16
	if (protocol == protocolTCP || protocol == protocolUDP || protocol == protocolSCTP) && len(rest) >= 4 {
		ports = [2]uint16{binary.BigEndian.Uint16(rest), binary.BigEndian.Uint16(rest[2:])}
	}
	f := flow{netip.AddrPortFrom(src, ports[0]), netip.AddrPortFrom(dst, ports[1]), protocol}
	if direction == event.PacketDirection_PACKET_DIRECTION_RECEIVED {
		f.local, f.remote = f.remote, f.local
	}
	return f, true
}

// skipExtensions returns the transport protocol behind extension headers, and what follows them; nil in a fragment that
// is not the first.
func skipExtensions(next uint8, rest []byte) (uint8, []byte) {
	for len(rest) >= 8 {
		length := (int(rest[1]) + 1) * 8
		switch next {
		case hopByHop, routing, destination:
		case fragment:
			if binary.BigEndian.Uint16(rest[2:])&0xfff8 != 0 {
				return rest[0], nil
			}
			length = 8
		default:
			return next, rest
		}
		next, rest = rest[0], rest[min(length, len(rest)):]
	}
	return next, rest
}

// protocol is how the Namer distinguishes Services.
func (f flow) transport() event.Protocol {
	switch f.protocol {
	case protocolTCP:
		return event.Protocol_PROTOCOL_TCP
	case protocolUDP:
		return event.Protocol_PROTOCOL_UDP
	}
	return event.Protocol_PROTOCOL_UNKNOWN
}
