package pods

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/session"
	"google.golang.org/protobuf/proto"
)

var start = time.Unix(1_700_000_000, 0)

// kernel is a scope that records its calls.
type kernel struct {
	mu      sync.Mutex
	pods    map[[16]byte]bool
	cgroups map[uint64]bool
	calls   []string
	full    bool
}

func newKernel() *kernel {
	return &kernel{pods: make(map[[16]byte]bool), cgroups: make(map[uint64]bool)}
}

func (k *kernel) SetPod(uid [16]byte, target bool) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.full && target {
		return errors.New("map is full")
	}
	k.calls = append(k.calls, fmt.Sprintf("pod %x %v", uid[:2], target))
	if target {
		k.pods[uid] = true
	} else {
		delete(k.pods, uid)
	}
	return nil
}

func (k *kernel) SetCgroup(id uint64, target bool) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.full && target {
		return errors.New("map is full")
	}
	k.calls = append(k.calls, fmt.Sprintf("cgroup %d %v", id, target))
	if target {
		k.cgroups[id] = true
	} else {
		delete(k.cgroups, id)
	}
	return nil
}

func (k *kernel) observed(ids ...uint64) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	want := make(map[uint64]bool)
	for _, id := range ids {
		want[id] = true
	}
	if diff := cmp.Diff(want, k.cgroups); diff != "" {
		return fmt.Errorf("observed cgroups (-want +got):\n%s", diff)
	}
	return nil
}

func id(n int) string { return fmt.Sprintf("%064x", n) }

func path(uid string, container int) string {
	return "/kubepods/burstable/pod" + uid + "/" + id(container)
}

func podA(containers ...*session.Container) *session.Pod {
	return &session.Pod{Uid: uidA, Namespace: "demo", Name: "web", Workload: "deploy/web", Target: true,
		Containers: containers}
}

func container(name string, n int) *session.Container {
	c := &session.Container{Name: name, Target: true}
	if n != 0 {
		c.Id = id(n)
	}
	return c
}

type fixture struct {
	*testing.T
	*Resolver
	*kernel
}

func newFixture(t *testing.T) *fixture {
	f := &fixture{t, New("node-1"), newKernel()}
	if err := f.Attach(f.kernel); err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *fixture) update(u *session.PodUpdate) {
	f.Helper()
	if err := f.Apply(u, start); err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) made(id uint64, path string) {
	f.Helper()
	if err := f.Observe(Cgroup{ID: id, Path: path}, start); err != nil {
		f.Fatal(err)
	}
}

// is checks "status" or "status namespace/pod/container".
func (f *fixture) is(cgroup uint64, want string) {
	f.Helper()
	identity, status := f.Identify(cgroup)
	got := status.String()
	if identity != nil {
		got += " " + identity.Namespace + "/" + identity.Pod + "/" + identity.Container
	}
	if got != want {
		f.Errorf("cgroup %d is %q, want %q", cgroup, got, want)
	}
}

func (f *fixture) observes(ids ...uint64) {
	f.Helper()
	if err := f.kernel.observed(ids...); err != nil {
		f.Error(err)
	}
}

