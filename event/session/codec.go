package session

import (
	"fmt"
	"sync/atomic"

	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	goproto "google.golang.org/protobuf/proto"
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
	if err := CheckBatch(b.ReadOnlyData()); err != nil {
		c.refused.Store(err)
		return err
	}
	return goproto.Unmarshal(b.ReadOnlyData(), batch)
}

// eventsField is the number of Batch.events.
const eventsField = 2

// CheckBatch counts the events of an encoded Batch.
func CheckBatch(b []byte) *BatchError {
	events := 0
	for len(b) > 0 {
		number, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return &BatchError{"a batch that is no protobuf message: " + protowire.ParseError(n).Error()}
		}
		b = b[n:]
		if n = protowire.ConsumeFieldValue(number, typ, b); n < 0 {
			return &BatchError{"a batch that is no protobuf message: " + protowire.ParseError(n).Error()}
		}
		b = b[n:]
		if number != eventsField {
			continue
		}
		if events++; events > MaxBatchEvents {
			return &BatchError{fmt.Sprintf("a batch of more than %d events", MaxBatchEvents)}
		}
	}
	return nil
}
