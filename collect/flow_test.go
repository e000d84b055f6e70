package collect

import (
	"testing"

	"github.com/orb8-dev/kubectl-orb8/event"
)

func TestFlowID(t *testing.T) {
	half := func(observed event.Side, isn bool) *event.Flow {
		return &event.Flow{Protocol: event.Protocol_PROTOCOL_TCP, Observed: observed, IsnValid: isn, SrcIsn: 1,
			DstIsn: 2, SocketCookie: uint64(observed), Src: &event.Endpoint{Address: []byte{10, 0, 0, 1}, Port: 40000},
			Dst: &event.Endpoint{Address: []byte{10, 0, 0, 2}, Port: 80}}
	}
	a, b := event.FlowID(half(event.Side_SIDE_SRC, true)), event.FlowID(half(event.Side_SIDE_DST, true))
	if a != b || a != connectionID(newISNPair(2, 1)) {
		t.Errorf("the halves of a connection have the ids %s and %s", a, b)
	}
	if c := event.FlowID(half(event.Side_SIDE_SRC, false)); c == a {
		t.Error("a connection without sequence numbers has the id of another")
	}
}
