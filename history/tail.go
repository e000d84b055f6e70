package history

import (
	"bytes"
	"context"
	"slices"
)

// maxTail is the largest number of newest events that are found by decoding blocks once. A row takes some 300 bytes
// until the block's end, and its event as many. For more events blocks are decoded twice.
const maxTail = 8192

// tail keeps the last selected rows of a block.
type tail struct {
	limit  int
	rows   []row // a ring
	next   int   // the oldest row, once there are limit of them
	events [][]byte
}

// row is an event before it is encoded.
type row struct {
	shape  *shape
	fields []uint64
}

// add adds the decoder's present event.
func (t *tail) add(d *columnDecoder) {
	if t.limit == 0 {
		return
	}
	if len(t.rows) < t.limit {
		t.rows = append(t.rows, row{d.shape, slices.Clone(d.fields)})
		return
	}
	old := &t.rows[t.next]
	old.shape, old.fields = d.shape, append(old.fields[:0], d.fields...)
	if t.next++; t.next == t.limit {
		t.next = 0
	}
}

// encode encodes the rows, oldest first, and forgets them.
func (t *tail) encode(d *columnDecoder) error {
	for _, rows := range [][]row{t.rows[t.next:], t.rows[:t.next]} {
		for i := range rows {
			d.shape, d.fields = rows[i].shape, rows[i].fields
			ev, err := d.event()
			if err != nil {
				return err
			}
			t.events = append(t.events, bytes.Clone(ev))
		}
	}
	t.rows = nil
	return nil
}

// yieldNewest is Query for up to maxTail of the newest events. It decodes each block once, from the newest one on.
func (r *Rolling) yieldNewest(
	ctx context.Context, q *query, yield func(ev []byte) error,
) (truncated bool, err error) {
	var ends []*tail
	left := q.Newest
	for number := q.end.block; !truncated; number-- {
		b, _, ok := r.block(q, number)
		if !ok {
			break
		}
		end := &tail{limit: left}
		matched, err := r.scan(ctx, q, number, b, end, nil)
		if err != nil {
			return false, err
		}
		ends = append(ends, end)
		truncated = matched > left
		left -= len(end.events)
	}
	for _, end := range slices.Backward(ends) {
		for _, ev := range end.events {
			if err := yield(ev); err != nil {
				return truncated, err
			}
		}
	}
	return truncated, nil
}
