package why

import (
	"cmp"
	"slices"
	"strings"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// Verdicts gives one for each pod that has GPUs, by namespace and name.
func (w *Watch) Verdicts() []*event.Event {
	var rows []*event.Event
	for _, p := range w.pods {
		if len(p.devices) == 0 {
			continue
		}
		j := w.judge(p)
		v := &event.GpuVerdict{Verdict: j.first, Confidence: j.confidence, Gpus: uint64(len(j.seats)), Missing: strings.Join(j.missing, ", "), Workload: p.workload}
		if j.confidence != 0 {
			v.Shares = &event.GpuShares{}
			for c, x := range j.shares {
				v.Shares.Set(event.GpuCause(c), 100*x)
			}
		}
		rows = append(rows, &event.Event{Node: p.node, Namespace: p.namespace, Pod: p.name, Kind: &event.Event_GpuVerdict{GpuVerdict: v}})
	}
	slices.SortFunc(rows, func(a, b *event.Event) int {
		return cmp.Or(cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetPod(), b.GetPod()))
	})
	return rows
}
