package wire

import (
	"encoding/binary"
	"errors"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// errMalformed refuses bytes that are no protobuf message.
var errMalformed = errors.New("an event is no protobuf message")

// Decoder decodes the events of one stream. It accepts and refuses the same bytes as proto.Unmarshal and returns equal
// events, including unknown fields. Events share recurring names. They share nothing else, and nothing with the encoded
// bytes. An event is two allocations: the Event, and its kind with most of the messages in it, which live as long as
// any of them. The zero value is ready to use. A Decoder is not safe for concurrent use.
type Decoder struct {
	names  names
	memory *Memory // nil: events get memory of their own
	// err is the reason to refuse the current event. Decoding does not stop there: the rest is bounded by its length.
	err error
}

// Decode decodes an event.
func (d *Decoder) Decode(encoded []byte) (*event.Event, error) {
	p := &slotEvent{}
	if err := d.decode(encoded, &p.m, p); err != nil {
		return nil, err
	}
	return &p.m, nil
}

// DecodeInto decodes an event into ev, in place of its content. Messages that were part of ev before do not change.
func (d *Decoder) DecodeInto(ev *event.Event, encoded []byte) error {
	ev.Reset()
	return d.decode(encoded, ev, &slotEvent{})
}

func (d *Decoder) decode(encoded []byte, ev *event.Event, p *slotEvent) error {
	d.err = nil
	d.decodeEvent(encoded, ev, p)
	return d.err
}

func (d *Decoder) fail(err error) {
	if d.err == nil {
		d.err = err
	}
}

// name returns the text of a recurring name.
func (d *Decoder) name(b []byte) string {
	s, ok := d.names.get(b)
	if !ok {
		d.fail(errNotText)
	}
	return s
}

// text returns any other text.
func (d *Decoder) text(b []byte) string {
	if !utf8.Valid(b) {
		d.fail(errNotText)
		return ""
	}
	return string(b)
}

// appendPacked appends the numbers of a packed list.
func (d *Decoder) appendPacked(list []uint64, packed []byte) []uint64 {
	count := 0
	for _, c := range packed {
		if c < 0x80 { // the last byte of a varint
			count++
		}
	}
	if list == nil && count > 0 { // later parts of a list grow it in larger steps
		list = make([]uint64, 0, count)
	}
	for len(packed) > 0 {
		v, n := protowire.ConsumeVarint(packed)
		if n < 0 {
			d.fail(errMalformed)
			return list
		}
		list, packed = append(list, v), packed[n:]
	}
	return list
}

// shortBytes is the length of an IPv6 address, and of the kernel's name of a command.
const shortBytes = 16

// copyShort copies b, into room where it fits. It returns nil for no bytes, as package proto does.
func copyShort(room *[shortBytes]byte, b []byte) []byte {
	if len(b) > shortBytes {
		return append([]byte(nil), b...)
	}
	if len(b) == 0 {
		return nil
	}
	n := copy(room[:], b)
	return room[:n:n]
}

// malformed is the tag that next returns for bytes that are no field. No field has it.
const malformed = 0

// next reads the first field of b: its tag, its value, and the bytes after it. The value is a number or bytes, by the
// wire type; a group has neither. Most tags, lengths and numbers are one byte: those cost no call.
func next(b []byte) (tag, number uint64, value, rest []byte) {
	var n int
	if len(b) > 0 && b[0] < 0x80 {
		tag, n = uint64(b[0]), 1
	} else {
		tag, n = varint(b)
	}
	if field := tag >> 3; n == 0 || field < uint64(protowire.MinValidNumber) ||
		field > uint64(protowire.MaxValidNumber) {
		return malformed, 0, nil, nil
	}
	b = b[n:]
	switch protowire.Type(tag & 7) {
	case protowire.VarintType:
		if len(b) > 0 && b[0] < 0x80 {
			return tag, uint64(b[0]), nil, b[1:]
		}
		if number, n = varint(b); n == 0 {
			return malformed, 0, nil, nil
		}
		return tag, number, nil, b[n:]
	case protowire.BytesType:
		var size uint64
		if len(b) > 0 && b[0] < 0x80 {
			size, n = uint64(b[0]), 1
		} else {
			size, n = varint(b)
		}
		if b = b[n:]; n == 0 || size > uint64(len(b)) {
			return malformed, 0, nil, nil
		}
		return tag, 0, b[:size], b[size:]
	case protowire.Fixed64Type:
		if len(b) < 8 {
			return malformed, 0, nil, nil
		}
		return tag, binary.LittleEndian.Uint64(b), nil, b[8:]
	case protowire.Fixed32Type:
		if len(b) < 4 {
			return malformed, 0, nil, nil
		}
		return tag, uint64(binary.LittleEndian.Uint32(b)), nil, b[4:]
	}
	// A group, or an invalid type.
	n = protowire.ConsumeFieldValue(protowire.Number(tag>>3), protowire.Type(tag&7), b)
	if n < 0 {
		return malformed, 0, nil, nil
	}
	return tag, 0, nil, b[n:]
}

// varint reads a number and returns its length: 0 where b does not begin with one.
func varint(b []byte) (number uint64, n int) {
	if len(b) > 1 && b[1] < 0x80 && b[0] >= 0x80 { // such as the tags of kinds
		return uint64(b[0]&0x7f) | uint64(b[1])<<7, 2
	}
	number, n = protowire.ConsumeVarint(b)
	return number, max(n, 0)
}

// addUnknown keeps a field that m's message type lacks, in the form in which package proto keeps it.
func addUnknown(m proto.Message, field []byte) {
	tag, n := protowire.ConsumeVarint(field)
	r := m.ProtoReflect()
	r.SetUnknown(append(protowire.AppendVarint(r.GetUnknown(), tag), field[n:]...))
}
