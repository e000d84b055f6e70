package orbit

import (
	"errors"
	"fmt"

	"google.golang.org/grpc/encoding"
	encodingproto "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/event/wire"
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

// DecodeBatch decodes an AgentBatch except for its events, which are parts of batch.
func DecodeBatch(batch Wire) (head *AgentBatch, events [][]byte, err error) {
	events, rest, err := wire.Split(batch, batchEvents, MaxBatchEvents, nil)
	if errors.Is(err, wire.ErrTooManyEvents) {
		return nil, nil, fmt.Errorf("decode batch: more than %d events", MaxBatchEvents)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("decode batch: %w", err)
	}
	head = &AgentBatch{}
	if err := proto.Unmarshal(rest, head); err != nil {
		return nil, nil, fmt.Errorf("decode batch: %w", err)
	}
	return head, events, nil
}

// Codec is gRPC's protobuf codec, except that it sends and receives a Wire unchanged.
type Codec struct{ encoding.CodecV2 }

// Unmarshal implements encoding.CodecV2.
func (c Codec) Unmarshal(data mem.BufferSlice, v any) error {
	if wire, ok := v.(*Wire); ok {
		*wire = data.Materialize()
		return nil
	}
	return c.CodecV2.Unmarshal(data, v)
}

// AnswerCodec is gRPC's protobuf codec, except that it decodes the events of answers with package wire. It is a
// client's, for one connection.
type AnswerCodec struct {
	encoding.CodecV2
	answers wire.BatchDecoder
}

// NewAnswerCodec returns the codec of a client.
func NewAnswerCodec() *AnswerCodec {
	return &AnswerCodec{CodecV2: encoding.GetCodecV2(encodingproto.Name)}
}

// Unmarshal implements encoding.CodecV2.
func (c *AnswerCodec) Unmarshal(data mem.BufferSlice, v any) error {
	answer, ok := v.(*Answer)
	if !ok {
		return c.CodecV2.Unmarshal(data, v)
	}
	b := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer b.Free()
	events, head, err := c.answers.Decode(b.ReadOnlyData(), answerEvents, MaxMessageBytes)
	if err == nil {
		err = proto.Unmarshal(head, answer)
	}
	answer.Events = events
	return err
}

// NewCodec returns the codec of servers and agents.
func NewCodec() Codec { return Codec{encoding.GetCodecV2(encodingproto.Name)} }

// Marshal implements encoding.CodecV2.
func (c Codec) Marshal(v any) (mem.BufferSlice, error) {
	if wire, ok := v.(Wire); ok {
		return mem.BufferSlice{mem.SliceBuffer(wire)}, nil
	}
	return c.CodecV2.Marshal(v)
}
