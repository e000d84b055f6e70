package history

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// columnDecoder turns columns into encoded events. It accepts untrusted columns.
type columnDecoder struct {
	columnState
	streams [][]byte
	left    int
	raw     int
	unread  []byte // of the texts

	// Of the event.
	shape  *shape
	fields []uint64
	buffer []byte // the end of it is the event
	at     int
}

func newColumnDecoder(c *columns) (*columnDecoder, error) {
	d := &columnDecoder{streams: slices.Clone(c.streams), left: c.events}
	d.reset()
	d.literals, d.unread = c.streams[streamTexts], c.streams[streamTexts]
	for len(d.streams[streamShapes]) > 0 {
		n, ok := d.readNumber(streamShapes)
		if !ok || n > maxTags {
			return nil, fmt.Errorf("%w: a shape of %d tokens, limit %d", errColumns, n, maxTags)
		}
		tags := make([]uint64, n)
		for i := range tags {
			if tags[i], ok = d.readNumber(streamShapes); !ok {
				return nil, fmt.Errorf("%w: a shape without its end", errColumns)
			}
		}
		if err := d.addShape(tags); err != nil {
			return nil, err
		}
	}
	return d, nil
}

func (d *columnDecoder) readNumber(stream int) (uint64, bool) {
	if stream >= len(d.streams) {
		return 0, false
	}
	return readUvarint(&d.streams[stream])
}

// readText returns the number of a text.
func (d *columnDecoder) readText(stream int) (uint64, bool) {
	id, ok := d.readNumber(stream)
	if id > 0 || !ok {
		return id - 1, ok && id <= uint64(len(d.texts))
	}
	size, ok := readUvarint(&d.unread)
	if !ok || size > uint64(len(d.unread)) || len(d.texts) >= maxTexts {
		return 0, false
	}
	d.texts = append(d.texts, span{uint32(len(d.literals) - len(d.unread)), uint32(size)})
	d.unread = d.unread[size:]
	return uint64(len(d.texts) - 1), true
}

// next reads an event's fields. It reports false behind the last event.
func (d *columnDecoder) next() (bool, error) {
	if d.left == 0 {
		return false, nil
	}
	d.left--
	number, ok := d.readNumber(streamShape)
	changes, ok2 := d.readText(streamChanges)
	if !ok || !ok2 || number>>1 >= uint64(len(d.shapes)) {
		return false, fmt.Errorf("%w: an event without a shape", errColumns)
	}
	fork := number&1 == 1
	d.shape = &d.shapes[number>>1]
	base := d.shape.last
	if !fork {
		v, ok := d.readNumber(streamBase)
		next := int64(d.series[d.previous].next) + protowire.DecodeZigZag(v)
		if !ok || next < 0 || next >= int64(len(d.series)) {
			return false, fmt.Errorf("%w: an event without a base", errColumns)
		}
		base = int(next)
	}
	if len(d.values)+len(d.shape.leaves) > maxValues {
		return false, fmt.Errorf("%w: more than %d values", errColumns, maxValues)
	}
	d.fields = d.begin(base, int(number>>1), fork)
	for i, set := range d.text(changes) {
		for ; set != 0; set &= set - 1 {
			if field := 8*i + bits.TrailingZeros8(set); !d.readField(field) {
				return false, fmt.Errorf("%w: an event without field %d", errColumns, field)
			}
		}
	}
	if d.shape.time >= 0 {
		d.time = d.fields[d.shape.time]
	}
	return true, nil
}

// readField reads a field that differs from the base.
func (d *columnDecoder) readField(i int) (ok bool) {
	if i >= len(d.fields) {
		return false
	}
	l := d.shape.leaves[i]
	if l.wire == protowire.BytesType {
		d.fields[i], ok = d.readText(l.stream)
		return ok
	}
	v, ok := d.readNumber(l.stream)
	d.fields[i] += uint64(protowire.DecodeZigZag(v))
	return ok && (l.wire != protowire.Fixed32Type || d.fields[i] <= math.MaxUint32)
}

// event returns the encoded event whose fields next has read. It is valid until the next call.
func (d *columnDecoder) event() ([]byte, error) {
	// Backwards, the length of a message is known when its own tag comes.
	d.at = len(d.buffer)
	var ends [maxNesting + 1]int
	depth, i := 0, len(d.fields)
	for t := len(d.shape.tags) - 1; t >= 0; t-- {
		switch tag := d.shape.tags[t]; protowire.Type(tag & 7) {
		case protowire.EndGroupType:
			depth++
			ends[depth] = len(d.buffer) - d.at
		case protowire.StartGroupType:
			d.prependUvarint(uint64(len(d.buffer) - d.at - ends[depth]))
			d.prependUvarint(tag&^7 | uint64(protowire.BytesType))
			depth--
		default:
			i--
			if !d.prependField(tag, d.fields[i]) {
				return nil, fmt.Errorf("%w: an event of more than %d bytes", errColumns, maxEvent)
			}
		}
	}
	if d.raw += len(d.buffer) - d.at; d.raw > maxRaw {
		return nil, fmt.Errorf("%w: events of more than %d bytes", errColumns, maxRaw)
	}
	return d.buffer[d.at:], nil
}

// prependField reports whether there was room for a field.
func (d *columnDecoder) prependField(tag, v uint64) bool {
	var text []byte
	switch protowire.Type(tag & 7) {
	case protowire.BytesType:
		if text = d.text(v); len(text)+len(d.buffer)-d.at > maxEvent {
			return false
		}
		d.at -= len(text)
		d.makeRoom()
		copy(d.buffer[d.at:], text)
		if tag == verbatimTag {
			return true
		}
		d.prependUvarint(uint64(len(text)))
	case protowire.VarintType:
		d.prependUvarint(v)
	case protowire.Fixed64Type:
		d.at -= 8
		d.makeRoom()
		binary.LittleEndian.PutUint64(d.buffer[d.at:], v)
	case protowire.Fixed32Type:
		d.at -= 4
		d.makeRoom()
		binary.LittleEndian.PutUint32(d.buffer[d.at:], uint32(v))
	}
	d.prependUvarint(tag)
	return len(d.buffer)-d.at <= maxEvent
}

func (d *columnDecoder) prependUvarint(v uint64) {
	d.at -= (bits.Len64(v|1) + 6) / 7
	d.makeRoom()
	binary.PutUvarint(d.buffer[d.at:], v)
}

// makeRoom grows the buffer at its front until at is in it.
func (d *columnDecoder) makeRoom() {
	if d.at >= 0 {
		return
	}
	grown := make([]byte, 2*len(d.buffer)-d.at+512)
	moved := len(grown) - len(d.buffer)
	copy(grown[moved:], d.buffer)
	d.buffer, d.at = grown, d.at+moved
}
