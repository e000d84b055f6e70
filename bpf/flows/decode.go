package flows

import (
	"encoding/binary"
	"fmt"
	"unsafe"

	"github.com/orb8-dev/kubectl-orb8/bpf"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// Values of enum role and the flags of flow.h.
const (
	roleUnknown = iota
	roleActive
	rolePassive
	roleGuessed = 4

	isnValid  = 1
	srttValid = 2

	droppedValid = 4
)

// IP protocol numbers.
const (
	protoICMP   = 1
	protoTCP    = 6
	protoUDP    = 17
	protoICMPv6 = 58
)

// decoder turns the kernel's struct flow_event into an event.Event. It is the only code that knows the struct's
// layout, and it fills one and the same event each time, so that decoding allocates nothing.
type decoder struct {
	clock     *bpf.Clock
	comms     bpf.Names
	responses histograms

	ev                 event.Event
	flow               event.Flow
	src, dst           event.Endpoint
	counters           event.Counters
	srcAddr, dstAddr   [16]byte
	retransmits        uint64
	dropped            uint64
	srtt, itype, icode uint32
	times              event.ResponseTimes
}

func newDecoder(clock *bpf.Clock, responses histograms) *decoder {
	d := &decoder{clock: clock, responses: responses}
	d.ev.Kind = &event.Event_Flow{Flow: &d.flow}
	return d
}

// decode returns the event's cgroup and the event, which the next call overwrites.
func (d *decoder) decode(raw []byte) (uint64, *event.Event, error) {
	if len(raw) < int(unsafe.Sizeof(objectFlowEvent{})) {
		return 0, nil, fmt.Errorf("decode flow: %d bytes, want %d", len(raw), unsafe.Sizeof(objectFlowEvent{}))
	}
	var aligned objectFlowEvent
	e := &aligned
	copy(unsafe.Slice((*byte)(unsafe.Pointer(e)), unsafe.Sizeof(*e)), raw)

	protocol, err := d.protocol(e)
	if err != nil {
		return 0, nil, err
	}
	if e.Phase < uint8(event.Phase_PHASE_NEW) || e.Phase > uint8(event.Phase_PHASE_CLOSED) {
		return 0, nil, fmt.Errorf("decode flow: phase %d", e.Phase)
	}
	d.ev.Time = d.clock.Wall(e.TimeNs)
	f := &d.flow
	f.Protocol = protocol
	f.Phase = event.Phase(e.Phase)
	f.StartTime = d.clock.Wall(e.StartNs)
	f.LastTime = d.clock.Wall(e.LastNs)
	if f.LastTime != 0 {
		// The last packet's time is of a coarser clock, which lags by up to a tick.
		f.LastTime = max(f.LastTime, f.StartTime)
	}
	f.SocketCookie = e.Cookie
	f.IsnValid = e.Flags&isnValid != 0
	d.fillEnds(e)
	d.fillCounters(e)
	return e.Cgroup, &d.ev, nil
}

// protocol also fills what only some protocols have.
func (d *decoder) protocol(e *objectFlowEvent) (event.Protocol, error) {
	f := &d.flow
	f.State, f.IcmpType, f.IcmpCode = 0, nil, nil
	switch e.Protocol {
	case protoTCP:
		if e.State > uint8(event.TCPState_TCP_STATE_CLOSING) {
			return 0, fmt.Errorf("decode flow: TCP state %d", e.State)
		}
		f.State = event.TCPState(e.State)
		return event.Protocol_PROTOCOL_TCP, nil
	case protoUDP:
		return event.Protocol_PROTOCOL_UDP, nil
	case protoICMP, protoICMPv6:
		d.itype, d.icode = uint32(e.IcmpType), uint32(e.IcmpCode)
		f.IcmpType, f.IcmpCode = &d.itype, &d.icode
		if e.Protocol == protoICMP {
			return event.Protocol_PROTOCOL_ICMP, nil
		}
		return event.Protocol_PROTOCOL_ICMPV6, nil
	default:
		return event.Protocol_PROTOCOL_RAW, nil
	}
}

func (d *decoder) fillEnds(e *objectFlowEvent) {
	role := e.Role &^ roleGuessed
	d.flow.RoleKnown = role != roleUnknown && e.Role&roleGuessed == 0
	if role == roleUnknown {
		// Services have the lower port more often than not.
		role = roleActive
		if e.Ends.Lport < e.Ends.Rport {
			role = rolePassive
		}
	}
	f := &d.flow
	local, remote := &d.src, &d.dst
	localAddr, remoteAddr := &d.srcAddr, &d.dstAddr
	f.Observed = event.Side_SIDE_SRC
	f.SrcIsn, f.DstIsn = e.IsnLocal, e.IsnRemote
	if role == rolePassive {
		local, remote = remote, local
		localAddr, remoteAddr = remoteAddr, localAddr
		f.Observed = event.Side_SIDE_DST
		f.SrcIsn, f.DstIsn = e.IsnRemote, e.IsnLocal
	}
	if !f.IsnValid {
		f.SrcIsn, f.DstIsn = 0, 0
	}
	local.Address = address(localAddr, e.Ends.Local)
	local.Port = uint32(e.Ends.Lport)
	local.Pid = e.Owner.Pid
	local.Comm = d.comms.Of(e.Owner.Comm)
	remote.Address = address(remoteAddr, e.Ends.Remote)
	remote.Port = uint32(e.Ends.Rport)
	remote.Pid = 0
	remote.Comm = ""
	f.Src, f.Dst = &d.src, &d.dst
	if e.Protocol == protoICMP || e.Protocol == protoICMPv6 {
		// An echo has one identifier, which whoever sent the request has chosen.
		d.src.Port, d.dst.Port = uint32(e.Ends.Lport), 0
	}
}

func (d *decoder) fillCounters(e *objectFlowEvent) {
	c := &d.counters
	c.BytesSent, c.BytesReceived = e.BytesSent, e.BytesReceived
	c.PacketsSent, c.PacketsReceived = e.PacketsSent, e.PacketsReceived
	c.Retransmits, c.SrttMicros, c.Dropped = nil, nil, nil
	if e.Flags&droppedValid != 0 {
		d.dropped = e.PacketsDropped
		c.Dropped = &d.dropped
	}
	if e.Protocol == protoTCP {
		d.retransmits = uint64(e.Retransmits)
		c.Retransmits = &d.retransmits
	}
	if e.Flags&srttValid != 0 {
		d.srtt = e.SrttUs
		c.SrttMicros = &d.srtt
	}
	d.fillResponses(e)
	d.flow.SrcCounters, d.flow.DstCounters = c, nil
	if d.flow.Observed == event.Side_SIDE_DST {
		d.flow.SrcCounters, d.flow.DstCounters = nil, c
	}
}

// address writes the address, in network order, to buf; an IPv4-mapped one as 4 bytes.
func address(buf *[16]byte, words [4]uint32) []byte {
	for i, w := range words {
		binary.NativeEndian.PutUint32(buf[4*i:], w)
	}
	if words[0] == 0 && words[1] == 0 && buf[8] == 0 && buf[9] == 0 && buf[10] == 0xff && buf[11] == 0xff {
		return buf[12:]
	}
	return buf[:]
}
