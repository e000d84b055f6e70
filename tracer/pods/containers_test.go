package pods

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/orb8-dev/kubectl-orb8/event/session"
)

func TestContainers_ByOwnCgroup(t *testing.T) {
	f := newFixture(t)
	h := newHost(t, f.Resolver)
	other := container("sidecar", 4)
	other.Target = false
	f.update(&session.PodUpdate{Complete: true,
		Upsert: []*session.Pod{podA(container("app", 2), container("late", 0), other)}})
	make := func(below string, kernelPath string) uint64 {
		t.Helper()
		id := h.run(below, 1, "")
		f.made(id, kernelPath)
		return id
	}
	pod := "/kubepods/burstable/pod" + uidA
	make(pod, pod)
	make(path(uidA, 1), path(uidA, 1)) // the sandbox
	app := make(path(uidA, 2), path(uidA, 2))
	nested := make(path(uidA, 2)+"/init", path(uidA, 2)+"/init")
	late := make(path(uidA, 3), "/docker/node"+path(uidA, 3)) // the kernel's path begins above what this node sees
	make(path(uidA, 4), path(uidA, 4))                        // no target
	make(path(uidB, 5), path(uidB, 5))                        // another pod's
	gone := make(path(uidA, 6), path(uidA, 6))
	if err := f.Observe(Cgroup{ID: gone, Removed: true}, start); err != nil {
		t.Fatal(err)
	}
	f.made(1<<60, path(uidA, 7)) // removed, but the notification is still under way
	got := f.Containers(h.root)
	for i := range got {
		if name, want := got[i].Name(), map[uint64]string{app: "demo/web/app",
			late: "demo/web"}[got[i].Cgroup]; name != want {
			t.Errorf("cgroup %d is %q, want %q", got[i].Cgroup, name, want)
		}
		got[i].Identity = nil
	}
	if (&Container{}).Name() != "?" {
		t.Error("what is not known has a name")
	}
	want := []Container{{Cgroup: app, Path: path(uidA, 2), Below: []uint64{nested}},
		{Cgroup: late, Path: path(uidA, 3)}}
	slices.SortFunc(want, func(a, b Container) int { return int(a.Cgroup) - int(b.Cgroup) })
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