func TestIdentify_AnyOrderOfArrival(t *testing.T) {
	t.Run("pod, cgroups, ids", func(t *testing.T) {
		f := newFixture(t)
		f.is(11, "unknown")
		f.update(&session.PodUpdate{Complete: true, Upsert: []*session.Pod{podA(container("app", 0))}})
		f.made(9, "/kubepods/burstable/pod"+uidA)
		f.made(10, path(uidA, 1))
		f.made(11, path(uidA, 2))
		f.is(9, "named demo/web/")
		f.is(11, "unnamed demo/web/")
		f.update(&session.PodUpdate{Upsert: []*session.Pod{podA(container("app", 2))}})
		f.is(11, "named demo/web/app")
		f.observes(9, 10, 11)
	})
	t.Run("cgroups, then all else", func(t *testing.T) {
		f := newFixture(t)
		f.made(10, path(uidA, 1))
		f.made(11, path(uidA, 2))
		f.is(11, "foreign")
		f.observes()
		f.update(&session.PodUpdate{Complete: true, Upsert: []*session.Pod{podA(container("app", 2))}})
		f.is(11, "named demo/web/app")
		f.observes(10, 11)
	})
	t.Run("all else, then cgroups", func(t *testing.T) {
		f := newFixture(t)
		f.update(&session.PodUpdate{Complete: true, Upsert: []*session.Pod{podA(container("app", 2))}})
		f.made(11, path(uidA, 2))
		f.is(11, "named demo/web/app")
		f.observes(11)
	})
	t.Run("all before the kernel is there", func(t *testing.T) {
		r, k := New("node-1"), newKernel()
		if err := r.Observe(Cgroup{ID: 11, Path: path(uidA, 2)}, start); err != nil {
			t.Fatal(err)
		}
		if err := r.Apply(&session.PodUpdate{Complete: true, Upsert: []*session.Pod{podA()}}, start); err != nil {
			t.Fatal(err)
		}
		if err := r.Attach(k); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"pod 0f7a true", "cgroup 11 true"}, k.calls); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestIdentify_SandboxIsNoContainer(t *testing.T) {
	f := newFixture(t)
	f.update(&session.PodUpdate{Complete: true, Upsert: []*session.Pod{podA(container("app", 0))}})
	f.made(12, path(uidA, 3)) // a scan finds them in any order
	f.made(10, path(uidA, 1))
	f.made(11, path(uidA, 2))
	f.is(10, "named demo/web/")
	f.is(11, "unnamed demo/web/")
	f.is(12, "unnamed demo/web/")
	f.made(13, "/kubepods.slice/kubepods-pod"+strings.ReplaceAll(uidB, "-", "_")+".slice/crio-"+id(4)+".scope")
	f.update(&session.PodUpdate{Upsert: []*session.Pod{{Uid: uidB, Namespace: "demo", Name: "b", Target: true}}})
	f.is(13, "unnamed demo/b/") // most CRI-O pods have no sandbox process
}

func TestIdentify_StaticPodByConfigHash(t *testing.T) {
	f := newFixture(t)
	f.made(10, path(hash, 1))
	f.made(11, path(hash, 2))
	p := podA(container("etcd", 2))
	p.ConfigHash = hash
	f.update(&session.PodUpdate{Complete: true, Upsert: []*session.Pod{p}})
	f.is(11, "named demo/web/etcd")
	f.observes(10, 11)
	key, _ := kernelKey(hash)
	if !f.kernel.pods[key] {
		t.Error("the kernel does not know the config hash")
	}
	moved := proto.CloneOf(p)
	moved.ConfigHash = strings.Repeat("1", 32)
	f.update(&session.PodUpdate{Upsert: []*session.Pod{moved}})
	f.is(11, "foreign")
	f.observes()
	if f.kernel.pods[key] {
		t.Error("the kernel still knows the old config hash")
	}
}

func TestIdentify_InitEphemeralAndNested(t *testing.T) {
	f := newFixture(t)
	f.update(&session.PodUpdate{Complete: true,
		Upsert: []*session.Pod{podA(container("init", 2), container("app", 3), container("debugger", 4))}})
	f.made(10, path(uidA, 1))
	f.made(11, path(uidA, 2))
	f.made(12, path(uidA, 3))
	f.made(13, path(uidA, 4))
	f.made(14, path(uidA, 3)+"/worker.slice/x")
	f.is(11, "named demo/web/init")
	f.is(13, "named demo/web/debugger")
	f.is(14, "named demo/web/app")
}

func TestIdentify_RestartKeepsNameOfOldCgroup(t *testing.T) {
	f := newFixture(t)
	f.update(&session.PodUpdate{Complete: true, Upsert: []*session.Pod{podA(container("app", 2))}})
	f.made(10, path(uidA, 1))
	f.made(11, path(uidA, 2))
	f.update(&session.PodUpdate{Upsert: []*session.Pod{podA(container("app", 3))}})
	f.is(11, "named demo/web/app")
	f.made(12, path(uidA, 3))
	f.is(12, "named demo/web/app")
}

func TestScope_DropsUnwantedContainerOnceNamed(t *testing.T) {
	f := newFixture(t)
	sidecar := func(n int) *session.Container {
		c := container("sidecar", n)
		c.Target = false
		return c
	}
	f.update(&session.PodUpdate{Complete: true, Upsert: []*session.Pod{podA(container("app", 0), sidecar(0))}})
	f.made(10, path(uidA, 1))
	f.made(11, path(uidA, 2))
	f.made(12, path(uidA, 3))
	f.is(10, "foreign") // the sandbox
	f.is(12, "unnamed demo/web/")
	f.observes(11, 12)
	f.update(&session.PodUpdate{Upsert: []*session.Pod{podA(container("app", 2), sidecar(3))}})
	f.is(11, "named demo/web/app")
	f.is(12, "foreign")
	f.observes(11)
	f.made(13, path(uidA, 3)+"/nested") // the kernel adds it by the pod's UID, and SetCgroup removes it
	if got := f.calls[len(f.calls)-1]; got != "cgroup 13 false" {
		t.Errorf("last call is %q", got)
	}
}

func TestScope_FollowsChangesOfTargets(t *testing.T) {
	f := newFixture(t)
	p := podA(container("app", 2))
	p.Target = false
	f.update(&session.PodUpdate{Complete: true, Upsert: []*session.Pod{p}})
	f.made(10, path(uidA, 1))
	f.made(11, path(uidA, 2))
	f.is(11, "foreign")
	f.observes()
	f.update(&session.PodUpdate{Upsert: []*session.Pod{podA(container("app", 2))}})
	f.is(11, "named demo/web/app")
	f.observes(10, 11)
	f.update(&session.PodUpdate{Upsert: []*session.Pod{p}})
	f.is(11, "foreign")
	f.observes()
	if len(f.kernel.pods) != 0 {
		t.Errorf("the kernel still has pods %v", f.kernel.pods)
	}
}

func TestIdentify_OtherPodsAreForeign(t *testing.T) {
	f := newFixture(t)
	f.update(&session.PodUpdate{Complete: true, Upsert: []*session.Pod{podA()}})
	f.made(20, "/node2/kubepods/pod"+uidB+"/"+id(5))
	f.is(20, "foreign")
	f.made(21, "/system.slice/sshd.service")
	f.is(21, "unknown")
	f.observes()
}

func TestIdentify_NodeInsidePodNamesOwnPods(t *testing.T) {
	nested := path(uidB, 9) + path(uidA, 2)
	inner := newFixture(t)
	inner.update(&session.PodUpdate{Complete: true, Upsert: []*session.Pod{podA(container("app", 2))}})
	inner.made(30, nested)
	inner.is(30, "named demo/web/app")
	outer := newFixture(t)
	outer.update(&session.PodUpdate{Complete: true, Upsert: []*session.Pod{{Uid: uidB, Namespace: "kind", Name: "node",
		Target: true, Containers: []*session.Container{container("node", 9)}}}})
	outer.made(30, nested)
	outer.is(30, "named kind/node/node")
}

func TestResolver_NestedCgroupsKeepTheirPod(t *testing.T) {
	for name, nested := range map[string]string{
		"cgroupfs": path(uidB, 9) + path(uidA, 2),
		"deeper":   path(uidB, 9) + "/a/b" + path(uidA, 2) + "/c",
		"systemd": "/kubepods.slice/kubepods-pod" + strings.ReplaceAll(uidB, "-", "_") + ".slice/crio-" + id(9) +
			".scope" +
			"/kubepods.slice/kubepods-pod" + uidA_ + ".slice/crio-" + id(2) + ".scope",
		"in no container": "/kubepods/pod" + uidB + "/x" + path(uidA, 2),
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.SetOutermost(true)
			// The pod that created the cgroup is no target, or is unknown.
			f.update(&session.PodUpdate{Complete: true, Upsert: []*session.Pod{podA(container("app", 2))}})
			f.made(30, nested)
			f.is(30, "foreign")
			f.made(31, path(uidA, 2))
			f.is(31, "named demo/web/app")
		})
	}
}

