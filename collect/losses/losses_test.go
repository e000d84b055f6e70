package losses

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/orb8-dev/kubectl-orb8/event"
)

const ring = event.LossStage_LOSS_STAGE_KERNEL_BUFFER

func of(pod, cause string, count uint64) Loss {
	l := Loss{Node: "n1", Stage: ring, Source: "flow", Count: count}
	if pod != "" {
		l.Pod = Pod{"demo", pod, "app"}
	}
	if cause != "" {
		l.Cause = Pod{"demo", cause, "app"}
	}
	return l
}

func TestPlaces_NamePods(t *testing.T) {
	for _, test := range []struct {
		name string
		add  []Loss
		want []Place
	}{
		{"nobody known", []Loss{of("", "", 3), of("", "", 4)},
			[]Place{{Node: "n1", Where: "kernel-buffer, flow", Count: 7}}},
		{"a flood", []Loss{of("flood", "flood", 379292), of("quiet", "flood", 2)}, []Place{{
			Node: "n1", Where: "kernel-buffer, flow", Count: 379294,
			Pods: []string{"pod demo/quiet lost 2 because pod demo/flood made at least 379292",
				"pod demo/flood lost 379292 of its own flood"},
		}}},
		{"a flood that lost nothing", []Loss{of("quiet", "flood", 2)}, []Place{{
			Node: "n1", Where: "kernel-buffer, flow", Count: 2,
			Pods: []string{"pod demo/quiet lost 2 because of pod demo/flood"},
		}}},
		{"no known cause", []Loss{of("quiet", "", 2)}, []Place{{
			Node: "n1", Where: "kernel-buffer, flow", Count: 2, Pods: []string{"pod demo/quiet lost 2"},
		}}},
		{"many pods", []Loss{of("a", "x", 1), of("b", "x", 2), of("c", "x", 3), of("d", "x", 4), of("x", "x", 900),
			of("", "", 5)}, []Place{{
			Node: "n1", Where: "kernel-buffer, flow", Count: 915,
			Pods: []string{
				"pod demo/d lost 4 because pod demo/x made at least 900",
				"pod demo/c lost 3 because pod demo/x made at least 900",
				"pod demo/b lost 2 because pod demo/x made at least 900", "and 2 more pods: 901",
			},
		}}},
		{"two stages", []Loss{of("a", "", 1), {Node: "n1", Stage: event.LossStage_LOSS_STAGE_QUEUE, Count: 2}}, []Place{
			{Node: "n1", Where: "kernel-buffer, flow", Count: 1, Pods: []string{"pod demo/a lost 1"}},
			{Node: "n1", Where: "queue", Count: 2},
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var tally Tally
			for _, l := range test.add {
				tally.Add(Of(l.Event(1)))
			}
			if diff := cmp.Diff(test.want, Places(tally.All())); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestTally_IsBoundedByNode(t *testing.T) {
	var tally Tally
	var want uint64
	for i := range 5000 {
		l := of(fmt.Sprint("pod-", i), fmt.Sprint("cause-", i), uint64(i+1))
		l.Source = fmt.Sprint("source-", i)
		l.Stage = event.LossStage(i)
		tally.Add(l)
		want += uint64(i + 1)
	}
	tally.Add(Loss{Node: "n2", Stage: ring, Pod: Pod{"demo", "quiet", "app"}, Count: 1})
	want++
	var got uint64
	all := tally.All()
	for _, l := range all {
		got += l.Count
	}
	if got != want || len(all) > maxOfNode+16 {
		t.Errorf("%d in %d losses, want %d", got, len(all), want)
	}
	if last := all[len(all)-1]; last.Node != "n2" || last.Pod.Name != "quiet" {
		t.Errorf("another node's loss is %+v", last)
	}
}
