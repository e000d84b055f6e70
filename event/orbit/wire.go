package orbit

import (
	"google.golang.org/grpc/encoding"
	encodingproto "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// Wire is an encoded message: an AgentBatch or an Answer whose events were encoded one by one.
type Wire []byte

// The field numbers of the events in orbit.proto. A test compares them.
const (
	batchEvents  protowire.Number = 3
	answerEvents protowire.Number = 1
)

// EncodeBatch encodes an AgentBatch with encoded events. head holds the other fields.
func EncodeBatch(head *AgentBatch, events [][]byte) (Wire, error) {
	return encode(head, batchEvents, events)
}

// EncodeAnswer encodes an Answer with encoded events. head holds the other fields.
func EncodeAnswer(head *Answer, events [][]byte) (Wire, error) {
	return encode(head, answerEvents, events)
}

func encode(head proto.Message, field protowire.Number, events [][]byte) (Wire, error) {
	size := proto.Size(head)
	for _, ev := range events {
		size += protowire.SizeTag(field) + protowire.SizeBytes(len(ev))
	}
	wire, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(make([]byte, 0, size), head)
	if err != nil {
		return nil, err
	}
	for _, ev := range events {
		wire = protowire.AppendTag(wire, field, protowire.BytesType)
		wire = protowire.AppendBytes(wire, ev)
	}
	return wire, nil
}

// Codec is gRPC's protobuf codec, except that it sends a Wire unchanged.
type Codec struct{ encoding.CodecV2 }

// NewCodec returns the codec of servers and agents.
func NewCodec() Codec { return Codec{encoding.GetCodecV2(encodingproto.Name)} }

// Marshal implements encoding.CodecV2.
func (c Codec) Marshal(v any) (mem.BufferSlice, error) {
	if wire, ok := v.(Wire); ok {
		return mem.BufferSlice{mem.SliceBuffer(wire)}, nil
	}
	return c.CodecV2.Marshal(v)
}
