package tracer

import (
	"github.com/orb8-dev/kubectl-orb8/event"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// The field numbers of session.Batch in session.proto. A test compares them.
const (
	batchSequence   protowire.Number = 1
	batchEvents     protowire.Number = 2
	batchWatermark  protowire.Number = 3
	batchFinal      protowire.Number = 4
	batchGapSummary protowire.Number = 5
)

// appendEvent appends one of Batch.events to an encoded batch, in two parts: protobuf merges concatenated messages, so
// the names may be encoded later than the event.
func appendEvent(batch, ev, names []byte) []byte {
	batch = protowire.AppendTag(batch, batchEvents, protowire.BytesType)
	batch = protowire.AppendVarint(batch, uint64(len(ev)+len(names)))
	batch = append(batch, ev...)
	return append(batch, names...)
}

// appendHead appends the other fields of a batch.
func appendHead(batch []byte, sequence, watermark uint64, final bool) []byte {
	batch = protowire.AppendTag(batch, batchSequence, protowire.VarintType)
	batch = protowire.AppendVarint(batch, sequence)
	batch = protowire.AppendTag(batch, batchWatermark, protowire.Fixed64Type)
	batch = protowire.AppendFixed64(batch, watermark)
	if final {
		batch = protowire.AppendTag(batch, batchFinal, protowire.VarintType)
		batch = protowire.AppendVarint(batch, protowire.EncodeBool(true))
	}
	return batch
}

// appendGapSummary marks a batch as the summary of the missing batches before it.
func appendGapSummary(batch []byte) []byte {
	batch = protowire.AppendTag(batch, batchGapSummary, protowire.VarintType)
	return protowire.AppendVarint(batch, protowire.EncodeBool(true))
}

// appendLost appends a Lost event of node.
func appendLost(batch []byte, node string, now uint64, lost delta) ([]byte, error) {
	ev, err := encodeLost(node, now, lost)
	if err != nil {
		return batch, err
	}
	return appendEvent(batch, ev, nil), nil
}

// encodeLost encodes a Lost event of node.
func encodeLost(node string, now uint64, lost delta) ([]byte, error) {
	l := &event.Lost{Stage: lost.stage, Count: lost.count, Source: lost.source}
	if c := lost.cause; c != (container{}) {
		l.CausedBy = &event.PodRef{Namespace: c.namespace, Pod: c.pod, Container: c.container}
	}
	return proto.Marshal(&event.Event{
		Time:      now,
		Node:      node,
		Namespace: lost.lost.namespace,
		Pod:       lost.lost.pod,
		Container: lost.lost.container,
		Kind:      &event.Event_Lost{Lost: l},
	})
}
