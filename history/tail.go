package history

import (
	"bytes"
	"context"
	"errors"
	"slices"
)

const (
	// maxTail is the largest number of newest events that are found by decoding blocks once. For more events, and for
	// events of more than maxTailBytes, blocks are decoded twice. A row takes some 300 bytes until the block's end, and
	// its event as many, but containers decide how long names and arguments are.
	maxTail      = 8192
	maxTailBytes = 8 << 20
)

// errTail: the newest events take too much memory.
var errTail = errors.New("the newest events are too large")

// tail keeps the last selected rows of a block.
type tail struct {
	limit int
	rows  []row // a ring
	next  int   // the oldest row, once there are limit of them
	// bytes are those of the rows, and of the events of all blocks.
	bytes  int
	events [][]byte
}

// row is an event before it is encoded.
type row struct {
	shape  *shape
	fields []uint64
}

// add adds the decoder's present event.
func (t *tail) add(d *columnDecoder) error {
	if t.limit == 0 {
		return nil
	}
	if len(t.rows) < t.limit {
		t.rows = append(t.rows, row{})
	}
	r := &t.rows[t.next]
	if t.next++; t.next == t.limit {
		t.next = 0
	}
	t.bytes -= 8 * cap(r.fields)
	r.shape, r.fields = d.shape, append(r.fields[:0], d.fields...)
	t.bytes += 8 * cap(r.fields)
	return t.check()
}

func (t *tail) check() error {
	if t.bytes > maxTailBytes {
		return errTail
	}
	return nil
}

// encode encodes the rows, oldest first, and forgets them.
func (t *tail) encode(d *columnDecoder) error {
	for i := range t.rows {
		r := &t.rows[(t.next+i)%len(t.rows)]
		d.shape, d.fields = r.shape, r.fields
		ev, err := d.event()
		if err != nil {
			return err
		}
		t.events = append(t.events, bytes.Clone(ev))
		t.bytes += len(ev) - 8*cap(r.fields)
		if err := t.check(); err != nil {
			return err
		}
	}
	t.rows = nil
	return nil
}

// newest returns up to maxTail of the newest events, oldest first, and whether more matched. It decodes each block
// once, from the newest one on. Its error is errTail where the events take more than maxTailBytes.
func (r *Rolling) newest(ctx context.Context, q *query) (events [][]byte, truncated bool, err error) {
	var ends []*tail
	left, bytes := q.Newest, 0
	for number := q.end.block; !truncated; number-- {
		b, _, ok := r.block(q, number)
		if !ok {
			break
		}
		end := &tail{limit: left, bytes: bytes}
		matched, err := r.scan(ctx, q, number, b, end, nil)
		if err != nil {
			return nil, false, err
		}
		ends = append(ends, end)
		truncated = matched > left
		left -= len(end.events)
		bytes = end.bytes
	}
	for _, end := range slices.Backward(ends) {
		events = append(events, end.events...)
	}
	return events, truncated, nil
}

func yieldAll(events [][]byte, yield func(ev []byte) error) error {
	for _, ev := range events {
		if err := yield(ev); err != nil {
			return err
		}
	}
	return nil
}
