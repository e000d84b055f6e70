package tracer

import (
	"google.golang.org/grpc/encoding"
	encodingproto "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
)

// wireBatch is a session.Batch, encoded and compressed by a session.Packer. It may be sent several times.
type wireBatch []byte

// codec is gRPC's protobuf codec, except that it sends a wireBatch unchanged.
type codec struct{ encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2(encodingproto.Name)} }

func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if wire, ok := v.(wireBatch); ok {
		return mem.BufferSlice{mem.SliceBuffer(wire)}, nil
	}
	return c.CodecV2.Marshal(v)
}
