package collect

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// FuzzFeed gives the merge whatever two broken or hostile tracers may send. It must end, close each flow once, and emit
// events that can be written. Seven bytes of the input make an event out of few addresses, ports, sockets and sequence
// numbers, so that halves meet.
func FuzzFeed(f *testing.F) {
	f.Add([]byte{0x01, 0x12, 0x00, 0, 1, 1, 0, 0x05, 0x12, 0x00, 0, 1, 1, 0, 0x31, 0x12, 0x00, 9, 1, 1, 0, 0x35, 0x12,
		0x00, 9, 1, 1, 0})
	f.Add([]byte{0x09, 0x15, 0x01, 0, 1, 1, 0, 0x0d, 0x12, 0x11, 0, 1, 2, 0, 0x39, 0x15, 0x01, 9, 1, 1, 0, 0x38, 0x15,
		0x01, 9, 1, 1, 4})
	f.Add([]byte{0x11, 0x30, 0x00, 0, 1, 1, 0, 0x02, 0x06, 0x77, 0, 1, 1, 7, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, in []byte) {
		c := New(Options{Namer: cluster, MaxFlows: 8})
		nodes := []*Source{c.Add("a"), c.Add("b")}
		for i := 0; len(in) >= 7 && i < 500; i++ {
			b := Batch{Events: []*event.Event{arbitrary([7]byte(in), uint64(i))}, Watermark: uint64(i),
				Instance: uint64(in[6] >> 7)}
			if err := nodes[in[0]>>7].Feed(t.Context(), b); err != nil {
				t.Fatal(err)
			}
			in = in[7:]
		}
		c.Finish()
		evicted := len(c.Losses()) > 0 // then two flows may have the numbers of one
		over := map[string]bool{}
		err := c.Run(t.Context(), func(ev *event.Event) error {
			if f := ev.GetFlow(); f != nil && f.GetIsnValid() && !evicted {
				if over[f.GetId()] {
					t.Errorf("flow %s goes on after it was closed", f.GetId())
				}
				over[f.GetId()] = f.GetPhase() == closed
			}
			_ = event.AppendJSON(nil, ev)
			_, err := proto.Marshal(ev)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

var somewhere = [][]byte{
	{10, 0, 0, 1}, {10, 0, 1, 1}, {10, 0, 1, 2}, {10, 96, 0, 1}, {172, 18, 0, 2}, {127, 0, 0, 1}, {1, 2, 3}, nil,
}

func arbitrary(b [7]byte, now uint64) *event.Event {
	ports := []uint32{1, 80, 53, 8080, 5353, 40000, 1 << 20, 0}
	f := &event.Flow{
		Observed: event.Side(b[0] & 3), Protocol: event.Protocol(b[0] >> 2 & 7), Phase: event.Phase(b[0] >> 5 & 3),
		SrcIsn: uint32(b[4] & 3), DstIsn: uint32(b[4] >> 2 & 3), IsnValid: b[4]&0x80 == 0, RoleKnown: b[6]&1 == 0,
		SocketCookie: uint64(b[5] & 3), StartTime: uint64(b[6] >> 3 & 7), LastTime: uint64(b[3] >> 4),
	}
	if b[6]&2 == 0 {
		f.Src = &event.Endpoint{Address: somewhere[b[1]&7], Port: ports[b[2]&7]}
	}
	if b[6]&4 == 0 {
		f.Dst = &event.Endpoint{Address: somewhere[b[1]>>4&7], Port: ports[b[2]>>4&7]}
	}
	if b[5]&0x10 == 0 {
		f.SrcCounters = &event.Counters{BytesSent: uint64(b[3])}
	}
	if b[5]&0x20 == 0 {
		f.DstCounters = &event.Counters{BytesSent: uint64(b[3]), Retransmits: proto.Uint64(1)}
	}
	return &event.Event{Time: now + uint64(b[3]&3), PodUid: string('a' + rune(b[5]>>6)),
		Kind: &event.Event_Flow{Flow: f}}
}
