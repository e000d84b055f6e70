package session

import (
	"fmt"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	goproto "google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/wire"
)

// An event takes two bytes on the wire at least and hundreds in memory: a batch is bounded by its events too, and
// before it is decoded.

// BatchError is the reason why a batch is not decoded. Its tracer violates the protocol, so a retry is useless.
type BatchError struct{ why string }

func (e *BatchError) Error() string { return e.why }

// Codec is the viewer's: it decodes no batch that has more events than tracers put into one.
type Codec struct {
	encoding.CodecV2
	refused atomic.Pointer[BatchError]

	// A stream of events that replaces another one may begin before that has ended.
	mu      sync.Mutex
	decoder wire.Decoder
	events  [][]byte // of the current batch
}

// NewCodec gives the codec of one connection.
func NewCodec() *Codec { return &Codec{CodecV2: encoding.GetCodecV2(proto.Name)} }

// Refused is why a batch was refused; nil: none was. gRPC keeps no more than an error's text.
func (c *Codec) Refused() error {
	if e := c.refused.Load(); e != nil {
		return e
	}
	return nil
}

// Unmarshal implements encoding.CodecV2.
func (c *Codec) Unmarshal(data mem.BufferSlice, v any) error {
	batch, ok := v.(*Batch)
	if !ok {
		return c.CodecV2.Unmarshal(data, v)
	}
	b := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer b.Free()
	c.mu.Lock()
	defer c.mu.Unlock()
	defer func() { clear(c.events) }()
	head, err := c.split(b.ReadOnlyData())
	if err != nil {
		c.refused.Store(err)
		return err
	}
	return c.decode(head, batch)
}

// eventsField is the number of Batch.events.
const eventsField = 2

// split finds the events of an encoded Batch, of which head is the rest.
func (c *Codec) split(b []byte) (head []byte, err *BatchError) {
	c.events = c.events[:0]
	for len(b) > 0 {
		number, typ, n := protowire.ConsumeField(b)
		if n < 0 {
			return nil, &BatchError{"a batch that is no protobuf message: " + protowire.ParseError(n).Error()}
		}
		field := b[:n]
		b = b[n:]
		if number != eventsField || typ != protowire.BytesType {
			head = append(head, field...)
			continue
		}
		if len(c.events) == MaxBatchEvents {
			return nil, &BatchError{fmt.Sprintf("a batch of more than %d events", MaxBatchEvents)}
		}
		_, _, n = protowire.ConsumeTag(field)
		ev, _ := protowire.ConsumeBytes(field[n:])
		c.events = append(c.events, ev)
	}
	return head, nil
}

// decode decodes what split has found.
func (c *Codec) decode(head []byte, batch *Batch) error {
	if err := goproto.Unmarshal(head, batch); err != nil {
		return err
	}
	batch.Events = make([]*event.Event, len(c.events))
	for i, encoded := range c.events {
		ev, err := c.decoder.Decode(encoded)
		if err != nil {
			return err
		}
		batch.Events[i] = ev
	}
	return nil
}
