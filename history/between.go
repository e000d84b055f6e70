package history

import (
	"context"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// between finds the updates of TCP flows that come between two other events of the same flow in a block. What they say
// of the flow, a later one says too: counters grow, and a flow without news has no updates either.
type between struct {
	flows  map[halfKey]*halfRows
	shapes map[*shape]flowLeaves
}

// halfKey is what an agent knows a TCP flow by: the socket, and when the flow began.
type halfKey struct{ cookie, start uint64 }

// halfRows are the numbers of a half's last selected event, and of the next one to come; -1: the first one.
type halfRows struct {
	last int
	seen bool
}

// flowLeaves are indexes of the leaves of a shape; -1: it has none, so that the field is 0. isFlow: it is of flows.
type flowLeaves struct {
	protocol, phase, start, cookie int
	isFlow                         bool
}

// Numbers of fields in event.proto.
const (
	flowProtocol = 2
	flowPhase    = 3
	flowStart    = 10
	flowCookie   = 16
)

// flowNumber is the number of Event.flow.
var flowNumber = uint64((&event.Event{}).ProtoReflect().Descriptor().Fields().ByName("flow").Number())

// findBetween reads the first events of a block.
func findBetween(ctx context.Context, q *query, c *columns, events int) (*between, error) {
	d, err := newColumnDecoder(c)
	if err != nil {
		return nil, err
	}
	b := &between{flows: map[halfKey]*halfRows{}, shapes: map[*shape]flowLeaves{}}
	for i := range events {
		if i%256 == 255 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if ok, err := d.next(); err != nil || !ok {
			return b, nil // the next reader finds it, too, and what comes before it counts
		}
		key, _, ok := b.read(d)
		if !ok || !q.matches(d) {
			continue
		}
		half := b.flows[key]
		if half == nil {
			half = &halfRows{}
			b.flows[key] = half
		}
		half.last = i
	}
	return b, nil
}

// has reports whether the decoder's present event, a selected one of this number, is to be left out.
func (b *between) has(d *columnDecoder, number int) bool {
	if b == nil {
		return false
	}
	key, update, ok := b.read(d)
	if !ok {
		return false
	}
	half := b.flows[key]
	if half == nil {
		return false
	}
	first := !half.seen
	half.seen = true
	return update && !first && number < half.last
}

// read returns the flow of the decoder's present event, and whether it is an update. It reports false for others than
// TCP flows: the collector knows the flows of datagrams by when it hears of them.
func (b *between) read(d *columnDecoder) (key halfKey, update, ok bool) {
	leaves, known := b.shapes[d.shape]
	if !known {
		leaves = findLeaves(d.shape)
		b.shapes[d.shape] = leaves
	}
	if !leaves.isFlow {
		return key, false, false
	}
	field := func(i int) uint64 {
		if i < 0 {
			return 0
		}
		return d.fields[i]
	}
	if event.Protocol(field(leaves.protocol)) != event.Protocol_PROTOCOL_TCP {
		return key, false, false
	}
	key = halfKey{field(leaves.cookie), field(leaves.start)}
	return key, event.Phase(field(leaves.phase)) == event.Phase_PHASE_UPDATE, key.cookie != 0
}

func findLeaves(s *shape) flowLeaves {
	f := flowLeaves{protocol: -1, phase: -1, start: -1, cookie: -1}
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
			case flowPhase:
				f.phase = leaf
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
