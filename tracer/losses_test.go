package tracer

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/orb8-dev/kubectl-orb8/bpf"
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/session"
	"github.com/orb8-dev/kubectl-orb8/tracer/pods"
)

// named is a resolver of a few cgroups.
type named map[uint64]string

func (n named) identify(cgroup uint64) (*pods.Identity, pods.Status) {
	name, ok := n[cgroup]
	if !ok {
		return nil, pods.Foreign
	}
	return &pods.Identity{Namespace: "demo", Pod: name, Container: "app"}, pods.Named
}

// reported formats the Lost events of deltas, one line each.
func reported(t *testing.T, deltas []delta) (lines []string) {
	t.Helper()
	var wire []byte
	for _, d := range deltas {
		var err error
		if wire, err = appendLost(wire, "node-1", 5, d); err != nil {
			t.Fatal(err)
		}
	}
	for _, ev := range decode(t, new(session.Packer).Pack(wire)).GetEvents() {
		l := ev.GetLost()
		lines = append(lines, fmt.Sprintf("%d %s %s: %s/%s/%s by %s/%s/%s", l.GetCount(), l.GetStage().Word(),
			l.GetSource(),
			ev.GetNamespace(), ev.GetPod(), ev.GetContainer(), l.GetCausedBy().GetNamespace(), l.GetCausedBy().GetPod(),
			l.GetCausedBy().GetContainer()))
	}
	return lines
}

func TestLedger_NamesPodsOfLosses(t *testing.T) {
	names := named{1: "flood", 2: "quiet", 3: "quiet"}
	l := newLedger(names.identify)
	const ring = event.LossStage_LOSS_STAGE_KERNEL_BUFFER
	l.read("flow", []bpf.Loss{
		{Stage: ring, Count: 100, Cgroup: 1, Cause: 1},
		{Stage: ring, Count: 2, Cgroup: 2, Cause: 1},
		{Stage: ring, Count: 3, Cgroup: 3, Cause: 1}, // of the same container, which ran before
		{Stage: ring, Count: 4, Cgroup: 9, Cause: 1}, // another node's
		{Stage: ring, Count: 5},
	})
	want := []string{
		"5 kernel-buffer flow: // by //",
		"4 kernel-buffer flow: // by demo/flood/app",
		"100 kernel-buffer flow: demo/flood/app by demo/flood/app",
		"5 kernel-buffer flow: demo/quiet/app by demo/flood/app",
	}
	if diff := cmp.Diff(want, reported(t, l.take())); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// Only new losses are reported. A cgroup that has got its name since is not reported twice.
	names[9] = "late"
	l.read("flow", []bpf.Loss{{Stage: ring, Count: 4, Cgroup: 9, Cause: 1},
		{Stage: ring, Count: 7, Cgroup: 2, Cause: 1}})
	if diff := cmp.Diff([]string{"5 kernel-buffer flow: demo/quiet/app by demo/flood/app"},
		reported(t, l.take())); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestLedger_BoundsPodsInReport(t *testing.T) {
	names := named{}
	for i := range uint64(5000) {
		names[i+1] = fmt.Sprint("pod-", i)
	}
	l := newLedger(names.identify)
	var all []bpf.Loss
	var want uint64
	for i := range uint64(5000) {
		all = append(all, bpf.Loss{Stage: event.LossStage_LOSS_STAGE_KERNEL_BUFFER, Count: 1 + i, Cgroup: i + 1,
			Cause: i + 1})
		want += 1 + i
	}
	l.read("flow", all)
	deltas := l.take()
	var got uint64
	for _, d := range deltas {
		got += d.count
	}
	if got != want || len(deltas) > maxDeltas {
		t.Errorf("%d in %d reports, want %d in at most %d", got, len(deltas), want, maxDeltas)
	}
	most := container{"demo", "pod-4999", "app"}
	if !slices.ContainsFunc(deltas, func(d delta) bool { return d.lost == most && d.count == 5000 }) {
		t.Error("the pod that lost most is not named")
	}
}
