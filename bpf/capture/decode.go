package capture

import (
	"fmt"
	"unsafe"

	probe "github.com/orb8-dev/kubectl-orb8/bpf"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// decoder turns the kernel's struct packet_event and the bytes behind it into an event.Event. It fills one and the same
// event each time, whose data are those of the record, so that decoding allocates nothing.
type decoder struct {
	clock  *probe.Clock
	raw    objectPacketEvent
	ev     event.Event
	packet event.Packet
}

func newDecoder(clock *probe.Clock) *decoder {
	d := &decoder{clock: clock}
	d.ev.Kind = &event.Event_Packet{Packet: &d.packet}
	return d
}

// directions are by the values of the enum in capture.bpf.c.
var directions = [...]event.PacketDirection{
	1: event.PacketDirection_PACKET_DIRECTION_SENT,
	2: event.PacketDirection_PACKET_DIRECTION_RECEIVED,
}

// decode returns the cgroup of the socket and the event, which is valid as long as raw and until the next call.
func (d *decoder) decode(raw []byte) (uint64, *event.Event, error) {
	r := &d.raw
	const head = int(unsafe.Sizeof(*r))
	if len(raw) < head {
		return 0, nil, fmt.Errorf("decode packet: %d bytes, want %d", len(raw), head)
	}
	copy(unsafe.Slice((*byte)(unsafe.Pointer(r)), head), raw)
	data := raw[head:]
	if r.Direction == 0 || int(r.Direction) >= len(directions) {
		return 0, nil, fmt.Errorf("decode packet: direction %d", r.Direction)
	}
	if r.Captured > r.Length || r.Captured > event.MaxPacketBytes || int(r.Captured) > len(data) {
		return 0, nil, fmt.Errorf("decode packet: %d of %d bytes in %d", r.Captured, r.Length, len(data))
	}
	d.ev.Time = d.clock.Wall(r.TimeNs)
	p := &d.packet
	p.Direction, p.Length, p.Data = directions[r.Direction], r.Length, data[:r.Captured]
	p.Pid, p.Comm = r.Owner.Pid, nil
	if p.Pid != 0 {
		p.Comm = probe.Text(r.Owner.Comm[:])
	}
	return r.Cgroup, &d.ev, nil
}
