package agent

import (
	"context"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/tracer"
)

const (
	// feedBytes and feedBatches limit the batches that are kept for streams that are slow or reconnect.
	feedBytes   = 3 << 20
	feedBatches = 2048
	// feedCounts is the number of evicted batches whose numbers of events are kept.
	feedCounts = 1 << 14
	// maxMissedPods limits the pods that a slow stream's losses are counted by.
	maxMissedPods = 256
)

// feed keeps the newest batches of the node. Each stream reads them at its own pace. A stream that is too slow gets the
// number of its events that were evicted.
type feed struct {
	node string
	now  func() uint64
	// store keeps the events for queries. It is called in the order of the batches, with the lock held.
	store func(events [][]byte)

	mu      sync.Mutex
	changed chan struct{} // closed and replaced at each batch
	held    []feedBatch   // oldest first, the last is next-1
	bytes   int
	next    uint64 // sequence of the next batch
	// complete is the newest watermark.
	complete uint64
	counts   []uint32
	readers  map[*reader]struct{}
	events   uint64 // without losses and states
	lost     uint64
}

type feedBatch struct {
	events    [][]byte
	watermark uint64
	bytes     int
}

func newFeed(node string, now func() uint64, store func([][]byte)) *feed {
	return &feed{node: node, now: now, store: store, changed: make(chan struct{}), next: 1,
		readers: map[*reader]struct{}{}}
}

// emit takes a batch of the observer.
func (f *feed) emit(b tracer.Batch) {
	size := 0
	for _, ev := range b.Events {
		size += len(ev)
	}
	buffer := make([]byte, 0, size)
	kept := feedBatch{events: make([][]byte, len(b.Events)), watermark: b.Watermark, bytes: size + 24*len(b.Events)}
	for i, ev := range b.Events {
		begin := len(buffer)
		buffer = append(buffer, ev...)
		kept.events[i] = buffer[begin:len(buffer):len(buffer)]
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(kept.events) > 0 {
		f.store(kept.events)
		f.events += uint64(len(kept.events) - b.Reports)
		f.lost += b.Lost
	}
	f.held = append(f.held, kept)
	f.bytes += kept.bytes
	f.next++
	f.complete = max(f.complete, b.Watermark)
	for len(f.held) > 1 && (f.bytes > feedBytes || len(f.held) > feedBatches) {
		f.evict()
	}
	close(f.changed)
	f.changed = make(chan struct{})
}

// evict removes the oldest batch. Streams that have not read it count their events in it.
func (f *feed) evict() {
	sequence, oldest := f.oldest(), f.held[0]
	for r := range f.readers {
		if r.next == sequence {
			r.miss(oldest.events)
			r.next++
		}
	}
	f.bytes -= oldest.bytes
	f.held[0] = feedBatch{}
	f.held = f.held[1:]
	f.counts = append(f.counts, uint32(len(oldest.events)))
	if len(f.counts) > feedCounts {
		f.counts = f.counts[1:]
	}
}

// oldest is the sequence of the oldest batch held. The caller holds mu.
func (f *feed) oldest() uint64 { return f.next - uint64(len(f.held)) }

// watermark is the time up to which the newest batches have all events; 0: unknown.
func (f *feed) watermark() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.complete
}

// totals returns the events since the start, and those that were lost.
func (f *feed) totals() (events, lost uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.events, f.lost
}

// reader is the place of a stream.
type reader struct {
	feed      *feed
	selection *selection
	next      uint64 // sequence of the batch to read
	// missed are the selected events of batches that were evicted before they were read; gap are the events, of
	// whichever pods, of batches that were evicted before the reader was opened.
	missed map[podRef]uint64
	gap    uint64
}

// podRef names a pod by strings that belong to nobody else.
type podRef struct{ namespace, pod string }

