package export

import "encoding/binary"

// chunkBytes is the size of the parts in which a queue grows, and in which it drops.
const chunkBytes = 32 << 10

// queue holds encoded events, the oldest first, within a limit of bytes. It is not safe for concurrent use.
type queue struct {
	limit  int
	bytes  int // memory of the chunks
	chunks []*chunk
	spare  *chunk
}

// chunk is a part of a queue: encoded events with their lengths before them.
type chunk struct {
	buf    []byte
	events int
	next   int // offset of the first event that was not taken
}

// push adds an event at the end, and returns how many of the oldest were dropped for it.
func (q *queue) push(ev []byte) (dropped int) {
	need := len(ev) + binary.MaxVarintLen32
	last := q.last()
	if last == nil || cap(last.buf)-len(last.buf) < need {
		last = q.grow(max(need, min(chunkBytes, q.limit/8)))
		dropped = q.shrink()
	}
	last.buf = binary.AppendUvarint(last.buf, uint64(len(ev)))
	last.buf = append(last.buf, ev...)
	last.events++
	return dropped
}

func (q *queue) last() *chunk {
	if len(q.chunks) == 0 {
		return nil
	}
	return q.chunks[len(q.chunks)-1]
}

// grow adds an empty chunk of a size.
func (q *queue) grow(size int) *chunk {
	c := q.spare
	q.spare = nil
	if c == nil || cap(c.buf) < size {
		c = &chunk{buf: make([]byte, 0, size)}
	}
	q.chunks = append(q.chunks, c)
	q.bytes += cap(c.buf)
	return c
}

// shrink drops the oldest chunks beyond the limit, but not the last one, and returns the number of their events.
func (q *queue) shrink() (dropped int) {
	for q.bytes > q.limit && len(q.chunks) > 1 {
		c := q.pop()
		dropped += c.events
		q.release(c)
	}
	return dropped
}

// pop removes the oldest chunk; nil: the queue is empty.
func (q *queue) pop() *chunk {
	if len(q.chunks) == 0 {
		return nil
	}
	c := q.chunks[0]
	q.chunks[0] = nil
	q.chunks = q.chunks[1:]
	q.bytes -= cap(c.buf)
	return c
}

// release takes back a chunk whose events were taken.
func (q *queue) release(c *chunk) {
	if cap(c.buf) == min(chunkBytes, q.limit/8) {
		*c = chunk{buf: c.buf[:0]}
		q.spare = c
	}
}

// peek returns the next event of a chunk, with the offset behind it; nil: there is none.
func (c *chunk) peek() (ev []byte, next int) {
	if c.next >= len(c.buf) {
		return nil, c.next
	}
	size, n := binary.Uvarint(c.buf[c.next:])
	begin := c.next + n
	next = begin + int(size)
	return c.buf[begin:next:next], next
}

// skip takes the event that ends at an offset.
func (c *chunk) skip(next int) {
	c.next = next
	c.events--
}
