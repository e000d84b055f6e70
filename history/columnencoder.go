package history

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	"math/bits"
	"slices"
	"sync"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// message is a type of messages: its fields by their numbers.
type message struct{ fields []messageField }

type messageField struct {
	wire protowire.Type // -1: there is no such field
	// identity: events that differ in this field are of different series. It is set for texts and addresses, and for
	// ports and process ids, which are uint32 without presence, and not for amounts.
	identity bool
	child    *message
}

var eventSchema = sync.OnceValue(func() (s struct {
	root  *message
	kinds uint64
}) {
	d := (&event.Event{}).ProtoReflect().Descriptor()
	kinds := d.Oneofs().ByName("kind").Fields()
	for i := range kinds.Len() {
		s.kinds |= 1 << kinds.Get(i).Number()
	}
	s.root = newMessage(d, 0)
	return s
})

// kindBit returns 1 << number if the field of this number is a kind of event, else 0.
func kindBit(number uint64) uint64 {
	if number > 63 {
		return 0
	}
	return eventSchema().kinds & (1 << number)
}

func newMessage(d protoreflect.MessageDescriptor, depth int) *message {
	m := &message{}
	fields := d.Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		for len(m.fields) <= int(f.Number()) {
			m.fields = append(m.fields, messageField{wire: -1})
		}
		t := &m.fields[f.Number()]
		switch kind := f.Kind(); kind {
		case protoreflect.MessageKind:
			if t.wire = protowire.BytesType; depth < maxNesting-1 {
				t.child = newMessage(f.Message(), depth+1)
			}
		case protoreflect.StringKind, protoreflect.BytesKind:
			t.wire, t.identity = protowire.BytesType, true
		case protoreflect.Fixed64Kind, protoreflect.Sfixed64Kind, protoreflect.DoubleKind:
			t.wire = protowire.Fixed64Type
		case protoreflect.Fixed32Kind, protoreflect.Sfixed32Kind, protoreflect.FloatKind:
			t.wire = protowire.Fixed32Type
		default:
			t.wire, t.identity = protowire.VarintType, kind == protoreflect.Uint32Kind && !f.HasPresence()
		}
		if f.IsPacked() {
			t.wire, t.identity = protowire.BytesType, false
		}
	}
	return m
}

// columnEncoder turns encoded events into columns.
type columnEncoder struct {
	columnState
	streams  [][]byte
	events   int
	raw      int // bytes of the events
	size     int // bytes of memory, without what is reused
	shapeBy  map[uint64]int
	textBy   map[uint64]int
	seriesBy map[uint64]int
	seed     maphash.Seed

	// Of the event.
	tags    []uint64
	fields  []fieldValue
	hash    uint64 // of the fields that make its series
	changes []byte // bits of the fields that differ from its base
}

type fieldValue struct {
	number   uint64
	text     []byte
	identity bool
}

func newColumnEncoder() *columnEncoder {
	e := &columnEncoder{shapeBy: map[uint64]int{}, textBy: map[uint64]int{}, seriesBy: map[uint64]int{},
		seed: maphash.MakeSeed()}
	e.reset()
	return e
}

// reset starts a block. It leaves the streams to whoever holds them.
func (e *columnEncoder) reset() {
	e.columnState.reset()
	e.streams, e.events, e.raw, e.size = make([][]byte, firstField), 0, 0, 0
	clear(e.shapeBy)
	clear(e.textBy)
	clear(e.seriesBy)
}

// columns returns the events so far. Later calls of add do not change them.
func (e *columnEncoder) columns() *columns {
	c := &columns{e.events, slices.Clone(e.streams)}
	c.streams[streamTexts] = e.literals
	return c
}

// isFull reports whether the block has to be sealed at a limit of memory, bytes.
func (e *columnEncoder) isFull(limit int) bool {
	return e.size >= limit || e.events >= maxEvents || e.raw >= maxRaw-maxEvent || e.tokens >= maxTokens-maxTags
}

// mapEntry and seriesEntry are the memory that an entry takes, bytes, with the room that a map or a slice keeps free.
const (
	mapEntry    = 40
	seriesEntry = mapEntry + 2*24
	shapeEntry  = mapEntry + 2*128
	tokenEntry  = 2 * (8 + 16 + mapEntry)
	textEntry   = mapEntry + 2*8
)

