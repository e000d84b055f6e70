package history

import (
	"encoding/binary"
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// Columns are a lossless form of encoded events. Values of one field are together, and of each event there is only what
// differs from an earlier event with the same texts, addresses and ports, as of one flow. They are streams of varints:
//
//	0   shapes   each shape: the number of its tokens, and the tokens. They are the tags of the event's fields as
//	             protobuf writes them. A message has a tag of wire type 3 before its fields and one of type 4 behind
//	             them. The shape of the single token 2 is an event as it is. Shape 0 has no tokens and is not written.
//	1   texts    each text: its length and its bytes, in the order of their first use. Text 0 is empty, not written.
//	2   shape    by event: the number of its shape, doubled; plus 1 if the event starts a series
//	3   base     by event that starts no series: its series, minus the one that came after the series of the
//	             previous event last time, zigzag
//	4   changes  by event: the text whose bit i is set if field i of the shape differs from the base
//	5…  fields   one stream for each path of tags, in the order of their first use in shapes: of each event that
//	             differs, the number minus that of the base, zigzag, or the text
//
// A text is written as its number + 1, or as 0 where it is the next one of stream 1. The base of an event is its
// series, which holds the fields of the last event of it; or, where the event starts one, the series of the last event
// of the same shape. Series 0 is empty. A base of another shape gives the fields that both shapes have. The base of an
// event's time is the previous event's time.
type columns struct {
	events  int
	streams [][]byte
}

const (
	streamShapes = iota
	streamTexts
	streamShape
	streamBase
	streamChanges
	firstField
)

// Limits of a decoder. An encoder seals its block long before them.
const (
	maxTags    = 1024     // of a shape
	maxTokens  = 1 << 18  // of all shapes
	maxTexts   = 1 << 19  // number
	maxValues  = 1 << 20  // of all series
	maxRaw     = 64 << 20 // bytes of all events
	maxNesting = 8
)

// verbatimTag is the token of an event that is kept as it is.
const verbatimTag = uint64(protowire.BytesType)

var errColumns = errors.New("damaged columns")

// bytes is the memory that the columns take.
func (c *columns) bytes() (n int) {
	for _, s := range c.streams {
		n += 24 + cap(s)
	}
	return n
}

// encode returns the number of streams, their lengths and the streams.
func (c *columns) encode() []byte {
	size := binary.MaxVarintLen64
	for _, s := range c.streams {
		size += binary.MaxVarintLen32 + len(s)
	}
	dst := make([]byte, 0, size)
	dst = binary.AppendUvarint(dst, uint64(len(c.streams)))
	for _, s := range c.streams {
		dst = binary.AppendUvarint(dst, uint64(len(s)))
	}
	for _, s := range c.streams {
		dst = append(dst, s...)
	}
	return dst
}

// parseColumns returns columns that refer to b.
func parseColumns(b []byte, events int) (*columns, error) {
	count, ok := readUvarint(&b)
	if !ok || count < firstField || count > firstField+maxTokens || count > uint64(len(b)) || events > maxEvents {
		return nil, fmt.Errorf("%w: %d events in %d streams", errColumns, events, count)
	}
	c := &columns{events: events, streams: make([][]byte, count)}
	lengths := b
	for range count {
		readUvarint(&b)
	}
	for i := range c.streams {
		n, ok := readUvarint(&lengths)
		if !ok || n > uint64(len(b)) {
			return nil, fmt.Errorf("%w: stream %d is longer than the block", errColumns, i)
		}
		c.streams[i], b = b[:n:n], b[n:]
	}
	return c, nil
}

func readUvarint(b *[]byte) (uint64, bool) {
	v, n := binary.Uvarint(*b)
	if n <= 0 {
		return 0, false
	}
	*b = (*b)[n:]
	return v, true
}

// leaf is a field of a shape that is no message.
type leaf struct {
	stream   int
	wire     protowire.Type
	identity bool // as in messageField; of an encoder
}

type shape struct {
	tags   []uint64
	leaves []leaf
	last   int // the series of the last event of this shape
	// Indexes of leaves; -1 if the shape has none.
	time, namespace, pod, workload int
	kind                           uint64 // as kindBit returns it
	changes                        uint64 // text of what changed last; of an encoder
}

func (s *shape) isVerbatim() bool { return len(s.tags) == 1 && s.tags[0] == verbatimTag }

// series is a sequence of events that resemble each other: the shape of the last one, where its values are, and the
// series of the event that came after it.
type series struct{ shape, at, room, next int }

type path struct {
	parent int
	tag    uint64
}

type span struct{ at, size uint32 }

// columnState is what encoder and decoder know after the same events.
type columnState struct {
	shapes   []shape
	paths    map[path]int
	tokens   int
	series   []series
	values   []uint64 // of all series: numbers, and numbers of texts
	previous int      // series of the previous event
	time     uint64   // of the previous event
	literals []byte   // the stream of texts
	texts    []span   // of literals

	aligned  []uint64
	position []int32 // by stream: index of a leaf + 1
}

func (s *columnState) reset() {
	clear(s.paths)
	if s.paths == nil {
		s.paths = map[path]int{}
	}
	s.shapes = append(s.shapes[:0], shape{time: -1, namespace: -1, pod: -1, workload: -1, kind: 1})
	s.series = append(s.series[:0], series{})
	s.texts = append(s.texts[:0], span{})
	s.values, s.literals, s.tokens, s.previous, s.time = s.values[:0], nil, 0, 0, 0
}

func (s *columnState) text(id uint64) []byte {
	t := s.texts[id]
	return s.literals[t.at : t.at+t.size]
}

// Tags of an event's own fields.
const (
	tagTime      = 1<<3 | uint64(protowire.Fixed64Type)
	tagNamespace = 3<<3 | uint64(protowire.BytesType)
	tagPod       = 4<<3 | uint64(protowire.BytesType)
	tagWorkload  = 7<<3 | uint64(protowire.BytesType)
)

// addShape adds the shape with these tags.
func (s *columnState) addShape(tags []uint64) error {
	if s.tokens += len(tags); len(tags) > maxTags || s.tokens > maxTokens {
		return fmt.Errorf("%w: shapes of more than %d tokens", errColumns, maxTags)
	}
	sh := shape{tags: tags, time: -1, namespace: -1, pod: -1, workload: -1, kind: 1}
	var parents [maxNesting + 1]struct {
		id  int
		tag uint64
	}
	depth := 0
	for _, tag := range tags {
		wire := protowire.Type(tag & 7)
		if wire == protowire.EndGroupType {
			if depth == 0 || parents[depth].tag>>3 != tag>>3 {
				return fmt.Errorf("%w: a message ends that has not begun", errColumns)
			}
			depth--
			continue
		}
		if number := tag >> 3; number > uint64(protowire.MaxValidNumber) || wire > protowire.Fixed32Type ||
			number == 0 && (tag != verbatimTag || len(tags) > 1) {
			return fmt.Errorf("%w: a tag %d", errColumns, tag)
		}
		p := path{parents[depth].id, tag}
		id, ok := s.paths[p]
		if !ok {
			id = len(s.paths) + 1
			s.paths[p] = id
		}
		if wire == protowire.StartGroupType {
			if depth++; depth > maxNesting {
				return fmt.Errorf("%w: messages in %d messages", errColumns, maxNesting)
			}
			parents[depth].id, parents[depth].tag = id, tag
			if depth == 1 {
				sh.setKind(tag >> 3)
			}
			continue
		}
		if depth == 0 {
			sh.setName(tag)
		}
		sh.leaves = append(sh.leaves, leaf{stream: firstField + id - 1, wire: wire})
	}
	if depth > 0 {
		return fmt.Errorf("%w: a message without an end", errColumns)
	}
	s.shapes = append(s.shapes, sh)
	return nil
}

func (s *shape) setKind(number uint64) {
	if bit := kindBit(number); bit != 0 {
		s.kind = bit
	}
}

func (s *shape) setName(tag uint64) {
	switch i := len(s.leaves); tag {
	case tagTime:
		s.time = i
	case tagNamespace:
		s.namespace = i
	case tagPod:
		s.pod = i
	case tagWorkload:
		s.workload = i
	}
}

// begin returns the values of the next event as its base predicts them. Changing them changes the event's series.
func (s *columnState) begin(base, number int, fork bool) []uint64 {
	sh, target := &s.shapes[number], base
	from := s.series[base]
	last := &s.shapes[from.shape]
	values := s.values[from.at : from.at+len(last.leaves)]
	if from.shape != number {
		values = s.align(values, last, sh)
	}
	n := len(sh.leaves)
	to := from
	if fork {
		target = len(s.series)
		s.series = append(s.series, series{})
		to = series{at: len(s.values)}
	}
	if n > to.room {
		to.at, to.room = len(s.values), n
		s.values = append(s.values, values...)
	} else if fork || from.shape != number {
		copy(s.values[to.at:], values)
	}
	to.shape = number
	s.series[target] = to
	s.series[s.previous].next = target
	s.previous, sh.last = target, target
	values = s.values[to.at : to.at+n]
	if sh.time >= 0 {
		values[sh.time] = s.time
	}
	return values
}

// align returns values of one shape in the order of another one.
func (s *columnState) align(values []uint64, from, to *shape) []uint64 {
	if n := firstField + len(s.paths); len(s.position) < n {
		s.position = append(s.position, make([]int32, n-len(s.position))...)
	}
	for i, l := range from.leaves {
		s.position[l.stream] = int32(i + 1)
	}
	s.aligned = s.aligned[:0]
	for _, l := range to.leaves {
		v := uint64(0)
		if i := s.position[l.stream]; i > 0 {
			v = values[i-1]
		}
		s.aligned = append(s.aligned, v)
	}
	for _, l := range from.leaves {
		s.position[l.stream] = 0
	}
	return s.aligned
}

// header is what queries select events by.
type header struct {
	time  uint64
	kind  uint64 // as kindBit returns it; 1: of no kind that this build knows
	names Names
}

// Names are the names of an event's pod.
type Names struct{ Namespace, Pod, Workload []byte }

// header returns the header of an event with these values.
func (s *columnState) header(sh *shape, values []uint64) (h header) {
	if sh.isVerbatim() {
		return scanHeader(s.text(values[0]))
	}
	h.kind = sh.kind
	if sh.time >= 0 {
		h.time = values[sh.time]
	}
	for _, f := range []struct {
		index int
		name  *[]byte
	}{{sh.namespace, &h.names.Namespace}, {sh.pod, &h.names.Pod}, {sh.workload, &h.names.Workload}} {
		if f.index >= 0 {
			*f.name = s.text(values[f.index])
		}
	}
	return h
}

// scanHeader reads the header of an encoded event, as far as it can be read.
func scanHeader(b []byte) (h header) {
	h.kind = 1
	for len(b) > 0 {
		number, wire, n := protowire.ConsumeTag(b)
		if n < 0 {
			return h
		}
		b = b[n:]
		if n = protowire.ConsumeFieldValue(number, wire, b); n < 0 {
			return h
		}
		value := b[:n]
		b = b[n:]
		switch tag := uint64(number)<<3 | uint64(wire); tag {
		case tagTime:
			h.time, _ = protowire.ConsumeFixed64(value)
		case tagNamespace:
			h.names.Namespace, _ = protowire.ConsumeBytes(value)
		case tagPod:
			h.names.Pod, _ = protowire.ConsumeBytes(value)
		case tagWorkload:
			h.names.Workload, _ = protowire.ConsumeBytes(value)
		default:
			if bit := kindBit(uint64(number)); bit != 0 && wire == protowire.BytesType {
				h.kind = bit
			}
		}
	}
	return h
}
