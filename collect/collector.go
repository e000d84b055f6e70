package collect

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// Collector merges the streams of nodes. Its methods may be called from any goroutine.
type Collector struct {
	o Options
	// epoch is the time of instants.
	epoch time.Time

	mu      sync.Mutex
	sources map[string]*Source
	index   index
	names   shared[Name]
	recent  flows // open flows, the longest unchanged first
	order   order // what waits to be emitted, oldest first
	// typical is the median of the watermarks when that was read last, of which marks is the memory.
	typical     uint64
	typicalRead time.Time
	marks       []uint64
	serial      uint64
	// Approximate memory of events that wait to be emitted, and of the halves of open flows.
	pendingBytes, flowBytes int
	// held is the memory that was reported last, tight whether that was too much.
	held      int
	tight     bool
	clocks    map[string]uint32 // by kernel
	lastClock uint32
	timers    timers // flows to check again
	// Recorded: the time of the newest event, and the memory of emitted ones.
	played     time.Time
	out        *batch
	tombstones tombstones
	queries    queries
	loss       lossCounter

	finished bool
	cut      bool          // Run ended before all events were emitted
	ended    chan struct{} // closed when Run has ended
	wake     chan struct{} // makes Run repeat its check
	room     chan struct{} // closed when there is room again; nil while there is
}

// New returns a Collector with defaults for unset options.
func New(o Options) *Collector {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&o.Interval, time.Second)
	def(&o.JoinWindow, 300*time.Millisecond)
	def(&o.MaxDelay, 250*time.Millisecond)
	def(&o.CloseWait, max(2*time.Second, 2*o.Interval))
	def(&o.Linger, 15*time.Second)
	if o.MaxFlows == 0 {
		o.MaxFlows = 200_000
	}
	if o.MaxPending == 0 {
		o.MaxPending = 1 << 16
	}
	o.MaxFlowBytes = cmp.Or(o.MaxFlowBytes, 512<<20)
	o.MaxPendingBytes = cmp.Or(o.MaxPendingBytes, 64<<20)
	o.MaxClosedBytes = cmp.Or(o.MaxClosedBytes, 64<<20)
	epoch := time.Now()
	if o.Recorded {
		epoch = time.Unix(0, 0)
	}
	return &Collector{
		o:          o,
		epoch:      epoch,
		sources:    map[string]*Source{},
		index:      newIndex(),
		names:      newShared[Name](maxSharedNames),
		tombstones: newTombstones(o.MaxClosedBytes),
		queries:    newQueries(),
		clocks:     map[string]uint32{},
		ended:      make(chan struct{}),
		wake:       make(chan struct{}, 1),
	}
}

// Finish ends the input: Run emits all held events, without waiting for second halves, and returns nil.
func (c *Collector) Finish() {
	c.mu.Lock()
	c.finished = true
	c.mu.Unlock()
	c.poke()
}

// emitBatch limits the events that are built while the lock is held once.
const emitBatch = 128

// Run emits the merged events until ctx ends, or Finish was called and all is emitted, or emit fails; it returns emit's
// error, or nil. Events that still wait when ctx ends are counted as lost, which the last events report. The event is
// valid only until emit returns. Run calls emit from the caller's goroutine. Run may be called once.
func (c *Collector) Run(ctx context.Context, emit func(*event.Event) error) error {
	defer close(c.ended)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	out := newBatch(emitBatch)
	for {
		next, done := c.collect(out)
		for _, ev := range out.events {
			if err := emit(ev); err != nil {
				return err
			}
		}
		if len(out.events) > 0 {
			if ctx.Err() != nil {
				return c.abandon(emit)
			}
			continue
		}
		if done {
			return nil
		}
		timer.Reset(next)
		select {
		case <-ctx.Done():
			return c.abandon(emit)
		case <-c.wake:
			timer.Reset(c.gatherTime())
			select {
			case <-ctx.Done():
				return c.abandon(emit)
			case <-timer.C:
			}
		case <-timer.C:
		}
	}
}

const (
	// gatherFrom is the number of sources from which batches are gathered: each check reads the watermarks of all
	// sources. gatherTimePerSource makes that a small part of a CPU, whatever their number; with 1,000 it is 20 ms.
	gatherFrom          = 32
	gatherTimePerSource = 20 * time.Microsecond
)

// gatherTime is how long Run waits for further batches after one: not at all with few sources, or where a source waits
// for room.
func (c *Collector) gatherTime() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.sources) < gatherFrom || c.room != nil || c.hurry() {
		return 0
	}
	return min(time.Duration(len(c.sources))*gatherTimePerSource, c.o.MaxDelay/8)
}