func TestExpire_EndedPodsKeepNamesForLinger(t *testing.T) {
	f := newFixture(t)
	f.update(&session.PodUpdate{Complete: true, Upsert: []*session.Pod{podA(container("app", 2))}})
	f.made(10, path(uidA, 1))
	f.made(11, path(uidA, 2))
	if err := f.Observe(Cgroup{ID: 11, Removed: true}, start); err != nil {
		t.Fatal(err)
	}
	f.update(&session.PodUpdate{DeleteUids: []string{uidA}})
	expire := func(after time.Duration) {
		t.Helper()
		if err := f.Expire(start.Add(after)); err != nil {
			t.Fatal(err)
		}
	}
	expire(Linger - time.Nanosecond)
	f.is(10, "named demo/web/")
	f.is(11, "named demo/web/app")
	expire(Linger)
	f.is(10, "foreign") // its cgroup is still there, its pod is not
	f.is(11, "unknown")
	if len(f.kernel.pods) != 0 {
		t.Errorf("the kernel still has pods %v", f.kernel.pods)
	}
	// The kernel drops a removed cgroup by itself. SetCgroup removes the other one.
	f.observes(11)
}

func TestApply_CompleteUpdateDropsMissingPods(t *testing.T) {
	f := newFixture(t)
	f.update(&session.PodUpdate{Complete: true, Upsert: []*session.Pod{podA(container("app", 2))}})
	f.made(11, path(uidA, 2))
	f.update(&session.PodUpdate{Complete: true})
	f.update(&session.PodUpdate{Upsert: []*session.Pod{podA(container("app", 2))}})
	if err := f.Expire(start.Add(2 * Linger)); err != nil {
		t.Fatal(err)
	}
	f.is(11, "named demo/web/app")
	f.observes(11)
	f.update(&session.PodUpdate{Complete: true})
	if err := f.Expire(start.Add(2 * Linger)); err != nil {
		t.Fatal(err)
	}
	f.is(11, "foreign")
	f.observes()
}

