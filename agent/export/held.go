package export

import (
	"hash/maphash"
	"sync"
	"time"
	"unsafe"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// held keeps the newest state of what changes again and again (flows, and other kinds with an id), so that it is
// exported at its end, or some time after the first change that was not exported. It is not safe for concurrent use.
type held struct {
	limit          int
	bytes          int
	by             map[uint64]*heldState
	oldest, newest *heldState // in the order of their first changes
	seed           maphash.Seed
	key            []byte
}

type heldState struct {
	key        uint64
	since      time.Duration
	ev         []byte
	prev, next *heldState
}

// heldOverhead is the memory of a state besides its event, bytes: the struct, and its entry in the map.
const heldOverhead = int(unsafe.Sizeof(heldState{})) + 40

func newHeld(limit int) *held {
	return &held{limit: limit, by: map[uint64]*heldState{}, seed: maphash.MakeSeed()}
}

// put replaces the state with a key.
func (h *held) put(key uint64, ev []byte, now time.Duration) {
	s := h.by[key]
	if s == nil {
		s = &heldState{key: key, since: now, prev: h.newest}
		if h.newest == nil {
			h.oldest = s
		} else {
			h.newest.next = s
		}
		h.newest = s
		h.by[key] = s
		h.bytes += heldOverhead
	}
	h.bytes -= cap(s.ev)
	if cap(s.ev) < len(ev) {
		// Counters grow: a little room saves an allocation for each digit.
		s.ev = make([]byte, 0, len(ev)+16)
	}
	s.ev = append(s.ev[:0], ev...)
	h.bytes += cap(s.ev)
}

// drop removes the state with a key, which is older than the event that is exported.
func (h *held) drop(key uint64) {
	if s := h.by[key]; s != nil {
		h.remove(s)
	}
}

// due removes the oldest state and returns its event, if its first change is old enough or there are too many states.
func (h *held) due(before time.Duration) []byte {
	s := h.oldest
	if s == nil || s.since > before && h.bytes <= h.limit {
		return nil
	}
	h.remove(s)
	return s.ev
}

func (h *held) remove(s *heldState) {
	delete(h.by, s.key)
	h.bytes -= heldOverhead + cap(s.ev)
	if s.prev == nil {
		h.oldest = s.next
	} else {
		s.prev.next = s.next
	}
	if s.next == nil {
		h.newest = s.prev
	} else {
		s.next.prev = s.prev
	}
}

// keyOf is the identity of what a message of a kind is the state of. ended: there will be no further state. It is false
// for a message without identity.
func (h *held) keyOf(kind protowire.Number, message []byte) (key uint64, ended, ok bool) {
	id := idFields()[kind]
	if id == 0 {
		return 0, false, false
	}
	h.key = append(h.key[:0], byte(kind))
	if kind == fieldFlow {
		var f flowIdentity
		if !f.read(message) {
			return 0, false, false
		}
		h.key = f.append(h.key)
		ended = f.phase == uint64(event.Phase_PHASE_CLOSED)
	} else {
		text := bytesField(message, id)
		if len(text) == 0 {
			return 0, false, false
		}
		h.key = append(h.key, text...)
	}
	return maphash.Bytes(h.seed, h.key), ended, true
}

// idFields returns the field "id" of kinds that are states of something, by the kind's field number.
var idFields = sync.OnceValue(func() map[protowire.Number]protowire.Number {
	ids := map[protowire.Number]protowire.Number{}
	fields := (*event.Event)(nil).ProtoReflect().Descriptor().Oneofs().ByName("kind").Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if id := f.Message().Fields().ByName("id"); id != nil && id.Kind() == protoreflect.StringKind {
			ids[f.Number()] = id.Number()
		}
	}
	return ids
})

// The field numbers of event.proto that make the identity of a flow. A test compares them.
const (
	fieldFlow         protowire.Number = 16
	flowProtocol      protowire.Number = 2
	flowPhase         protowire.Number = 3
	flowSrc           protowire.Number = 5
	flowDst           protowire.Number = 6
	flowObserved      protowire.Number = 7
	flowStart         protowire.Number = 10
	flowCookie        protowire.Number = 16
	endpointAddress   protowire.Number = 1
	endpointPort      protowire.Number = 2
	protocolTCPNumber                  = uint64(event.Protocol_PROTOCOL_TCP)
)

// flowIdentity is what distinguishes a half of a flow from others of its node.
type flowIdentity struct {
	protocol, phase, observed, start, cookie uint64
	src, dst                                 []byte // encoded endpoints
}

// read reports whether a message is a flow.
func (f *flowIdentity) read(message []byte) bool {
	for b := message; len(b) > 0; {
		number, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return false
		}
		b = b[n:]
		if n = protowire.ConsumeFieldValue(number, typ, b); n < 0 {
			return false
		}
		value := b[:n]
		b = b[n:]
		switch typ {
		case protowire.VarintType:
			v, _ := protowire.ConsumeVarint(value)
			switch number {
			case flowProtocol:
				f.protocol = v
			case flowPhase:
				f.phase = v
			case flowObserved:
				f.observed = v
			case flowCookie:
				f.cookie = v
			}
		case protowire.Fixed64Type:
			if number == flowStart {
				f.start, _ = protowire.ConsumeFixed64(value)
			}
		case protowire.BytesType:
			switch number {
			case flowSrc:
				f.src, _ = protowire.ConsumeBytes(value)
			case flowDst:
				f.dst, _ = protowire.ConsumeBytes(value)
			}
		}
	}
	return true
}

// append appends the identity: a TCP socket has one connection; others may have a conversation with each peer, one
// after the other.
func (f *flowIdentity) append(dst []byte) []byte {
	dst = append(dst, byte(f.protocol), byte(f.observed))
	dst = protowire.AppendFixed64(dst, f.cookie)
	if f.protocol == protocolTCPNumber && f.cookie != 0 {
		return dst
	}
	dst = protowire.AppendFixed64(dst, f.start)
	return appendEnd(appendEnd(dst, f.src), f.dst)
}

// appendEnd appends the address and the port of an encoded endpoint.
func appendEnd(dst, endpoint []byte) []byte {
	address := bytesField(endpoint, endpointAddress)
	dst = append(append(dst, byte(len(address))), address...)
	return protowire.AppendVarint(dst, varintField(endpoint, endpointPort))
}

// bytesField returns the first field with a number; nil without one.
func bytesField(message []byte, field protowire.Number) []byte {
	value := firstField(message, field, protowire.BytesType)
	b, n := protowire.ConsumeBytes(value)
	if n < 0 {
		return nil
	}
	return b
}

// varintField returns the first field with a number; 0 without one.
func varintField(message []byte, field protowire.Number) uint64 {
	v, n := protowire.ConsumeVarint(firstField(message, field, protowire.VarintType))
	if n < 0 {
		return 0
	}
	return v
}

// firstField returns the encoded value of the first field with a number and a type; nil without one.
func firstField(b []byte, field protowire.Number, wanted protowire.Type) []byte {
	for len(b) > 0 {
		number, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return nil
		}
		b = b[n:]
		if n = protowire.ConsumeFieldValue(number, typ, b); n < 0 {
			return nil
		}
		if number == field && typ == wanted {
			return b[:n]
		}
		b = b[n:]
	}
	return nil
}
