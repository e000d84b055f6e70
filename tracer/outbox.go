package tracer

import (
	"bytes"
	"errors"
	"sync"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/session"
)

const (
	// maxBatchBytes closes a batch of large events early: a message must stay far below session.MaxMessageBytes.
	maxBatchBytes = 256 << 10
	// ringBytes (compressed) and ringBatches limit the batches kept for a client that reads slowly or reconnects.
	ringBytes   = 6 << 20
	ringBatches = 4096
	// historyBatches is the number of evicted batches whose counts are kept: a quarter of an hour at the usual rate. A
	// client must reconnect within session.HeartbeatTimeout.
	historyBatches = 1 << 14
)

// outbox turns encoded events into numbered batches and keeps the newest ones: it is the queue to the client and the
// store for resuming. A reader names the batch to start from. In place of evicted batches it gets one summary with the
// number of the last of them: how many events, and which reports of loss, they held.
type outbox struct {
	node   string
	losses *ledger
	now    func() uint64
	// bytes and batches limit the held batches.
	bytes, batches int
	packer         session.Packer

	mu        sync.Mutex
	changed   chan struct{} // closed and replaced at each seal
	filling   []byte        // the events of the next batch
	events    uint32        // number of events in filling
	watermark uint64        // watermark of the newest batch
	next      uint64        // sequence of the next batch
	held      []batch       // oldest first, the last is next-1
	heldBytes int
	backlog   backlog
	evicted   history
	final     bool
}

// batch is one sealed batch. It is held compressed, as it is sent: events are similar, so the same memory covers cuts
// several times as long.
type batch struct {
	packed    []byte
	watermark uint64
	contents
}

// contents are the counts of a batch, which its loss is reported with.
type contents struct {
	events uint32 // without Lost events
	of     []ofCgroup
	lost   []delta
}

func newOutbox(node string, losses *ledger, now func() uint64) *outbox {
	return &outbox{node: node, losses: losses, now: now, bytes: ringBytes, batches: ringBatches,
		changed: make(chan struct{}), next: 1, backlog: newBacklog()}
}

// add appends one event of a cgroup, encoded in two parts. It reports whether the event is the first of its batch. If
// the client is far behind, it drops events of the cgroup with most of the unread events.
func (o *outbox) add(cgroup uint64, ev, names []byte) (first bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.backlog.admits(cgroup, o.bytes) {
		o.losses.addOf(where{stage: event.LossStage_LOSS_STAGE_QUEUE}, parties{cgroup, o.backlog.most}, 1)
		return false
	}
	// 16 bytes are more than a tag and a length.
	if o.events == session.MaxBatchEvents || len(o.filling)+len(ev)+len(names)+16 > maxBatchBytes && o.events > 0 {
		o.seal(o.watermark, nil, false)
	}
	o.filling = appendEvent(o.filling, ev, names)
	o.backlog.add(cgroup)
	o.events++
	return o.events == 1
}

// flush seals the pending events and unreported losses. Without any it does nothing, unless empty asks for a batch with
// only the watermark. It reports whether there is a new batch.
func (o *outbox) flush(watermark uint64, empty bool) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	lost := o.losses.take()
	if o.events == 0 && len(lost) == 0 && !empty {
		return false
	}
	o.seal(watermark, lost, false)
	return true
}

// finish seals the final batch. Nothing may be added after it.
func (o *outbox) finish(watermark uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.seal(watermark, o.losses.take(), true)
}

// seal closes the batch being filled. The caller holds mu.
func (o *outbox) seal(watermark uint64, lost []delta, final bool) {
	if o.final {
		return
	}
	if int(o.events)+len(lost) > session.MaxBatchEvents {
		o.seal(o.watermark, nil, false)
	}
	for _, d := range lost {
		// Encoding fails only for strings that are not UTF-8. These are constants or were decoded from protobuf.
		o.filling, _ = appendLost(o.filling, o.node, o.now(), d)
	}
	o.watermark = max(o.watermark, watermark)
	o.filling = appendHead(o.filling, o.next, o.watermark, final)
	packed := bytes.Clone(o.packer.Pack(o.filling))
	o.held = append(o.held, batch{packed, o.watermark, contents{o.events, o.backlog.seal(len(packed)), lost}})
	o.heldBytes += len(packed)
	o.next++
	o.filling, o.events = o.filling[:0], 0
	o.final = final
	for len(o.held) > 1 && (o.heldBytes > o.bytes || len(o.held) > o.batches) {
		o.evict()
	}
	close(o.changed)
	o.changed = make(chan struct{})
}