func TestExpire_LimitsEndedPods(t *testing.T) {
	f := newFixture(t)
	for i := range uint64(maxGone + 10) {
		f.made(i+1, path(uidA, 2)+fmt.Sprint("/", i))
		if err := f.Observe(Cgroup{ID: i + 1, Removed: true}, start); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Expire(start); err != nil {
		t.Fatal(err)
	}
	if n := len(f.table.cgroups); n != maxGone {
		t.Errorf("%d cgroups are remembered, want %d", n, maxGone)
	}
	f.is(10, "unknown")
	f.is(11, "foreign")
}

func TestObserve_LimitsCgroups(t *testing.T) {
	f := newFixture(t)
	for i := range uint64(maxCgroups) {
		f.made(i+1, path(uidA, 2))
	}
	if err := f.Observe(Cgroup{ID: 1 << 40, Path: path(uidA, 2)}, start); err == nil {
		t.Error("no error for one more cgroup")
	}
}

func TestGiveUp_UnnamedUntilNameArrives(t *testing.T) {
	f := newFixture(t)
	f.update(&session.PodUpdate{Complete: true, Upsert: []*session.Pod{podA(container("app", 0))}})
	f.made(10, path(uidA, 1))
	f.made(11, path(uidA, 2))
	f.is(11, "unnamed demo/web/")
	f.GiveUp(11)
	f.GiveUp(99)
	f.is(11, "named demo/web/")
	f.update(&session.PodUpdate{Upsert: []*session.Pod{podA(container("app", 2))}})
	f.is(11, "named demo/web/app")
}

func TestApply_ReportsKernelErrorOnce(t *testing.T) {
	f := newFixture(t)
	f.kernel.full = true
	f.made(11, path(uidA, 2))
	err := f.Apply(&session.PodUpdate{Complete: true, Upsert: []*session.Pod{podA(container("app", 2))}}, start)
	if err == nil || err.Error() != "observe pod demo/web: map is full (and 1 more)" {
		t.Errorf("got %v", err)
	}
	f.is(11, "named demo/web/app")
}

func TestApply_RefusesUpdatesBeyondLimits(t *testing.T) {
	many := func(n int) []*session.Pod {
		var all []*session.Pod
		for i := range n {
			all = append(all, &session.Pod{Uid: fmt.Sprint("uid-", i), Namespace: "n", Name: "p", Target: true})
		}
		return all
	}
	long := strings.Repeat("x", 254)
	for _, test := range []struct {
		name   string
		update *session.PodUpdate
	}{
		{"too many pods", &session.PodUpdate{Complete: true, Upsert: many(maxPods + 1)}},
		{"too many pods in all", &session.PodUpdate{Upsert: many(maxPods)}},
		{"too many deletions", &session.PodUpdate{DeleteUids: make([]string, maxPods+maxGone+1)}},
		{"no UID", &session.PodUpdate{Upsert: []*session.Pod{{Namespace: "n", Name: "p"}}}},
		{"no name", &session.PodUpdate{Upsert: []*session.Pod{{Uid: "u", Namespace: "n"}}}},
		{"a long name", &session.PodUpdate{Upsert: []*session.Pod{{Uid: "u", Namespace: "n", Name: long}}}},
		{"a long workload",
			&session.PodUpdate{Upsert: []*session.Pod{{Uid: "u", Namespace: "n", Name: "p", Workload: long + long}}}},
		{"too many containers",
			&session.PodUpdate{Upsert: []*session.Pod{podA(make([]*session.Container, maxContainers+1)...)}}},
		{"a nameless container", &session.PodUpdate{Upsert: []*session.Pod{podA(&session.Container{Id: id(1)})}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFixture(t)
			f.update(&session.PodUpdate{Complete: true, Upsert: []*session.Pod{podA(container("app", 2))}})
			before := maps.Clone(f.table.pods)
			var broken *LimitError
			if err := f.Apply(test.update, start); !errors.As(err, &broken) {
				t.Errorf("got %v", err)
			}
			if !maps.Equal(before, f.table.pods) {
				t.Error("it was taken in nevertheless")
			}
		})
	}
	f := newFixture(t)
	f.update(&session.PodUpdate{Complete: true, Upsert: many(maxPods)})
	f.update(&session.PodUpdate{Complete: true, Upsert: many(maxPods)})
	f.update(&session.PodUpdate{Upsert: many(maxPods)})
}

func TestIdentity_WireNamesEvent(t *testing.T) {
	f := newFixture(t)
	f.update(&session.PodUpdate{Complete: true, Upsert: []*session.Pod{podA(container("app", 2))}})
	f.made(11, path(uidA, 2))
	identity, _ := f.Identify(11)
	raw, err := proto.Marshal(&event.Event{Time: 7, Kind: &event.Event_Flow{Flow: &event.Flow{SocketCookie: 5}}})
	if err != nil {
		t.Fatal(err)
	}
	got := new(event.Event)
	if err := proto.Unmarshal(append(raw, identity.Wire...), got); err != nil {
		t.Fatal(err)
	}
	want := &event.Event{Time: 7, Node: "node-1", Namespace: "demo", Pod: "web", PodUid: uidA, Container: "app",
		Workload: "deploy/web",
		Kind:     &event.Event_Flow{Flow: &event.Flow{SocketCookie: 5}}}
	if !proto.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}

func TestScan_FindsTreeAndLostRemovals(t *testing.T) {
	f := newFixture(t)
	cgroups := newTree(t, f.Resolver)
	root := cgroups.root
	app, nested := cgroups.mkdir(path(uidA, 2)), cgroups.mkdir(path(uidA, 2)+"/nested")
	if err := os.WriteFile(filepath.Join(root, path(uidA, 2), "cgroup.procs"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	f.update(&session.PodUpdate{Complete: true, Upsert: []*session.Pod{podA(container("app", 2))}})
	treeScan := func() {
		t.Helper()
		if err := f.Scan(t.Context(), root, start); err != nil {
			t.Fatal(err)
		}
	}
	treeScan()
	f.is(app, "named demo/web/app")
	f.is(nested, "named demo/web/app")

	// The notification of the removal was lost: the next scan finds it.
	if err := os.Remove(filepath.Join(root, path(uidA, 2)+"/nested")); err != nil {
		t.Fatal(err)
	}
	treeScan()
	if err := f.Expire(start.Add(Linger)); err != nil {
		t.Fatal(err)
	}
	f.is(nested, "unknown")
	f.is(app, "named demo/web/app")

	if err := f.Scan(t.Context(), filepath.Join(root, "none"), start); err == nil {
		t.Error("a tree that is not there was scanned")
	}
}

// newsDuring is a context that calls news at the first call of Err, which happens during a scan.
type newsDuring struct {
	testing.TB
	once sync.Once
	news func()
}

func (*newsDuring) Deadline() (time.Time, bool) { return time.Time{}, false }
func (*newsDuring) Done() <-chan struct{}       { return nil }
func (*newsDuring) Value(any) any               { return nil }
func (n *newsDuring) Err() error {
	n.once.Do(n.news)
	return nil
}

func TestScan_NotificationsTakePrecedence(t *testing.T) {
	f := newFixture(t)
	cgroups := newTree(t, f.Resolver)
	root, first := cgroups.root, cgroups.mkdir(path(uidA, 2))
	ctx := &newsDuring{TB: t, news: func() {
		// The scan still sees the directory of the first and not yet that of the second.
		if err := f.Observe(Cgroup{ID: first, Removed: true}, start); err != nil {
			t.Error(err)
		}
		f.made(1<<60, path(uidA, 3))
		if err := f.Scan(t.Context(), root, start); err == nil {
			t.Error("two scans ran at once")
		}
	}}
	if err := f.Scan(ctx, root, start); err != nil {
		t.Fatal(err)
	}
	f.is(first, "unknown")
	f.is(1<<60, "foreign")
	if err := f.Expire(start.Add(Linger)); err != nil {
		t.Fatal(err)
	}
	f.is(1<<60, "foreign")
}

func TestFindCgroup2(t *testing.T) {
	if dir, err := FindCgroup2(t.TempDir()); !errors.Is(err, ErrNoCgroup2) {
		t.Errorf("a plain directory: %q, %v", dir, err)
	}
	want, err := FindCgroup2("/sys/fs/cgroup")
	if err != nil {
		t.Skip("this machine has no cgroup v2 mount")
	}
	if got, err := FindCgroup2(want); err != nil || got != want {
		t.Errorf("the mount itself: %q, %v", got, err)
	}
}

func TestIdentify_DoesNotAllocate(t *testing.T) {
	f := newFixture(t)
	f.update(&session.PodUpdate{Complete: true, Upsert: []*session.Pod{podA(container("app", 2))}})
	f.made(11, path(uidA, 2))
	if n := testing.AllocsPerRun(1000, func() { f.Identify(11) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestResolver_IsSafeForConcurrentUse(t *testing.T) {
	f := newFixture(t)
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for i := range uint64(2000) {
				f.Identify(i % 64)
			}
		})
	}
	group.Go(func() {
		for i := range uint64(500) {
			f.made(i%64+1, path(uidA, int(i%8)))
			if err := f.Observe(Cgroup{ID: i%50 + 1, Removed: true}, start); err != nil {
				t.Error(err)
			}
		}
	})
	group.Go(func() {
		for i := range 500 {
			f.update(&session.PodUpdate{Complete: i%3 == 0, Upsert: []*session.Pod{podA(container("app", i%8))}})
			if err := f.Expire(start.Add(time.Duration(i) * time.Second)); err != nil {
				t.Error(err)
			}
		}
	})
	group.Wait()
}

func BenchmarkIdentify(b *testing.B) {
	r := New("node-1")
	for i := range uint64(4096) {
		if err := r.Observe(Cgroup{ID: i, Path: path(uidA, int(i%32))}, start); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for i := uint64(0); pb.Next(); i++ {
			r.Identify(i & 4095)
		}
	})
}

func TestAddresses_MapToPodCgroups(t *testing.T) {
	const target, foreign = "11111111-2222-3333-4444-555555555555", "66666666-7777-8888-9999-aaaaaaaaaaaa"
	r := New("node-1")
	pod := &session.Pod{Uid: target, Namespace: "ns", Name: "a", Target: true,
		Addresses: [][]byte{{10, 0, 0, 1}, make([]byte, 16)}}
	other := &session.Pod{Uid: foreign, Namespace: "ns", Name: "b", Addresses: [][]byte{{10, 0, 0, 2}}}
	now := time.Unix(1000, 0)
	apply := func(u *session.PodUpdate) {
		t.Helper()
		if err := r.Apply(u, now); err != nil {
			t.Fatal(err)
		}
	}
	apply(&session.PodUpdate{Complete: true, Upsert: []*session.Pod{pod, other}})
	if got := r.Addresses(); len(got) != 0 {
		t.Errorf("%v before any cgroup is known", got)
	}
	for id, path := range map[uint64]string{
		7: "/kubepods/besteffort/pod" + target, 8: "/kubepods/besteffort/pod" + target + "/" +
			strings.Repeat("a", 64), 9: "/kubepods/besteffort/pod" + foreign,
	} {
		if err := r.Observe(Cgroup{ID: id, Path: path}, now); err != nil {
			t.Fatal(err)
		}
	}
	want := map[netip.Addr]uint64{netip.MustParseAddr("10.0.0.1"): 7, netip.MustParseAddr("::"): 7}
	if got := r.Addresses(); !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	select {
	case <-r.Changed():
	default:
		t.Error("it is not reported")
	}
	apply(&session.PodUpdate{DeleteUids: []string{target}})
	if got := r.Addresses(); len(got) != 0 {
		t.Errorf("%v when the pod is gone", got)
	}
	var limit *LimitError
	pod.Addresses = [][]byte{{1, 2, 3}}
	if err := r.Apply(&session.PodUpdate{Upsert: []*session.Pod{pod}}, now); !errors.As(err, &limit) {
		t.Errorf("an address of three bytes: %v", err)
	}
}
