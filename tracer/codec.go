package tracer

import (
	"google.golang.org/grpc/encoding"
	encodingproto "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
)

// wireBatch is a session.Batch that is encoded already. It is sent as it stands, as often as a client asks for it.
type wireBatch []byte

// codec is gRPC's own for protobuf, but for the batches that need no encoding any more.
type codec struct{ encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2(encodingproto.Name)} }

func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if wire, ok := v.(wireBatch); ok {
		return mem.BufferSlice{mem.SliceBuffer(wire)}, nil
	}
	return c.CodecV2.Marshal(v)
}
