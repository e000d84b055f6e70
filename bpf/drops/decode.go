package drops

import (
	"bytes"
	"hash/fnv"
	"strconv"
	"strings"
	"unsafe"

	"github.com/orb8-dev/kubectl-orb8/bpf"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// Values of the enum of drops.bpf.c.
const (
	egress  = 1
	ingress = 2
)

// Protocol numbers of IP.
const (
	protoICMP   = 1
	protoTCP    = 6
	protoUDP    = 17
	protoICMPv6 = 58
)

// mapped is what an IPv4 address begins with in 16 bytes.
var mapped = [12]byte{10: 0xff, 11: 0xff}

// decoder turns an entry of the kernel's map of drops into an event.Event. It fills one and the same event each time.
type decoder struct {
	clock   *bpf.Clock
	reasons reasons

	ev       event.Event
	drop     event.Drop
	src, dst event.Endpoint
}

func newDecoder(clock *bpf.Clock, r reasons) *decoder {
	d := &decoder{clock: clock, reasons: r}
	d.ev.Kind = &event.Event_Drop{Drop: &d.drop}
	d.drop.Src, d.drop.Dst = &d.src, &d.dst
	return d
}

// decode returns the event without its time, which the next call overwrites. location names the place in the kernel.
func (d *decoder) decode(k *objectDropKey, v *objectDrop, location string) *event.Event {
	e := &d.drop
	e.Id = identity(k)
	e.Protocol = protocol(k.Protocol)
	e.Observed = event.Side_SIDE_SRC
	if k.Direction == ingress {
		e.Observed = event.Side_SIDE_DST
	}
	d.src.Address, d.dst.Address = address(&k.Src), address(&k.Dst)
	d.src.Port, d.dst.Port = uint32(k.Sport), uint32(k.Dport)
	e.Reason = d.reasons.name(k.Reason)
	e.Location = location
	e.Device = text(v.Device[:])
	e.Packets, e.Bytes = v.Packets, v.Bytes
	e.FirstTime, e.LastTime = d.clock.Wall(v.FirstNs), d.clock.Wall(v.LastNs)
	return &d.ev
}

// identity is the ID of a drop, the same in all its events.
func identity(k *objectDropKey) string {
	h := fnv.New64a()
	h.Write(unsafe.Slice((*byte)(unsafe.Pointer(k)), unsafe.Sizeof(*k)))
	return strconv.FormatUint(h.Sum64(), 16)
}

func protocol(number uint8) event.Protocol {
	switch number {
	case protoTCP:
		return event.Protocol_PROTOCOL_TCP
	case protoUDP:
		return event.Protocol_PROTOCOL_UDP
	case protoICMP:
		return event.Protocol_PROTOCOL_ICMP
	case protoICMPv6:
		return event.Protocol_PROTOCOL_ICMPV6
	}
	return event.Protocol_PROTOCOL_RAW
}

func address(a *[16]uint8) []byte {
	if bytes.HasPrefix(a[:], mapped[:]) {
		return a[12:]
	}
	return a[:]
}

func text(c []int8) string {
	return strings.ToValidUTF8(string(bpf.Text(c)), "\ufffd")
}
