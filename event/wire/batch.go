package wire

import (
	"errors"
	"sync"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// ErrTooManyEvents is returned by Split.
var ErrTooManyEvents = errors.New("too many events")

// Split splits an encoded message into the events of one of its fields, which it appends to events, and its other
// fields. An event may take two bytes here and hundreds in memory, so there may be at most limit of them. The events
// are parts of message; other is not.
func Split(
	message []byte, field protowire.Number, limit int, events [][]byte,
) (all [][]byte, other []byte, err error) {
	count := 0
	for len(message) > 0 {
		number, typ, n := protowire.ConsumeField(message)
		if n < 0 {
			return events, nil, protowire.ParseError(n)
		}
		if number != field || typ != protowire.BytesType {
			other = append(other, message[:n]...)
			message = message[n:]
			continue
		}
		if count++; count > limit {
			return events, nil, ErrTooManyEvents
		}
		_, _, tag := protowire.ConsumeTag(message)
		ev, _ := protowire.ConsumeBytes(message[tag:])
		events, message = append(events, ev), message[n:]
	}
	return events, other, nil
}

// BatchDecoder decodes messages that hold several events. It is safe for concurrent use without Memory: a stream that
// replaces another one may begin before that has ended.
type BatchDecoder struct {
	// Memory, if not nil, is the memory of the flows of a message: they are valid until the next message is decoded.
	Memory *Memory

	mu      sync.Mutex
	decoder Decoder
	encoded [][]byte
}

// Decode decodes the events of a message, as Split finds them, and returns its other fields.
func (d *BatchDecoder) Decode(
	message []byte, field protowire.Number, limit int,
) (events []*event.Event, other []byte, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	defer func() { clear(d.encoded) }() // the message may be large
	if d.encoded, other, err = Split(message, field, limit, d.encoded[:0]); err != nil {
		return nil, nil, err
	}
	events = make([]*event.Event, len(d.encoded))
	if d.Memory != nil {
		d.Memory.Reset()
	}
	for i, encoded := range d.encoded {
		if events[i], err = d.decode(encoded); err != nil {
			return nil, nil, err
		}
	}
	return events, other, nil
}

func (d *BatchDecoder) decode(encoded []byte) (*event.Event, error) {
	if d.Memory != nil {
		return d.decoder.DecodeReusing(encoded, d.Memory)
	}
	return d.decoder.Decode(encoded)
}
