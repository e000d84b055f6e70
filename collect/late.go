package collect

import (
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
)

const (
	// lateness is how much later than the end of a flow one of its halves may begin, by the clocks of two nodes.
	lateness = uint64(250 * time.Millisecond)
	// transit is the same by one clock: the longest time of a datagram between two containers.
	transit = uint64(20 * time.Millisecond)
)

// Sources of losses in the merge.
const (
	// ambiguousHalf is a half that counted as a late one of a closed flow, but may be a new flow.
	ambiguousHalf = "late half or flow"
	// mayRepeat is a half that is shown as a new flow, but may be a late one of a closed flow.
	mayRepeat = "shown, perhaps twice"
)

// late reports whether an unknown half belongs to a flow whose last event is out.
func (c *Collector) late(h *half, now time.Time) bool {
	t := &c.tombstones
	start := h.flow.GetStartTime()
	if hasTombstone(t, partTombstone{h.key()}, start) {
		if h.closed() {
			removeTombstone(t, partTombstone{h.key()}) // its last report
		}
		return true
	}
	if h.tcp() {
		if !h.hasISN || !hasTombstone(t, isnTombstone{newISNPair(h.isn[0], h.isn[1])}, 0) {
			return false
		}
	} else {
		proto := int32(h.flow.GetProtocol())
		g, ok := findTombstone(t, peerTombstone{proto, h.local, h.remote})
		if !ok || !c.isHalfOf(h, g) {
			g, ok = findTombstone(t, backendTombstone{proto, h.remote})
			if !ok || !c.isHalfOf(h, g) {
				return false
			}
		}
		if start > g.last && (start > g.last+transit || g.side == anySide || !h.flow.GetRoleKnown()) {
			c.loss.addOf(Loss{
				Node: h.source.node, Stage: event.LossStage_LOSS_STAGE_MERGE, Source: ambiguousHalf, Count: 1,
			})
		}
	}
	if !h.closed() {
		// For its later reports.
		p := part{socket: h.socket, start: start}
		addTombstone(t, partTombstone{h.key()}, tombstone{last: p.end()}, now, openMemory)
	}
	return true
}

// isHalfOf reports whether h, which has the addresses of the missing half of a closed flow, is that half. Another
// socket may use the same addresses at once: its half is the other end's, or begins after the closed flow's last
// packet, or fits an open flow that began about when it did.
func (c *Collector) isHalfOf(h *half, g tombstone) bool {
	if !h.continues(g) {
		return false
	}
	start := h.flow.GetStartTime()
	if start <= g.last {
		return true
	}
	q, _ := c.match(h)
	return q == nil || q.start <= g.last || start+(start-g.last) < q.start
}

// continues reports whether h began before the end of the flow of g, within the error of their clocks. In doubt the
// roles decide: a half that sent the first packet after the end is not an answer.
func (h *half) continues(g tombstone) bool {
	start := h.flow.GetStartTime()
	if start <= g.last {
		return true
	}
	slack := lateness
	if g.clock == h.source.clock {
		slack = transit
	}
	return start <= g.last+slack && (g.side == anySide || !h.flow.GetRoleKnown() || h.side == int(g.side))
}

// otherHalf returns the expected other half of a part.
func (p *part) otherHalf() tombstone {
	g := tombstone{last: max(p.start, p.report.last), clock: p.socket.source.clock, side: anySide}
	if p.flow.roleKnown {
		g.side = 1 - p.side
	}
	return g
}
