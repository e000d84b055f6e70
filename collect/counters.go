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

	responses
}

// responses are the response times of counters.
type responses struct {
	histogram              []uint64 // as in event.ResponseTimes
	maxMicros, totalMicros uint64
}

// set takes those of an event. Once a connection has some, an event without them comes of a histogram that the tracer
// read too late.
func (r *responses) set(c *event.Counters) {
	t := c.GetResponses()
	if len(t.GetHistogram()) == 0 {
		return
	}
	r.histogram = append(r.histogram[:0], t.Histogram...)
	r.maxMicros, r.totalMicros = t.MaxMicros, t.TotalMicros
}

// add adds others.
func (r *responses) add(other *responses) {
	if len(other.histogram) == 0 {
		return
	}
	r.histogram = event.MergeResponses(nil, r.histogram, other.histogram)
	r.maxMicros, r.totalMicros = max(r.maxMicros, other.maxMicros), r.totalMicros+other.totalMicros
}

// newCounters returns those of an event, without the response times; nil has none.
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
	c.responses.add(&other.responses)
}

// countersMemory is the memory of an event's counters.
type countersMemory struct {
	event.Counters

	retransmits, dropped uint64
	srttMicros           uint32
	responses            event.ResponseTimes
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
	m.Responses = nil
	if t := &m.responses; len(c.histogram) > 0 {
		t.Histogram = append(t.Histogram[:0], c.histogram...)
		t.MaxMicros, t.TotalMicros = c.maxMicros, c.totalMicros
		m.Responses = t
	}
	return &m.Counters
}
