package history

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"unique"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// Selection selects events. All of its fields have to match.
type Selection struct {
	// Since ≤ time < Until, ns since the Unix epoch. 0 is no limit.
	Since, Until uint64
	// Kinds are JSON names of kinds; none: all.
	Kinds []string
	// Match reports whether events with these names match; nil: all do. It has to return the same for the same names,
	// and must not keep them.
	Match func(Names) bool
	// Newest limits the result to the matching events that were appended last; 0: no limit.
	Newest int
	// LastStates leaves out events of TCP flows that have a later one, for up to maxLastFlows. It is slow with Newest.
	LastStates bool
	// Progress, if not nil, is called again and again while blocks are decoded, also where nothing in them is selected.
	// Its error ends the query.
	Progress func() error
	// Before limits the result to events that were appended before the mark was made; nil: before the query.
	Before *Mark
}

// Mark is a place between two events of a history, in the order in which they were appended.
type Mark struct {
	// block is the number of the block that was open, and events are those that it had.
	block, events int
}

// Mark returns the place behind the newest event.
func (r *Rolling) Mark() *Mark {
	r.mu.Lock()
	defer r.mu.Unlock()
	return &Mark{block: r.first + len(r.blocks), events: r.open.events}
}

// query is a Selection with what its blocks have shown.
type query struct {
	Selection
	kinds uint64
	end   *Mark
	known map[unique.Handle[string]]bool // results of Match
	skip  int                            // number of matching events to skip
	// superseded are, by block, the events to leave out for LastStates.
	superseded map[int]*superseded
}

func newQuery(s Selection) (*query, error) {
	q := &query{Selection: s, kinds: ^uint64(0), known: map[unique.Handle[string]]bool{}}
	if len(s.Kinds) > 0 {
		q.kinds = 0
	}
	fields := (&event.Event{}).ProtoReflect().Descriptor().Oneofs().ByName("kind").Fields()
	for _, name := range s.Kinds {
		f := fields.ByJSONName(name)
		if f == nil {
			return nil, fmt.Errorf("query of history: no kind of event is named %q", name)
		}
		q.kinds |= kindBit(uint64(f.Number()))
	}
	return q, nil
}

// Query calls yield with the selected events that the history held when the query began, in the order in which they
// were appended. An event is valid during the call. Events that are evicted meanwhile may be left out. The query ends
// with the first error of yield or ctx. With Newest, truncated reports whether more events matched.
func (r *Rolling) Query(ctx context.Context, s Selection, yield func(ev []byte) error) (truncated bool, err error) {
	q, err := newQuery(s)
	if err != nil {
		return false, err
	}
	if q.end = s.Before; q.end == nil {
		q.end = r.Mark()
	}
	if s.LastStates {
		if err := r.findSuperseded(ctx, q); err != nil {
			return false, err
		}
	}
	if s.Newest > 0 && s.Newest <= maxTail {
		events, truncated, err := r.newest(ctx, q)
		if err == nil {
			return truncated, yieldAll(events, yield)
		}
		if !errors.Is(err, errTail) {
			return false, err
		}
	}
	from := 0
	if s.Newest > 0 {
		if from, err = r.findNewest(ctx, q); err != nil {
			return false, err
		}
		truncated = q.skip > 0
	}
	for number := from; number <= q.end.block; number++ {
		b, first, ok := r.block(q, number)
		if !ok {
			number, q.skip = first-1, 0
			continue
		}
		if _, err := r.scan(ctx, q, number, b, nil, yield); err != nil {
			return truncated, err
		}
	}
	return truncated, nil
}

// findNewest returns the number of the block with the first of the newest events, and sets how many to skip in it.
func (r *Rolling) findNewest(ctx context.Context, q *query) (int, error) {
	matched := 0
	for number := q.end.block; ; number-- {
		b, _, ok := r.block(q, number)
		if !ok {
			return number + 1, nil
		}
		n, err := r.scan(ctx, q, number, b, nil, nil)
		if err != nil {
			return 0, err
		}
		if matched += n; matched > q.Newest {
			q.skip = matched - q.Newest
			return number, nil
		}
	}
}

// block returns a copy of a block. It reports false, and the number of the oldest block, if that is evicted.
func (r *Rolling) block(q *query, number int) (b block, first int, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch i := number - r.first; {
	case i < 0:
		return b, r.first, false
	case i < len(r.blocks):
		b = *r.blocks[i]
	case q.mayMatch(&r.open):
		b = block{blockInfo: r.open, columns: r.encoder.columns()}
	}
	if number == q.end.block {
		b.events = min(b.events, q.end.events)
	}
	return b, r.first, true
}