func (o *outbox) evict() {
	oldest := o.held[0]
	o.heldBytes -= len(oldest.packed)
	o.backlog.done(o.oldest(), oldest.of, len(oldest.packed))
	oldest.of = top(oldest.of)
	o.evicted.push(oldest)
	o.held[0] = batch{}
	o.held = o.held[1:]
}

// oldest is the sequence of the oldest batch held. The caller holds mu.
func (o *outbox) oldest() uint64 { return o.next - uint64(len(o.held)) }

// errAhead refuses a client that asks for what was never sent.
var errAhead = errors.New("no batch with that number was sent yet")

// check returns errAhead unless a client may read from a batch on.
func (o *outbox) check(from uint64) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if from == 0 || from > o.next {
		return errAhead
	}
	return nil
}

// read returns the batch numbered from and the number of the one to read next. If that batch is evicted, it returns a
// summary of the missing batches as losses of stage. Without a new batch it returns a channel that is closed when there
// is one, or final if there will be none.
func (o *outbox) read(
	from uint64, stage event.LossStage,
) (wire wireBatch, next uint64, changed <-chan struct{}, final bool) {
	o.mu.Lock()
	oldest := o.oldest()
	for sequence := max(o.backlog.first, oldest); sequence < min(from, o.next); sequence++ {
		b := o.held[sequence-oldest]
		o.backlog.done(sequence, b.of, len(b.packed))
	}
	switch {
	case from < oldest:
		defer o.mu.Unlock()
		return o.missing(from, oldest, stage), oldest, nil, false
	case from >= o.next:
		defer o.mu.Unlock()
		return nil, from, o.changed, o.final
	}
	defer o.mu.Unlock()
	return o.held[from-oldest].packed, from + 1, nil, false
}

// missing returns the summary of the batches from … oldest-1. The caller holds mu.
func (o *outbox) missing(from, oldest uint64, stage event.LossStage) wireBatch {
	events, by, lost := o.evicted.since(from)
	for p, n := range missingBy(by, events) {
		lost = append(lost, delta{where{stage: stage}, o.losses.name(p.lost), o.losses.name(p.cause), n})
	}
	var wire []byte
	for _, d := range merge(lost) {
		wire, _ = appendLost(wire, o.node, o.now(), d)
	}
	return bytes.Clone(o.packer.Pack(appendGapSummary(appendHead(wire, oldest-1, o.evicted.watermark, false))))
}

// history keeps the contents of evicted batches.
type history struct {
	first     uint64 // sequence of contents[0]; 0 while empty
	contents  []contents
	watermark uint64 // of the last batch

	// Sums of the batches before first.
	earlierEvents uint64
	earlierLost   []delta
}

// push adds the next batch.
func (h *history) push(b batch) {
	if h.first == 0 {
		h.first = 1
	}
	h.contents = append(h.contents, b.contents)
	h.watermark = b.watermark
	if len(h.contents) > historyBatches {
		c := h.contents[0]
		h.contents[0] = contents{}
		h.contents = h.contents[1:]
		h.first++
		h.earlierEvents += uint64(c.events)
		if len(c.lost) > 0 {
			h.earlierLost = merge(append(h.earlierLost, c.lost...))
		}
	}
}

// since sums the batches from a sequence on. If that is before the history, it counts all earlier batches: more than
// was missed, never less.
func (h *history) since(from uint64) (events uint64, by map[uint64]uint64, lost []delta) {
	by = make(map[uint64]uint64)
	if from < h.first {
		events = h.earlierEvents
		lost = append(lost, h.earlierLost...)
		from = h.first
	}
	for _, c := range h.contents[from-h.first:] {
		events += uint64(c.events)
		for _, of := range c.of {
			by[of.cgroup] += of.events
		}
		lost = append(lost, c.lost...)
	}
	return events, by, lost
}