// collect fills out with what may be emitted now. It returns how long to wait before the next call when that is
// nothing, and whether nothing will come any more.
func (c *Collector) collect(out *batch) (next time.Duration, done bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	clock := c.at(now)
	out.reset()
	c.tombstones.expire(now)
	c.expireQueries(now)
	for {
		f, at := c.timers.first()
		if f == nil || clock < at && !c.finished {
			break
		}
		c.timers.remove(f)
		c.expired(f, now)
	}
	if c.loss.due(now, c.finished) {
		c.push(c.loss.event(now), now)
	}
	promised := c.promised(now)
	c.readTypical(now)
	hurry := c.hurry()
	for len(out.events) < emitBatch && len(c.order) > 0 {
		it := c.order[0].item
		if !hurry && clock < c.releaseAt(it, promised) {
			if c.setAside(it) {
				continue
			}
			break
		}
		c.dequeue(it)
		if f := it.flow; f != nil && !hurry && c.behind(f, now) {
			c.timers.set(f, clock.add(c.behindCheck()))
			continue
		}
		c.emit(it, out, now)
		hurry = c.hurry()
	}
	c.shed(now)
	if c.room != nil && c.hasRoom() {
		close(c.room)
		c.room = nil
	}
	next = time.Hour
	if len(c.order) > 0 {
		next = min(next, c.releaseAt(c.order[0].item, promised).since(clock))
	}
	if c.tight && len(c.order) > 0 {
		next = 0
	}
	if f, at := c.timers.first(); f != nil {
		next = min(next, at.since(clock))
	}
	if at, ok := c.queries.next(); ok {
		next = min(next, at.Sub(now))
	}
	if at, ok := c.loss.next(); ok {
		next = min(next, at.Sub(now))
	}
	return max(next, 0), c.finished && len(c.order) == 0 && c.timers.len() == 0
}

// releaseAt is when an item may go out: once it has waited for what it waits for, and every node has promised nothing
// older or the longest delay is over.
func (c *Collector) releaseAt(it *item, promised uint64) instant {
	if it.key > promised && !c.isLate(it) {
		if late := it.arrived.add(c.o.MaxDelay); late > it.due {
			return late
		}
	}
	return it.due
}

// typicalInterval is the time between two readings of the median of the watermarks.
const typicalInterval = 25 * time.Millisecond

// readTypical reads the median of the watermarks.
func (c *Collector) readTypical(now time.Time) {
	if c.o.Recorded || now.Sub(c.typicalRead) < typicalInterval {
		return
	}
	c.typicalRead, c.marks = now, c.marks[:0]
	for _, s := range c.sources {
		if s.open {
			c.marks = append(c.marks, s.watermark)
		}
	}
	slices.Sort(c.marks)
	if n := len(c.marks); n > 0 {
		c.typical = c.marks[n/2]
	}
}

// isLate reports whether most nodes have long promised nothing older. Such an event of a slow node waits for no others,
// and is out of the order of times.
func (c *Collector) isLate(it *item) bool {
	return !c.o.Recorded && it.key+uint64(c.o.MaxDelay) < c.typical
}

// setAside takes a late flow, which waits for its second half, out of the order until it is due. There it would hold up
// all others, and the next one of a slow node after it. It returns false for all other items.
func (c *Collector) setAside(it *item) bool {
	f := it.flow
	if f == nil || f.closing || !c.isLate(it) {
		return false
	}
	c.dequeue(it)
	c.timers.set(f, it.due)
	return true
}

// hasRoom reports whether more events may wait.
func (c *Collector) hasRoom() bool {
	return len(c.order) < c.o.MaxPending && c.pendingBytes < c.o.MaxPendingBytes && (!c.tight || len(c.order) == 0)
}

// hurry reports whether events are emitted without waiting for others.
func (c *Collector) hurry() bool {
	return c.finished || c.tight || len(c.order) > c.o.MaxPending/2 || c.pendingBytes > c.o.MaxPendingBytes/2
}

// clock numbers the clock of a kernel.
func (c *Collector) clock(kernel string) uint32 {
	n, ok := c.clocks[kernel]
	if !ok {
		c.lastClock++
		n = c.lastClock
		if kernel != "" && len(c.clocks) < maxClocks {
			c.clocks[kernel] = n
		}
	}
	return n
}

// maxClocks bounds the kernels that are distinguished: tracers name them.
const maxClocks = 1 << 14

// poke makes Run check again.
func (c *Collector) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}
