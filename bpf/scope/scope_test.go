package scope

import (
	"context"
	"os"
	"testing"

	"github.com/orb8-dev/kubectl-orb8/bpf/bpftest"
)

func TestMain(m *testing.M) { os.Exit(bpftest.Main(m)) }

func open(t *testing.T) *Scope {
	t.Helper()
	return openWith(t, Options{})
}

func openWith(t *testing.T, o Options) *Scope {
	t.Helper()
	bpftest.Root(t)
	o.CgroupRoot = bpftest.CgroupRoot(t)
	s, err := Open(o)
	if err != nil {
		bpftest.FatalLoad(t, err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// run gives the scope's events until the test ends.
func run(t *testing.T, s *Scope) <-chan Event {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	events, done := make(chan Event, 1024), make(chan error)
	go func() { done <- s.Run(ctx, func(e Event) { events <- e }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return events
}

func inScope(t *testing.T, s *Scope, id uint64) bool {
	t.Helper()
	var v uint32
	return s.objects.ScopeCgroups.Lookup(id, &v) == nil
}

var uid = [16]byte{0x0a, 0x1b, 0x2c, 0x3d, 0x4e, 0x5f, 0x60, 0x71, 0x82, 0x93, 0xa4, 0xb5, 0xc6, 0xd7, 0xe8, 0xf9}

func TestACgroupOfAWantedPodIsInScopeAsItIsMade(t *testing.T) {
	const hash = "0a1b2c3d4e5f60718293a4b5c6d7e8f9"
	const impostor = "kubepods/pod11111111-2222-3333-4444-555555555555/77/kubepods/pod" + hash
	for name, test := range map[string]struct {
		path string
		want bool
	}{
		"cgroupfs":            {"kubepods/burstable/pod0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9", true},
		"cgroupfs, container": {"kubepods/pod0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9/4f2c", true},
		"systemd": {"kubepods.slice/kubepods-besteffort-pod0a1b2c3d_4e5f_6071_8293_a4b5c6d7e8f9.slice",
			true},
		"systemd, container": {
			"kubepods.slice/kubepods-pod0a1b2c3d_4e5f_6071_8293_a4b5c6d7e8f9.slice/cri-containerd-77.scope", true},
		"static pod":          {"kubepods/burstable/pod" + hash, true},
		"static pod, systemd": {"kubepods.slice/kubepods-burstable-pod" + hash + ".slice/x", true},
		"below a pod, as a container may name it": {impostor, false},
		"below a pod, by systemd's names": {"kubepods-pod" + hash[:31] + "0.slice/x/kubepods-pod" +
			hash + ".slice", false},
		"a pod's name with something else than a pod's UID": {"podinfo/kubepods/pod" + hash, true},
		"another pod":             {"kubepods/pod0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f8", false},
		"a digit too many":        {"kubepods/pod" + hash + "0", false},
		"a digit too few":         {"kubepods/pod" + hash[:31], false},
		"dash in the wrong place": {"kubepods/pod0a1b2c3-d4e5f-6071-8293-a4b5c6d7e8f9", false},
		"no pod before it":        {"kubepods/po" + hash, false},
		"upper case":              {"kubepods/pod0A1B2C3D-4e5f-6071-8293-a4b5c6d7e8f9", false},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			if err := s.SetPod(uid, true); err != nil {
				t.Fatal(err)
			}
			c := bpftest.NewCgroup(t, "orb8-scope-test/"+test.path)
			if got := inScope(t, s, c.ID); got != test.want {
				t.Errorf("in scope: %v, want %v", got, test.want)
			}
		})
	}
}

func TestScope_NestedNodesPodsAreInsideAPod(t *testing.T) {
	s := openWith(t, Options{Nested: true})
	if err := s.SetPod(uid, true); err != nil {
		t.Fatal(err)
	}
	const path = "pod11111111-2222-3333-4444-555555555555/kubelet/pod0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"
	if c := bpftest.NewCgroup(t, "orb8-scope-test/"+path); !inScope(t, s, c.ID) {
		t.Error("out of scope, want in")
	}
}

func TestAPodNoLongerWantedIsNotTakenIn(t *testing.T) {
	s := open(t)
	for _, target := range []bool{true, false} {
		if err := s.SetPod(uid, target); err != nil {
			t.Fatal(err)
		}
	}
	c := bpftest.NewCgroup(t, "orb8-scope-test/pod0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9")
	if inScope(t, s, c.ID) {
		t.Error("in scope, want out")
	}
}

func TestACgroupMadeBelowOneInScopeIsInScope(t *testing.T) {
	s := open(t)
	parent := bpftest.NewCgroup(t, "orb8-scope-test/parent")
	if err := s.SetCgroup(parent.ID, true); err != nil {
		t.Fatal(err)
	}
	child := bpftest.NewCgroup(t, "orb8-scope-test/parent/child/grandchild")
	if !inScope(t, s, child.ID) {
		t.Error("out of scope, want in")
	}
	if err := s.SetCgroup(parent.ID, false); err != nil {
		t.Fatal(err)
	}
	if inScope(t, s, parent.ID) {
		t.Error("in scope after it was taken out")
	}
}

func TestCgroupsAreReportedAsTheyComeAndGo(t *testing.T) {
	s := open(t)
	events := run(t, s)
	var c *bpftest.Cgroup
	t.Run("made and removed", func(t *testing.T) { c = bpftest.NewCgroup(t, "orb8-scope-test/a/b") })
	want := []struct {
		path    string
		removed bool
	}{
		{"/orb8-scope-test", false}, {"/orb8-scope-test/a", false}, {"/orb8-scope-test/a/b", false},
		{"/orb8-scope-test/a/b", true}, {"/orb8-scope-test/a", true}, {"/orb8-scope-test", true},
	}
	var last uint64
	for _, w := range want {
		e := next(t, events, "/orb8-scope-test")
		if e.Path != w.path || e.Removed != w.removed {
			t.Errorf("got %+v, want %+v", e, w)
		}
		if e.Path == c.Path && e.ID != c.ID {
			t.Errorf("id %d, want %d, the inode of the directory", e.ID, c.ID)
		}
		if e.TimeNs < last {
			t.Errorf("time %d before %d", e.TimeNs, last)
		}
		last = e.TimeNs
	}
}

func TestScope_GrowsByNewCgroupsOnly(t *testing.T) {
	s := open(t)
	calls := 0
	stop := s.OnGrown(func() { calls++ })
	set := func(id uint64, target bool, wantGrown uint64, wantCalls int) {
		t.Helper()
		if err := s.SetCgroup(id, target); err != nil {
			t.Fatal(err)
		}
		if s.Grown() != wantGrown || calls != wantCalls {
			t.Errorf("grown %d times, %d calls, want %d and %d", s.Grown(), calls, wantGrown, wantCalls)
		}
	}
	const id = 1 << 60 // no cgroup has it
	set(id, true, 1, 1)
	set(id, true, 1, 1)
	set(id, false, 1, 1)
	set(id, true, 2, 2)
	stop()
	set(id+1, true, 3, 2)
	if lost := s.Lost(); len(lost) != 0 {
		t.Errorf("lost %v", lost)
	}
}

func TestOpen_RefusesOtherDirectories(t *testing.T) {
	if _, err := Open(Options{CgroupRoot: t.TempDir()}); err == nil {
		t.Error("opened at a directory that is no cgroup")
	}
}
