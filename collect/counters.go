package collect

import (
	"github.com/orb8-dev/kubectl-orb8/event"
)

// counters are an event.Counters without pointers.
type counters struct {
	bytesSent, bytesReceived, packetsSent, packetsReceived uint64

	retransmits, dropped                uint64
	srttMicros                          uint32
	hasRetransmits, hasDropped, hasSRTT bool
}

// newCounters returns those of an event; nil has none.
func newCounters(c *event.Counters) counters {
	if c == nil {
		return counters{}
	}
	return counters{
		bytesSent: c.BytesSent, bytesReceived: c.BytesReceived,
		packetsSent: c.PacketsSent, packetsReceived: c.PacketsReceived,
		retransmits: c.GetRetransmits(), hasRetransmits: c.Retransmits != nil,
		dropped: c.GetDropped(), hasDropped: c.Dropped != nil,
		srttMicros: c.GetSrttMicros(), hasSRTT: c.SrttMicros != nil,
	}
}

// add adds other ones; the round-trip time is theirs, if they have one. nil adds nothing.
func (c *counters) add(other *counters) {
	if other == nil {
		return
	}
	c.bytesSent += other.bytesSent
	c.bytesReceived += other.bytesReceived
	c.packetsSent += other.packetsSent
	c.packetsReceived += other.packetsReceived
	c.retransmits, c.hasRetransmits = c.retransmits+other.retransmits, c.hasRetransmits || other.hasRetransmits
	c.dropped, c.hasDropped = c.dropped+other.dropped, c.hasDropped || other.hasDropped
	if other.hasSRTT {
		c.srttMicros, c.hasSRTT = other.srttMicros, true
	}
}

// countersMemory is the memory of an event's counters.
type countersMemory struct {
	event.Counters

	retransmits, dropped uint64
	srttMicros           uint32
}

// write returns the counters as an event holds them.
func (m *countersMemory) write(c *counters) *event.Counters {
	m.BytesSent, m.BytesReceived = c.bytesSent, c.bytesReceived
	m.PacketsSent, m.PacketsReceived = c.packetsSent, c.packetsReceived
	m.Retransmits, m.Dropped, m.SrttMicros = nil, nil, nil
	if c.hasRetransmits {
		m.retransmits, m.Retransmits = c.retransmits, &m.retransmits
	}
	if c.hasDropped {
		m.dropped, m.Dropped = c.dropped, &m.dropped
	}
	if c.hasSRTT {
		m.srttMicros, m.SrttMicros = c.srttMicros, &m.srttMicros
	}
	return &m.Counters
}