// scan calls yield, if it is not nil, with the selected events of a block, and adds them to end, if that is not nil. It
// returns their number.
func (r *Rolling) scan(
	ctx context.Context, q *query, number int, b block, end *tail, yield func(ev []byte) error,
) (matched int, err error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	left := q.superseded[number]
	if !q.mayRead(&b) || left != nil && left.all {
		return 0, nil
	}
	d, err := r.decoder(&b)
	if err != nil {
		return 0, r.damaged(number, &b, err)
	}
	for i := range b.events {
		if err := q.progress(ctx, i); err != nil {
			return matched, err
		}
		if ok, err := d.next(); err != nil || !ok {
			return matched, r.damaged(number, &b, err)
		}
		if left.has(i) || !q.matches(d) {
			continue
		}
		if matched++; end != nil {
			if err := end.add(d); err != nil {
				return matched, err
			}
		}
		if yield == nil {
			continue
		}
		if q.skip > 0 {
			q.skip--
			continue
		}
		ev, err := d.event()
		if err != nil {
			return matched, r.damaged(number, &b, err)
		}
		if err := yield(ev); err != nil {
			return matched, err
		}
	}
	if end != nil {
		if err := end.encode(d); errors.Is(err, errTail) {
			return matched, err
		} else if err != nil {
			return matched, r.damaged(number, &b, err)
		}
	}
	return matched, nil
}

// progressEvery is the number of decoded events between two calls of Progress: less than a millisecond.
const progressEvery = 256

// progress goes on with a block's event of a number.
func (q *query) progress(ctx context.Context, number int) error {
	if number%progressEvery != progressEvery-1 {
		return nil
	}
	if err := ctx.Err(); err != nil || q.Progress == nil {
		return err
	}
	return q.Progress()
}

// decoder returns a decoder of a block's events.
func (r *Rolling) decoder(b *block) (*columnDecoder, error) {
	c := b.columns
	if c == nil {
		packed := b.packed
		var err error
		if packed == nil {
			if packed, err = r.disk.read(b.stored); err != nil {
				return nil, err
			}
		}
		body, err := r.unzip.DecodeAll(packed, make([]byte, 0, b.unpacked))
		if err != nil {
			return nil, err
		}
		if c, err = parseColumns(body, b.blockInfo.events); err != nil {
			return nil, err
		}
	}
	return newColumnDecoder(c)
}

// damaged discards a block that cannot be read, unless it was evicted meanwhile. The query goes on.
func (r *Rolling) damaged(number int, b *block, err error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return fmt.Errorf("query of history: %w", os.ErrClosed)
	}
	i := number - r.first
	if i < 0 || i >= len(r.blocks) || b.columns == nil && b.packed == nil && b.stored.segment.removed.Load() {
		return nil
	}
	if err == nil {
		err = errColumns
	}
	r.log.Warn("a block of the history is discarded", "events", b.events, "error", err)
	r.discard(r.blocks[i])
	r.dropUnstored()
	return nil
}

// mayRead reports whether a block may have selected events.
func (q *query) mayRead(b *block) bool {
	return b.events > 0 && !b.isGone() && q.mayMatch(&b.blockInfo) && q.mayMatchNames(&b.blockInfo)
}

// mayMatch reports whether a block may hold selected events by its times and kinds.
func (q *query) mayMatch(b *blockInfo) bool {
	return b.newest >= q.Since && (q.Until == 0 || b.oldest < q.Until) && b.kinds&q.kinds != 0
}

// mayMatchNames reports whether a block may hold selected events by its names.
func (q *query) mayMatchNames(b *blockInfo) bool {
	if q.Match == nil || b.anyName {
		return true
	}
	for _, name := range b.names {
		match, ok := q.known[name]
		if !ok {
			match = q.Match(parseNames([]byte(name.Value())))
			q.known[name] = match
		}
		if match {
			return true
		}
	}
	return false
}

// matches reports whether the decoder's present event is selected.
func (q *query) matches(d *columnDecoder) bool {
	h := d.header(d.shape, d.fields)
	return h.time >= q.Since && (q.Until == 0 || h.time < q.Until) && h.kind&q.kinds != 0 &&
		(q.Match == nil || q.Match(h.names))
}

// appendNames appends names as blockInfo holds them.
func appendNames(dst []byte, n Names) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(n.Namespace)))
	dst = append(dst, n.Namespace...)
	dst = binary.AppendUvarint(dst, uint64(len(n.Pod)))
	dst = append(dst, n.Pod...)
	return append(dst, n.Workload...)
}

// parseNames is the reverse of appendNames. Names that are cut are empty.
func parseNames(b []byte) (n Names) {
	for _, name := range []*[]byte{&n.Namespace, &n.Pod} {
		size, ok := readUvarint(&b)
		if !ok || size > uint64(len(b)) {
			return Names{}
		}
		*name, b = b[:size], b[size:]
	}
	n.Workload = b
	return n
}
