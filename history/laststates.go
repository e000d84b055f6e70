package history

import (
	"context"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// maxLastFlows limits the flows whose later events are known while a query looks for their last ones: some 40 bytes
// each. The events of further flows are not left out.
const maxLastFlows = 1 << 17

// superseded are events of a block whose TCP flow has a later one, which has all that they have: counters grow.
type superseded struct {
	events []uint64 // bits
	all    bool     // all that is selected of the block
}

// has reports whether the event of a number is superseded.
func (s *superseded) has(number int) bool {
	return s != nil && number/64 < len(s.events) && s.events[number/64]>>(number%64)&1 == 1
}

// halfKey is what an agent knows a TCP flow by: the socket, and when the flow began.
type halfKey struct{ cookie, start uint64 }

// lastStates finds the events that are superseded, in one block after another, from the newest one on.
type lastStates struct {
	later  map[halfKey]struct{} // flows of newer blocks
	last   map[halfKey]int      // of this block: the number of the last event
	shapes map[*shape]flowLeaves
}

// findSuperseded decodes the blocks of a query once.
func (r *Rolling) findSuperseded(ctx context.Context, q *query) error {
	q.superseded = map[int]*superseded{}
	states := &lastStates{later: map[halfKey]struct{}{}, last: map[halfKey]int{}, shapes: map[*shape]flowLeaves{}}
	for number := q.end.block; ; number-- {
		b, _, ok := r.block(q, number)
		if !ok {
			return nil
		}
		if !q.mayRead(&b) {
			continue
		}
		d, err := r.decoder(&b)
		if err != nil {
			continue // the query finds it, too
		}
		if q.superseded[number], err = states.find(ctx, q, d, b.events); err != nil {
			return err
		}
	}
}

// find reads the first events of a block.
func (l *lastStates) find(ctx context.Context, q *query, d *columnDecoder, events int) (*superseded, error) {
	s := &superseded{events: make([]uint64, (events+63)/64)}
	clear(l.last)
	clear(l.shapes) // of another decoder
	kept := 0
	for i := range events {
		if err := q.progress(ctx, i); err != nil {
			return nil, err
		}
		if ok, err := d.next(); err != nil || !ok {
			return s, nil // the query finds it, too, and reads what comes before
		}
		if !q.matches(d) {
			continue
		}
		kept++
		key, ok := l.flow(d)
		if !ok {
			continue
		}
		before, known := l.last[key]
		switch _, later := l.later[key]; {
		case later:
			s.events[i/64] |= 1 << (i % 64)
			kept--
		case known:
			s.events[before/64] |= 1 << (before % 64)
			kept--
			l.last[key] = i
		case len(l.later)+len(l.last) < maxLastFlows:
			l.last[key] = i
		}
	}
	for key := range l.last {
		l.later[key] = struct{}{}
	}
	s.all = kept == 0
	return s, nil
}

// flow returns the flow of the decoder's present event. It reports false for others than TCP flows: when those of
// datagrams begin and end follows from the times of all their events.
func (l *lastStates) flow(d *columnDecoder) (key halfKey, ok bool) {
	leaves, known := l.shapes[d.shape]
	if !known {
		leaves = findLeaves(d.shape)
		l.shapes[d.shape] = leaves
	}
	if !leaves.isFlow || leaves.cookie < 0 || leaves.protocol < 0 ||
		event.Protocol(d.fields[leaves.protocol]) != event.Protocol_PROTOCOL_TCP {
		return key, false
	}
	key.cookie = d.fields[leaves.cookie]
	if leaves.start >= 0 {
		key.start = d.fields[leaves.start]
	}
	return key, true
}

// flowLeaves are indexes of the leaves of a shape; -1: it has none, so that the field is 0. isFlow: it is of flows.
type flowLeaves struct {
	protocol, start, cookie int
	isFlow                  bool
}

// Numbers of fields in event.proto.
var (
	flowNumber   = numberOf(&event.Event{}, "flow")
	flowProtocol = numberOf(&event.Flow{}, "protocol")
	flowStart    = numberOf(&event.Flow{}, "start_time")
	flowCookie   = numberOf(&event.Flow{}, "socket_cookie")
)

func numberOf(m proto.Message, field protoreflect.Name) uint64 {
	return uint64(m.ProtoReflect().Descriptor().Fields().ByName(field).Number())
}

func findLeaves(s *shape) flowLeaves {
	f := flowLeaves{protocol: -1, start: -1, cookie: -1}
	depth, leaf := 0, 0
	inFlow := false
	for _, tag := range s.tags {
		number := tag >> 3
		switch protowire.Type(tag & 7) {
		case protowire.StartGroupType:
			if depth++; depth == 1 && number == flowNumber {
				inFlow, f.isFlow = true, true
			}
			continue
		case protowire.EndGroupType:
			if depth--; depth == 0 {
				inFlow = false
			}
			continue
		}
		if inFlow && depth == 1 {
			switch number {
			case flowProtocol:
				f.protocol = leaf
			case flowStart:
				f.start = leaf
			case flowCookie:
				f.cookie = leaf
			}
		}
		leaf++
	}
	return f
}
