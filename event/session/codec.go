package session

import (
	"errors"
	"fmt"
	"sync/atomic"

	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	goproto "google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/event/wire"
)

// An event takes two bytes on the wire at least and hundreds in memory: a batch is bounded by its events too, and
// before it is decoded.

// BatchError is the reason why a batch is not decoded. Its tracer violates the protocol, so a retry is useless.
type BatchError struct{ why string }

func (e *BatchError) Error() string { return e.why }

// Codec is the viewer's, for one connection with one stream of events. It decodes no batch that has more events than
// tracers put into one. The flows of a batch are valid until the next one is decoded: the merge does not keep them.
type Codec struct {
	encoding.CodecV2
	refused atomic.Pointer[BatchError]
	batches wire.BatchDecoder
}

// NewCodec gives the codec of one connection.
func NewCodec() *Codec {
	c := &Codec{CodecV2: encoding.GetCodecV2(proto.Name)}
	c.batches.Memory = &wire.Memory{Limit: MaxBatchEvents}
	return c
}

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
	events, head, err := c.batches.Decode(b.ReadOnlyData(), eventsField, MaxBatchEvents)
	if err == nil {
		err = goproto.Unmarshal(head, batch)
	}
	if err != nil {
		refused := batchError(err)
		c.refused.Store(refused)
		return refused
	}
	batch.Events = events
	return nil
}

// eventsField is the number of Batch.events.
const eventsField = 2

func batchError(err error) *BatchError {
	if errors.Is(err, wire.ErrTooManyEvents) {
		return &BatchError{fmt.Sprintf("a batch of more than %d events", MaxBatchEvents)}
	}
	return &BatchError{"a batch that cannot be decoded: " + err.Error()}
}
