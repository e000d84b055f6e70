package flows

import (
	"net"
	"testing"

	"github.com/orb8-dev/kubectl-orb8/bpf/bpftest"
	"github.com/orb8-dev/kubectl-orb8/event"
)

const kernelBuffer = event.LossStage_LOSS_STAGE_KERNEL_BUFFER

// abort opens and resets connections from a cgroup: each is one event that does not come again.
func abort(tr *trace, from *bpftest.Cgroup, to net.Addr, connections int) {
	tr.Helper()
	from.Run(tr, func() {
		for range connections {
			c, err := net.Dial("tcp", to.String())
			tr.check(err)
			tr.check(c.(*net.TCPConn).SetLinger(0))
			c.Close()
		}
	})
}

func closedFlow(f *event.Flow) bool { return f.Phase == event.Phase_PHASE_CLOSED }

// checkFlood fails the test unless all that the cgroup made has come or is counted as its own loss, caused by one of
// floods.
func checkFlood(tr *trace, flood *bpftest.Cgroup, made int, floods map[uint64]bool) {
	tr.Helper()
	var lost int
	for _, l := range tr.probe.Lost() {
		if l.Stage != kernelBuffer || l.Cgroup != flood.ID {
			continue
		}
		lost += int(l.Count)
		if !floods[l.Cause] {
			tr.Errorf("the cause of the loss %+v is not one of %v", l, floods)
		}
	}
	if delivered := len(tr.of(flood, closedFlow)); lost == 0 || delivered == 0 || delivered+lost != made {
		tr.Errorf("%d delivered and %d lost of %d", delivered, lost, made)
	}
}

func TestRing_FloodLeavesRoomForOthers(t *testing.T) {
	for name, floods := range map[string]int{"one": 1, "four": 4} {
		t.Run(name, func(t *testing.T) {
			const each, quiets, calls = 600, 3, 4
			tr := newTrace(t, Options{RingBytes: 64 << 10}) // for some 300 events
			l, err := net.Listen("tcp", "127.0.0.1:0")
			tr.check(err)
			bpftest.CloseAfter(t, l)
			release := tr.hold()
			all, causes := []*bpftest.Cgroup{}, map[uint64]bool{}
			for i := range floods {
				c := tr.wanted("flood" + string(rune('0'+i)))
				all, causes[c.ID] = append(all, c), true
				abort(tr, c, l.Addr(), each)
			}
			var quiet []*bpftest.Cgroup
			for i := range quiets {
				quiet = append(quiet, tr.wanted("quiet"+string(rune('0'+i))))
				abort(tr, quiet[i], l.Addr(), calls)
			}
			release()
			tr.flush()
			for i, c := range quiet {
				if n := len(tr.of(c, closedFlow)); n != calls {
					t.Errorf("%d of %d connections of quiet cgroup %d came", n, calls, i)
				}
			}
			for _, c := range all {
				checkFlood(tr, c, each, causes)
			}
			if n, want := lost(tr, kernelBuffer), sumOf(tr, causes); n != want {
				t.Errorf("%d lost in all, of which floods %d", n, want)
			}
		})
	}
}

// sumOf adds up what some cgroups lost.
func sumOf(tr *trace, cgroups map[uint64]bool) (n uint64) {
	for _, l := range tr.probe.Lost() {
		if l.Stage == kernelBuffer && cgroups[l.Cgroup] {
			n += l.Count
		}
	}
	return n
}

func TestRing_QuietLossNamesItsCause(t *testing.T) {
	// what is left is more than one event, and less than the quiet one wants
	tr := newTrace(t, Options{RingBytes: 8 << 10})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	tr.check(err)
	bpftest.CloseAfter(t, l)
	flood, quiet := tr.wanted("flood"), tr.wanted("quiet")
	release := tr.hold()
	abort(tr, flood, l.Addr(), 200)
	const calls = 40
	abort(tr, quiet, l.Addr(), calls)
	release()
	tr.flush()
	checkFlood(tr, flood, 200, map[uint64]bool{flood.ID: true})
	checkFlood(tr, quiet, calls, map[uint64]bool{flood.ID: true})
}

func TestRing_ShareIsFreeAfterReading(t *testing.T) {
	tr := newTrace(t, Options{RingBytes: 64 << 10})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	tr.check(err)
	bpftest.CloseAfter(t, l)
	c := tr.wanted("flood")
	release := tr.hold()
	abort(tr, c, l.Addr(), 600)
	release()
	tr.flush()
	before := lost(tr, kernelBuffer)
	if before == 0 {
		t.Fatal("nothing was lost in a flood")
	}
	release = tr.hold()
	abort(tr, c, l.Addr(), 100) // with their first events more than half of the ring
	release()
	tr.flush()
	if n := lost(tr, kernelBuffer); n != before {
		t.Errorf("%d of 100 lost after the ring was read", n-before)
	}
	if n := len(tr.of(c, closedFlow)); n+int(before) != 700 {
		t.Errorf("%d delivered and %d lost of 700", n, before)
	}
}
