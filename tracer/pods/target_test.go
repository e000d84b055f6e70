package pods

import (
	"testing"

	"github.com/orb8-dev/kubectl-orb8/event/session"
)

func TestIsTarget_IncludesStoppedContainers(t *testing.T) {
	f := newFixture(t)
	f.update(&session.PodUpdate{Complete: true, Upsert: []*session.Pod{
		{Uid: "1", Namespace: "ml", Name: "all", Target: true,
			Containers: []*session.Container{{Name: "main", Target: true}}},
		{Uid: "2", Namespace: "ml", Name: "some", Target: true,
			Containers: []*session.Container{{Name: "main", Target: true}, {Name: "side"}}},
		{Uid: "3", Namespace: "ml", Name: "none", Containers: []*session.Container{{Name: "main", Target: true}}},
		{Uid: "4", Namespace: "ml", Name: "fresh", Target: true},
		{Uid: "5", Namespace: "ml", Name: "gone", Target: true},
	}})
	f.update(&session.PodUpdate{DeleteUids: []string{"5"}})
	for _, test := range []struct {
		namespace, pod, container string
		want                      bool
	}{
		{"ml", "all", "main", true},
		{"ml", "all", "debugger", true},
		{"other", "all", "main", false},
		{"ml", "some", "main", true},
		{"ml", "some", "side", false},
		{"ml", "some", "debugger", false},
		{"ml", "none", "main", false},
		{"ml", "fresh", "main", true},
		{"ml", "gone", "main", false},
		{"ml", "unknown", "main", false},
	} {
		if got := f.IsTarget(test.namespace, test.pod, test.container); got != test.want {
			t.Errorf("%+v: %v", test, got)
		}
	}
}
