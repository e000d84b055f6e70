package event

import (
	"sync"

	"google.golang.org/protobuf/encoding/protowire"
)

// Header is the part of an encoded event that selections look at. Its slices are of the encoded event.
type Header struct {
	// Time is in ns since the Unix epoch.
	Time uint64
	// Kind is the JSON name of the kind; empty for a kind that this version does not know.
	Kind                              string
	Namespace, Pod, Container, PodUID []byte
	// Workload as "deploy/web".
	Workload []byte
}

// The field numbers of Event in event.proto. A test compares them.
const (
	fieldTime      protowire.Number = 1
	fieldNamespace protowire.Number = 3
	fieldPod       protowire.Number = 4
	fieldContainer protowire.Number = 5
	fieldPodUID    protowire.Number = 6
	fieldWorkload  protowire.Number = 7
	// maxKindField is above the numbers of all kinds: those up to it take two bytes as tags.
	maxKindField = 2048 / 8
)

// kindsByField returns the JSON names of kinds by their field numbers.
var kindsByField = sync.OnceValue(func() *[maxKindField]string {
	names := new([maxKindField]string)
	fields := (*Event)(nil).ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		if f := fields.Get(i); f.ContainingOneof() != nil {
			names[f.Number()] = f.JSONName()
		}
	}
	return names
})

// ReadHeader reads the header of an encoded event without decoding the rest. It is false for bytes that are no message.
func ReadHeader(encoded []byte) (h Header, ok bool) {
	kinds := kindsByField()
	for b := encoded; len(b) > 0; {
		number, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return h, false
		}
		b = b[n:]
		if n = protowire.ConsumeFieldValue(number, typ, b); n < 0 {
			return h, false
		}
		value := b[:n]
		b = b[n:]
		switch {
		case number == fieldTime && typ == protowire.Fixed64Type:
			h.Time, _ = protowire.ConsumeFixed64(value)
		case typ != protowire.BytesType:
		case number == fieldNamespace:
			h.Namespace, _ = protowire.ConsumeBytes(value)
		case number == fieldPod:
			h.Pod, _ = protowire.ConsumeBytes(value)
		case number == fieldContainer:
			h.Container, _ = protowire.ConsumeBytes(value)
		case number == fieldPodUID:
			h.PodUID, _ = protowire.ConsumeBytes(value)
		case number == fieldWorkload:
			h.Workload, _ = protowire.ConsumeBytes(value)
		default:
			if number < maxKindField && kinds[number] != "" {
				h.Kind = kinds[number]
			}
		}
	}
	return h, true
}
