package kit

import (
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// maxBusy is how many kernel-busy losses a short test of a quiet workload tolerates. They are an upper bound of what
// programs missed within interrupts, of any process on the node: a busy machine has one now and then, and what such a
// test expects is checked by itself.
const maxBusy = 3

// NothingLost fails the test if events were lost, but for a few that are kernel-busy.
func (tr *Trace) NothingLost(t testing.TB) {
	t.Helper()
	var lost []struct {
		Node, Stage, Source string
		Count               uint64
	}
	tr.JQ(t, &lost, `map(select(.kind == "lost") | {node, stage, source, count})`)
	busy := uint64(0)
	for _, l := range lost {
		if l.Stage == "kernel-busy" {
			busy += l.Count
			continue
		}
		t.Errorf("lost events: %+v", l)
	}
	if busy > maxBusy {
		t.Errorf("lost events: %+v, want at most %d kernel-busy", lost, maxBusy)
	}
}

// exitLost is the exit code that --fail-on-loss gives (docs/commands).
const exitLost = 4

var (
	tally     = regexp.MustCompile(`(?m)^[0-9]+ (?:event|packet)s?.*; LOST (.+)$`)
	busyPlace = regexp.MustCompile(`^([0-9]+) at \S+ \(kernel-busy, \w+\)$`)
)

// lostOnlyBusy reports whether the closing line names a loss that NothingLost tolerates.
func lostOnlyBusy(stderr string) bool {
	m := tally.FindStringSubmatch(stderr)
	if m == nil {
		return false
	}
	sum := 0
	for place := range strings.SplitSeq(m[1], "; ") {
		p := busyPlace.FindStringSubmatch(place)
		if p == nil {
			return false
		}
		n, err := strconv.Atoi(p[1])
		if err != nil {
			return false
		}
		sum += n
	}
	return sum <= maxBusy
}