func (e *columnEncoder) writeNumber(stream int, v uint64) {
	for stream >= len(e.streams) {
		e.streams = append(e.streams, nil)
		e.size += 2 * 24
	}
	s := e.streams[stream]
	before := cap(s)
	s = binary.AppendUvarint(s, v)
	e.streams[stream] = s
	e.size += cap(s) - before
}

// writeText writes a text and returns its number.
func (e *columnEncoder) writeText(stream int, text []byte) uint64 {
	if len(text) == 0 {
		e.writeNumber(stream, 1)
		return 0
	}
	hash := maphash.Bytes(e.seed, text)
	if id, ok := e.textBy[hash]; ok && bytes.Equal(e.text(uint64(id)), text) {
		e.writeNumber(stream, uint64(id)+1)
		return uint64(id)
	}
	id := len(e.texts)
	e.textBy[hash] = id
	before := cap(e.literals)
	e.literals = binary.AppendUvarint(e.literals, uint64(len(text)))
	e.texts = append(e.texts, span{uint32(len(e.literals)), uint32(len(text))})
	e.literals = append(e.literals, text...)
	e.size += cap(e.literals) - before + textEntry
	e.writeNumber(stream, 0)
	return uint64(id)
}

// add appends an event. It returns its header, which is valid until the next call, and whether the names in it may be
// new to the block.
func (e *columnEncoder) add(ev []byte) (h header, renamed bool) {
	e.parse(ev)
	base, fork := e.series[e.previous].next, false
	number := e.series[base].shape
	sh := &e.shapes[number]
	found := slices.Equal(sh.tags, e.tags) && e.compare(sh, e.values[e.series[base].at:], true)
	if !found {
		number = e.findShape()
		base, fork = e.findBase(number)
	}
	if fork {
		e.writeNumber(streamShape, uint64(number)<<1|1)
	} else {
		e.writeNumber(streamShape, uint64(number)<<1)
		e.writeNumber(streamBase, protowire.EncodeZigZag(int64(base-e.series[e.previous].next)))
	}
	before := cap(e.values)
	values := e.begin(base, number, fork)
	e.size += 8 * (cap(e.values) - before)
	if sh = &e.shapes[number]; !found {
		e.compare(sh, values, false)
	}
	e.writeFields(sh, values)
	if fork {
		e.seriesBy[e.hash] = e.previous
	}
	if sh.time >= 0 {
		e.time = values[sh.time]
	}
	e.events++
	e.raw += len(ev)
	renamed = fork || sh.isVerbatim() || e.changed(sh.namespace) || e.changed(sh.pod) || e.changed(sh.workload)
	return e.header(sh, values), renamed
}

// findBase returns the series of the event, or the base of a new one.
func (e *columnEncoder) findBase(number int) (base int, fork bool) {
	e.hash = 0
	for i, l := range e.shapes[number].leaves {
		if l.identity {
			f := &e.fields[i]
			if l.wire == protowire.BytesType {
				f.number = maphash.Bytes(e.seed, f.text)
			}
			e.hash = (e.hash ^ uint64(l.stream) ^ f.number) * prime
		}
	}
	base, ok := e.seriesBy[e.hash]
	if !ok {
		e.size += seriesEntry
		return e.shapes[number].last, true
	}
	return base, false
}

// compare notes which fields of the event differ from the values of its base. With same, it stops at the first
// difference that makes the event one of another series, and reports false.
func (e *columnEncoder) compare(sh *shape, values []uint64, same bool) bool {
	e.changes = append(e.changes[:0], make([]byte, (len(e.fields)+7)/8)...)
	for i := range e.fields {
		f, l := &e.fields[i], &sh.leaves[i]
		if l.wire == protowire.BytesType {
			if bytes.Equal(e.text(values[i]), f.text) {
				continue
			}
		} else if v := values[i]; v == f.number && i != sh.time || i == sh.time && f.number == e.time {
			continue
		}
		if same && l.identity {
			return false
		}
		e.changes[i/8] |= 1 << (i % 8)
	}
	e.changes = bytes.TrimRight(e.changes, "\x00")
	return true
}

// changed reports whether the event's field differs from the base.
func (e *columnEncoder) changed(field int) bool {
	return field >= 0 && field/8 < len(e.changes) && e.changes[field/8]>>(field%8)&1 == 1
}

