package tracer

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/session"
)

// incompressible is an event that compression does not make smaller.
func incompressible(t *testing.T, r *rand.Rand) []byte {
	t.Helper()
	name := make([]byte, 0, 256)
	for len(name) < 256 {
		name = binary.LittleEndian.AppendUint64(name, r.Uint64()&0x3f3f3f3f3f3f3f3f|0x4040404040404040)
	}
	return encodedName(t, string(name))
}

func encodedName(t *testing.T, name string) []byte {
	t.Helper()
	return mustMarshal(t, &event.Event{Time: 1, Kind: &event.Event_Dns{Dns: &event.Dns{Name: name}}})
}

func TestOutbox_FloodLeavesRoomForOthers(t *testing.T) {
	names := named{1: "flood", 2: "quiet"}
	for name, reading := range map[string]bool{"nobody reads": false, "a reader comes back": true} {
		t.Run(name, func(t *testing.T) {
			losses := newLedger(names.identify)
			o := newOutbox("node-1", losses, nowNs)
			o.bytes = 256 << 10
			r := rand.New(rand.NewPCG(1, 2))
			const floods, quiets = 5000, 20
			from := uint64(1)
			if reading { // read events are no backlog
				for range 10 {
					o.add(1, incompressible(t, r), nil)
					o.flush(1, false)
				}
				from = 11
				o.read(from, queue)
			}
			for i := range floods {
				o.add(1, incompressible(t, r), nil)
				if i%(floods/quiets) == 0 {
					o.add(2, encodedName(t, "quiet"), nil)
				}
				if i%50 == 0 {
					o.flush(1, false)
				}
			}
			o.finish(1)
			shown, quiet, lost := 0, 0, map[string]uint64{}
			for {
				wire, next, _, final := o.read(from, queue)
				if wire == nil {
					if !final {
						t.Error("it does not end")
					}
					break
				}
				from = next
				for _, ev := range decode(t, wire).GetEvents() {
					switch l := ev.GetLost(); {
					case l != nil:
						lost[ev.GetPod()] += l.GetCount()
						if l.GetCausedBy().GetPod() != "flood" {
							t.Errorf("the cause of %v is not the flood", ev)
						}
					case ev.GetDns().GetName() == "quiet":
						quiet++
					default:
						shown++
					}
				}
			}
			if quiet != quiets || lost["quiet"] != 0 {
				t.Errorf("%d of %d events of the quiet pod came, %v lost", quiet, quiets, lost)
			}
			if lost["flood"] == 0 || shown+int(lost["flood"]) != floods {
				t.Errorf("%d shown and %v lost of %d", shown, lost, floods)
			}
			if len(o.backlog.unread) != 0 || o.backlog.events != 0 || o.backlog.bytes != 0 {
				t.Errorf("all was read, and the backlog is %+v", o.backlog)
			}
		})
	}
}

func TestOutbox_MissedEventsHaveTheirPods(t *testing.T) {
	names := named{1: "flood", 2: "quiet"}
	o := newOutbox("node-1", newLedger(names.identify), nowNs)
	o.batches = 2
	for range 5 {
		for range session.MaxBatchEvents / 2 {
			o.add(1, encodedFlow(t, 1), nil)
		}
		o.add(2, encodedFlow(t, 2), nil)
		o.flush(1, false)
	}
	wire, _, _, _ := o.read(1, gap)
	lost := map[string]uint64{}
	for _, ev := range decode(t, wire).GetEvents() {
		lost[ev.GetPod()+" because of "+ev.GetLost().GetCausedBy().GetPod()] += ev.GetLost().GetCount()
	}
	if lost["quiet because of flood"] != 3 || lost["flood because of flood"] != 3*session.MaxBatchEvents/2 ||
		len(lost) != 2 {
		t.Errorf("lost %v", lost)
	}
}
