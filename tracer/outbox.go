package tracer

import (
	"bytes"
	"errors"
	"sync"

	"github.com/klauspost/compress/s2"
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/session"
)

const (
	// maxBatchBytes closes a batch of large events early: a message must stay far below session.MaxMessageBytes.
	maxBatchBytes = 256 << 10
	// ringBytes, compressed, and ringBatches bound what is kept for a client that reads slowly or has to connect again.
	ringBytes   = 6 << 20
	ringBatches = 4096
	// historyBatches is for how many batches no longer held their counts are. At the usual pace that is a quarter of an
	// hour, and a client has session.HeartbeatTimeout to come back.
	historyBatches = 1 << 14
)

// outbox turns encoded events into numbered batches and keeps the newest batches: it is the queue to the client and the
// store to resume from in one. Whoever reads says from which batch on. What it asks for and is no longer held is
// answered by one batch in the place of the last missing one, which says how many events, and which reports of loss,
// they held.
type outbox struct {
	node   string
	losses *ledger
	now    func() uint64
	// bytes and batches bound what is held.
	bytes, batches int
	packing        []byte // scratch for compression

	mu        sync.Mutex
	changed   chan struct{} // closed and replaced at each seal
	filling   []byte        // the events of the next batch
	events    uint32        // how many
	watermark uint64        // of the newest batch
	next      uint64        // sequence of the next batch
	held      []batch       // oldest first, the last is next-1
	heldBytes int
	backlog   backlog
	evicted   history
	final     bool
}

// batch is one sealed batch. It is held compressed: events are much alike, so that the same memory lasts for cuts
// several times as long.
type batch struct {
	packed    []byte
	watermark uint64
	contents
}

// contents is what a batch held that its loss must be counted as.
type contents struct {
	events uint32 // without Lost events
	of     []ofCgroup
	lost   []delta
}

func newOutbox(node string, losses *ledger, now func() uint64) *outbox {
	return &outbox{node: node, losses: losses, now: now, bytes: ringBytes, batches: ringBatches,
		changed: make(chan struct{}), next: 1, backlog: newBacklog()}
}

// add appends one event of a cgroup, encoded in two parts. It tells whether the event is the first of its batch. Where
// the client is far behind, an event of who made most of what it has not got is lost instead.
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

// flush seals what there is, together with the losses not yet reported. Without either it does nothing, unless empty
// asks for a batch that carries the watermark only. It tells whether there is a new batch.
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
		// Only a name that is not UTF-8 fails to encode, and these are our own.
		o.filling, _ = appendLost(o.filling, o.node, o.now(), d)
	}
	o.watermark = max(o.watermark, watermark)
	o.filling = appendHead(o.filling, o.next, o.watermark, final)
	o.packing = s2.Encode(o.packing[:cap(o.packing)], o.filling)
	o.held = append(o.held, batch{bytes.Clone(o.packing), o.watermark,
		contents{o.events, o.backlog.seal(len(o.packing)), lost}})
	o.heldBytes += len(o.packing)
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

// check tells whether a client may read from a batch on.
func (o *outbox) check(from uint64) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if from == 0 || from > o.next {
		return errAhead
	}
	return nil
}

// read returns the batch numbered from and the number of the one to read next; or, where that is not held any more, a
// batch that says what is missing as losses of stage. Without a batch to return it returns a channel that is closed
// when there is one; final says that there will be none.
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
	packed := o.held[from-oldest].packed
	o.mu.Unlock()
	wire, err := s2.Decode(nil, packed)
	if err != nil {
		panic("tracer: a batch in memory is broken: " + err.Error())
	}
	return wire, from + 1, nil, false
}

// missing is the batch in the place of the batches from … oldest-1. The caller holds mu.
func (o *outbox) missing(from, oldest uint64, stage event.LossStage) wireBatch {
	events, by, lost := o.evicted.since(from)
	for p, n := range missingBy(by, events) {
		lost = append(lost, delta{where{stage: stage}, o.losses.name(p.lost), o.losses.name(p.cause), n})
	}
	var wire []byte
	for _, d := range merge(lost) {
		wire, _ = appendLost(wire, o.node, o.now(), d)
	}
	return appendGapSummary(appendHead(wire, oldest-1, o.evicted.watermark, false))
}

// history keeps what the batches no longer held had in them.
type history struct {
	first     uint64 // sequence of contents[0]; 0 while empty
	contents  []contents
	watermark uint64 // of the last batch

	// What is older than first, in all.
	olderEvents uint64
	olderLost   []delta
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
		h.olderEvents += uint64(c.events)
		if len(c.lost) > 0 {
			h.olderLost = merge(append(h.olderLost, c.lost...))
		}
	}
}

// since sums the batches from a sequence on. Where that is too old to tell, it counts all before: more than was missed,
// never less.
func (h *history) since(from uint64) (events uint64, by map[uint64]uint64, lost []delta) {
	by = make(map[uint64]uint64)
	if from < h.first {
		events = h.olderEvents
		lost = append(lost, h.olderLost...)
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
