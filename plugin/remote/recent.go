package remote

import (
	"hash/maphash"

	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// recent are the newest events that were shown. Another server repeats those of the overlap.
type recent struct {
	seed   maphash.Seed
	hashes map[uint64]struct{}
	order  []uint64
	// until is the time up to which events may be repeated; 0: none is.
	until uint64
}

// maxRecent limits the events that are remembered.
const maxRecent = 1 << 15

func newRecent() *recent { return &recent{seed: maphash.MakeSeed(), hashes: map[uint64]struct{}{}} }

// resume expects repeated events up to a time.
func (r *recent) resume(newest uint64) { r.until = newest }

// repeated reports whether an event was shown, and remembers it.
func (r *recent) repeated(ev *event.Event) bool {
	if ev.GetLost() != nil || ev.GetNodeStatus() != nil {
		return false
	}
	encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(ev)
	if err != nil {
		return false
	}
	h := maphash.Bytes(r.seed, encoded)
	if _, known := r.hashes[h]; known {
		return ev.GetTime() <= r.until
	}
	if len(r.order) >= maxRecent {
		delete(r.hashes, r.order[0])
		r.order = r.order[1:]
	}
	r.hashes[h] = struct{}{}
	r.order = append(r.order, h)
	return false
}
