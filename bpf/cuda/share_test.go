package cuda

import (
	"testing"

	"github.com/orb8-dev/kubectl-orb8/bpf/bpftest"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// Tables of share.h, as in cuda.bpf.c.
const (
	tableAllocations = 0
	tableProcesses   = 1
)

// heldBy is how many places of a table a cgroup holds.
func (b *harness) heldBy(c *bpftest.Cgroup, table int) int64 {
	b.Helper()
	return bpftest.Held(b, b.probe.objects.Shares, c, table)
}

// lostBy returns how many events of a cgroup found no room in a map. It fails the test where another cgroup lost any.
func (b *harness) lostBy(c *bpftest.Cgroup) (n uint64) {
	b.Helper()
	for _, l := range b.probe.Lost() {
		if l.Stage != event.LossStage_LOSS_STAGE_KERNEL_MAP || l.Cgroup != c.ID {
			b.Errorf("a loss that is not the flood's: %+v", l)
		}
		n += l.Count
	}
	return n
}

// forgetAll ends the workloads and checks that all their places are given back.
func (b *harness) forgetAll(all ...*workload) {
	b.Helper()
	var ids []ID
	for _, w := range all {
		if p := b.readProcess(w.id()); p != nil {
			ids = append(ids, p.ID)
		}
		w.end()
	}
	if err := b.probe.Forget(ids); err != nil {
		b.Fatal(err)
	}
	var used [2]int64
	if err := b.probe.objects.ShareUsed.Get(&used); err != nil {
		b.Fatal(err)
	}
	for _, c := range []*bpftest.Cgroup{b.in, b.other} {
		for table, n := range used {
			if held := b.heldBy(c, table); held != 0 || n != 0 {
				b.Errorf("a cgroup holds %d places of table %d, of which %d are taken, and no process is left", held,
					table, n)
			}
		}
	}
}

// newSharedHarness returns a harness with both cgroups in scope.
func newSharedHarness(t *testing.T, o Options) *harness {
	t.Helper()
	b := newHarness(t, o)
	b.release()
	if err := b.probe.scope.SetCgroup(b.other.ID, true); err != nil {
		t.Fatal(err)
	}
	b.attach(b.fake.Library)
	return b
}

func TestAllocations_FloodLeavesRoomForOthers(t *testing.T) {
	const room, reserve, many = 100, 20, 200 // as flood below
	ways(t, func(t *testing.T, o Options) {
		o.MaxAllocations = room
		b := newSharedHarness(t, o)
		flood, quiet := b.start(b.in, "", b.fake.Library), b.start(b.other, "", b.fake.Library)
		flood.do("keep 200")
		held := b.heldBy(b.in, tableAllocations)
		if held < room-reserve || held >= room {
			t.Errorf("the flood holds %d of %d places, of which %d are the reserve", held, room, reserve)
		}
		if n := b.lostBy(b.in); n != uint64(many-held) {
			t.Errorf("%d allocations are lost and %d known of %d", n, held, many)
		}
		if c := b.readProcess(flood.id()).Calls; c.OutstandingBytes != nil || c.GetAllocations() != many {
			t.Errorf("%v, want %d allocations, and the outstanding memory unknown", c, many)
		}
		quiet.check(quiet.do("keep 3"))
		b.lostBy(b.in)
		b.forgetAll(flood, quiet)
		next := b.start(b.in, "", b.fake.Library)
		next.check(next.do("keep 50"))
		b.forgetAll(next)
	})
}

func TestProcesses_FloodLeavesRoomForOthers(t *testing.T) {
	const room, reserve, many = 10, 2, 12
	b := newSharedHarness(t, Options{MaxProcesses: room})
	var all []*workload
	for range many {
		w := b.start(b.in, "", b.fake.Library)
		w.do("keep 1")
		all = append(all, w)
	}
	held := b.heldBy(b.in, tableProcesses)
	if held < room-reserve || held >= room {
		t.Errorf("the flood holds %d of %d places, of which %d are the reserve", held, room, reserve)
	}
	if n := b.lostBy(b.in); n == 0 {
		t.Error("the calls of processes without a place are not counted as lost")
	}
	quiet := b.start(b.other, "", b.fake.Library)
	quiet.check(quiet.do("keep 3"))
	b.lostBy(b.in)
	b.forgetAll(append(all, quiet)...)
}