// open returns a reader of the batches from a sequence on; 0: of those to come. It is false if there is no such batch
// yet. Batches that were evicted count as missed with all of their events. opened, if not nil, is called between the
// batches before those that are to come and the first of them.
func (f *feed) open(s *selection, from uint64, opened func()) (*reader, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if from == 0 {
		from = f.next
	}
	if from > f.next {
		return nil, false
	}
	r := &reader{feed: f, selection: s, next: from, missed: map[podRef]uint64{}}
	if oldest := f.oldest(); from < oldest {
		// Which pods they were of is not known any more.
		gone := f.counts[max(0, len(f.counts)-int(min(oldest-from, feedCounts))):]
		for _, n := range gone {
			r.gap += uint64(n)
		}
		r.next = oldest
	}
	f.readers[r] = struct{}{}
	if opened != nil {
		opened()
	}
	return r, true
}

func (r *reader) close() {
	r.feed.mu.Lock()
	defer r.feed.mu.Unlock()
	delete(r.feed.readers, r)
}

// miss counts evicted events. The feed's lock is held.
func (r *reader) miss(events [][]byte) {
	for _, encoded := range events {
		h, ok := event.ReadHeader(encoded)
		if !ok || h.Kind == "lost" || h.Kind == "nodeStatus" || !r.selection.matchHeader(&h) {
			continue
		}
		ref := podRef{string(h.Namespace), string(h.Pod)}
		if _, known := r.missed[ref]; !known && len(r.missed) >= maxMissedPods {
			ref = podRef{}
		}
		r.missed[ref]++
	}
}

// part is what a reader gets at once.
type part struct {
	// sequence is the number of the newest batch in it.
	sequence  uint64
	events    [][]byte
	watermark uint64
	// gap: the first events are losses in place of missing batches.
	gap bool
}

// read waits for batches and returns their selected events, of at most maxEvents unless one batch has more. Fewer
// events wait for more until ripe, if that is not nil, is received from.
func (r *reader) read(ctx context.Context, maxEvents int, ripe <-chan time.Time) (p part, err error) {
	for {
		r.feed.mu.Lock()
		changed := r.feed.changed
		var batches []feedBatch
		if ripe == nil || r.waiting() >= maxEvents {
			batches = r.nextBatches(maxEvents)
		}
		p.sequence = r.next - 1
		if len(batches) > 0 {
			p.events, p.gap = r.drainLosses()
		}
		r.feed.mu.Unlock()
		if len(batches) > 0 {
			r.fill(&p, batches)
			return p, nil
		}
		select {
		case <-changed:
		case <-ripe:
			ripe = nil
		case <-ctx.Done():
			return p, ctx.Err()
		}
	}
}

// waiting is the number of events that the reader has not read. The feed's lock is held.
func (r *reader) waiting() (events int) {
	for _, b := range r.feed.held[r.next-r.feed.oldest():] {
		events += len(b.events)
	}
	return events
}

// nextBatches moves the reader behind the batches that it returns. The feed's lock is held.
func (r *reader) nextBatches(maxEvents int) (batches []feedBatch) {
	events := 0
	for r.next < r.feed.next {
		b := r.feed.held[r.next-r.feed.oldest()]
		if events += len(b.events); len(batches) > 0 && events > maxEvents {
			break
		}
		batches = append(batches, b)
		r.next++
	}
	return batches
}

// drainLosses returns what the reader has missed, as events. The feed's lock is held.
func (r *reader) drainLosses() (events [][]byte, gap bool) {
	add := func(stage event.LossStage, ref podRef, n uint64) {
		ev, err := proto.Marshal(&event.Event{
			Time: r.feed.now(), Node: r.feed.node, Namespace: ref.namespace, Pod: ref.pod,
			Kind: &event.Event_Lost{Lost: &event.Lost{Stage: stage, Count: n}},
		})
		if err == nil { // names come from encoded events
			events = append(events, ev)
		}
	}
	if r.gap > 0 {
		add(event.LossStage_LOSS_STAGE_STREAM_GAP, podRef{}, r.gap)
	}
	for ref, n := range r.missed {
		add(event.LossStage_LOSS_STAGE_QUEUE, ref, n)
	}
	r.gap = 0
	clear(r.missed)
	return events, len(events) > 0
}

// fill selects the events of batches, which are immutable.
func (r *reader) fill(p *part, batches []feedBatch) {
	for _, b := range batches {
		for _, encoded := range b.events {
			if r.selection.match(encoded) {
				p.events = append(p.events, encoded)
			}
		}
		p.watermark = max(p.watermark, b.watermark)
	}
}