// writeFields writes which fields differ from values, and those fields. It brings values up to date.
func (e *columnEncoder) writeFields(sh *shape, values []uint64) {
	if bytes.Equal(e.text(sh.changes), e.changes) {
		e.writeNumber(streamChanges, sh.changes+1)
	} else {
		sh.changes = e.writeText(streamChanges, e.changes)
	}
	for at, set := range e.changes {
		for ; set != 0; set &= set - 1 {
			i := 8*at + bits.TrailingZeros8(set)
			f, l := &e.fields[i], sh.leaves[i]
			if l.wire == protowire.BytesType {
				values[i] = e.writeText(l.stream, f.text)
				continue
			}
			e.writeNumber(l.stream, protowire.EncodeZigZag(int64(f.number-values[i])))
			values[i] = f.number
		}
	}
}

// prime is that of 64-bit FNV.
const prime = 1099511628211

// parse fills tags and fields from an event. An event that could not be rebuilt from them is kept as it is.
func (e *columnEncoder) parse(ev []byte) {
	e.tags, e.fields = e.tags[:0], e.fields[:0]
	if !e.parseMessage(ev, eventSchema().root) || len(e.tags) > maxTags {
		e.tags = append(e.tags[:0], verbatimTag)
		e.fields = append(e.fields[:0], fieldValue{text: ev})
	}
}

// parseMessage reports whether a message has only known fields, encoded as briefly as they can be.
func (e *columnEncoder) parseMessage(b []byte, m *message) bool {
	for len(b) > 0 {
		tag, ok := uint64(b[0]), true
		if b[0] < 0x80 {
			b = b[1:]
		} else {
			tag, ok = readShortest(&b)
		}
		if !ok || tag>>3 >= uint64(len(m.fields)) || m.fields[tag>>3].wire != protowire.Type(tag&7) {
			return false
		}
		f := &m.fields[tag>>3]
		v := fieldValue{identity: f.identity}
		switch f.wire {
		case protowire.VarintType, protowire.BytesType:
			if len(b) > 0 && b[0] < 0x80 {
				v.number, b = uint64(b[0]), b[1:]
			} else if v.number, ok = readShortest(&b); !ok {
				return false
			}
			if f.wire == protowire.VarintType {
				break
			}
			if v.number > uint64(len(b)) {
				return false
			}
			v.text, b = b[:v.number], b[v.number:]
		case protowire.Fixed64Type:
			if len(b) < 8 {
				return false
			}
			v.number, b = binary.LittleEndian.Uint64(b), b[8:]
		case protowire.Fixed32Type:
			if len(b) < 4 {
				return false
			}
			v.number, b = uint64(binary.LittleEndian.Uint32(b)), b[4:]
		}
		if f.child != nil {
			e.tags = append(e.tags, tag&^7|uint64(protowire.StartGroupType))
			if !e.parseMessage(v.text, f.child) {
				return false
			}
			e.tags = append(e.tags, tag&^7|uint64(protowire.EndGroupType))
			continue
		}
		e.tags = append(e.tags, tag)
		e.fields = append(e.fields, v)
	}
	return true
}

// readShortest takes a varint. It reports false for one that is longer than it has to be.
func readShortest(b *[]byte) (uint64, bool) {
	if s := *b; len(s) > 0 && s[0] < 0x80 {
		*b = s[1:]
		return uint64(s[0]), true
	}
	v, n := binary.Uvarint(*b)
	if n <= 0 || n != (bits.Len64(v|1)+6)/7 {
		return 0, false
	}
	*b = (*b)[n:]
	return v, true
}

// findShape returns the number of the event's shape, which it adds if it is new.
func (e *columnEncoder) findShape() int {
	if len(e.tags) == 0 {
		return 0
	}
	hash := uint64(0)
	for _, tag := range e.tags {
		hash = (hash ^ tag) * prime
	}
	if number, ok := e.shapeBy[hash]; ok && slices.Equal(e.shapes[number].tags, e.tags) {
		return number
	}
	number := len(e.shapes)
	if err := e.addShape(slices.Clone(e.tags)); err != nil {
		panic(err) // the schema has no such tags
	}
	for i := range e.fields {
		e.shapes[number].leaves[i].identity = e.fields[i].identity
	}
	e.shapeBy[hash] = number
	e.writeNumber(streamShapes, uint64(len(e.tags)))
	for _, tag := range e.tags {
		e.writeNumber(streamShapes, tag)
	}
	e.size += shapeEntry + len(e.tags)*tokenEntry
	return number
}
