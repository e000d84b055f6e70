//go:build linux

package gpu

import (
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	kubeletapi "k8s.io/kubelet/pkg/apis/podresources/v1"

	"github.com/orb8-dev/kubectl-orb8/e2e/fakes"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// usage is a watch that keeps the last event of each device, with a kubelet whose answers the test sets.
type usage struct {
	*harness
	last     map[string]*event.Gpu
	warnings []string
	answer   *allocation
	reason   string
}

func newUsage(t *testing.T) *usage {
	u := &usage{harness: newHarness(t), last: map[string]*event.Gpu{}, reason: "no socket"}
	u.sink = func(_ uint64, ev *event.Event) {
		if s := ev.GetNodeStatus(); s != nil {
			u.warnings = append(u.warnings, s.GetMessage())
		}
		if g := ev.GetGpu(); g.GetType() == event.GpuEventType_GPU_EVENT_TYPE_DEVICE {
			u.last[g.GetGpu().GetUuid()] = g
		}
	}
	u.allocations = func() (*allocation, string) { return u.answer, u.reason }
	u.isTarget = func(namespace, _, _ string) bool { return namespace == "ns" }
	return u
}

// setAnswer sets the kubelet's answer.
func (u *usage) setAnswer(pods ...*kubeletapi.PodResources) {
	u.clock = u.clock.Add(time.Second)
	u.answer, u.reason = read(&kubeletapi.ListPodResourcesResponse{PodResources: pods}, u.clock), ""
}

// view is a sample of one device: its activity in percent, -1 if unknown, and its processes, nil if unknown.
type view struct {
	id      *event.GpuDevice
	percent int
	pids    []int
}

// sample passes samples of devices, often enough for all to be known: a GPU comes before its MIG devices.
func (u *usage) sample(views ...view) {
	u.clock = u.clock.Add(time.Second)
	for range 3 {
		for _, v := range views {
			for _, pid := range v.pids {
				u.onEvent(&event.Gpu{Type: event.GpuEventType_GPU_EVENT_TYPE_PROCESS, Gpu: v.id,
					Proc: &event.GpuProcess{Pid: uint32(pid)}})
			}
			g := &event.Gpu{Type: event.GpuEventType_GPU_EVENT_TYPE_DEVICE, Gpu: v.id}
			if v.pids != nil {
				g.Processes = u32(uint32(len(v.pids)))
			}
			if v.percent >= 0 {
				g.Activity = &event.GpuActivity{GpuPercent: u32(uint32(v.percent))}
			}
			u.onEvent(g)
		}
	}
}

// expect compares a device's last event: the number of containers to which it is allocated, -1 for unknown, the traced
// ones among them, and its use.
func (u *usage) expect(what, uuid string, allocated int, to, use string) {
	u.Helper()
	g := u.last[uuid]
	n := -1
	if g.Allocated != nil {
		n = int(g.GetAllocated())
	}
	if n != allocated || g.GetAllocatedTo() != to || g.GetUse().Word() != use {
		u.Errorf("%s: %s given to %d, %q, use %q; want %d, %q, %q", what, uuid, n, g.GetAllocatedTo(),
			g.GetUse().Word(), allocated, to, use)
	}
	if unknown := strings.Contains(g.GetUnavailable(), "allocation: "); unknown != (n < 0) {
		u.Errorf("%s: %s given to %d, and unavailable is %q", what, uuid, n, g.GetUnavailable())
	}
}

func gpu(uuid string, index uint32) *event.GpuDevice {
	return &event.GpuDevice{Uuid: uuid, Index: &index}
}

func TestUse_ByAllocationAndActivity(t *testing.T) {
	none := []int{}
	for _, test := range []struct {
		what      string
		percent   int
		pids      []int
		given     bool
		blind     bool // the allocation is unknown
		allocated int
		to, use   string
	}{
		{what: "nobody has it", pids: none, use: "free"},
		{what: "it is given and works", percent: 90, pids: []int{10}, given: true, allocated: 1, to: "ns/pod-7/main",
			use: "busy"},
		{what: "it is given and idle", pids: []int{10}, given: true, allocated: 1, to: "ns/pod-7/main", use: "idle"},
		{what: "it is given and not used", pids: none, given: true, allocated: 1, to: "ns/pod-7/main", use: "unused"},
		{what: "it is given and not used, activity not known", percent: -1, pids: none, given: true, allocated: 1,
			to: "ns/pod-7/main", use: "unused"},
		{what: "it is given, activity not known", percent: -1, pids: []int{10}, given: true, allocated: 1,
			to: "ns/pod-7/main", use: ""},
		{what: "it is given, processes not known", given: true, allocated: 1, to: "ns/pod-7/main", use: ""},
		{what: "it is not given, and used by a target", percent: 90, pids: []int{10}, use: "bypass"},
		{what: "the same, idle", pids: []int{10}, use: "bypass"},
		{what: "the same, activity not known", percent: -1, pids: []int{10}, use: "bypass"},
		{what: "it is not given, and used by somebody else", percent: 90, pids: []int{11}, use: "busy"},
		{what: "it is not given, and idle with somebody else", pids: []int{11}, use: "idle"},
		{what: "allocation not known, busy", percent: 90, pids: []int{10}, blind: true, allocated: -1, use: "busy"},
		{what: "allocation not known, idle", pids: []int{10}, blind: true, allocated: -1, use: "idle"},
		{what: "allocation not known, no process", pids: none, blind: true, allocated: -1, use: ""},
		{what: "nothing known", percent: -1, blind: true, allocated: -1, use: ""},
	} {
		u := newUsage(t)
		u.process(10, 100, "train", 7)
		u.process(11, 100, "other", 0)
		d := view{gpu("GPU-0", 0), test.percent, test.pids}
		u.sample(d)
		switch {
		case test.blind:
		case test.given:
			u.setAnswer(fakes.GivenTo("ns", "pod-7", "main", "nvidia.com/gpu", "GPU-0"))
		default:
			u.setAnswer(fakes.GivenTo("ns", "pod-7", "main", ""))
		}
		u.sample(d)
		u.expect(test.what, "GPU-0", test.allocated, test.to, test.use)
		if got, want := u.last["GPU-0"].GetMessage(),
			map[bool]string{
				true: "used by ns/pod-7/main without having been given it"}[test.use == "bypass"]; got != want {
			t.Errorf("%s: %q", test.what, got)
		}
	}
}

func TestUse_BypassOnlyWhenKnown(t *testing.T) {
	u := newUsage(t)
	u.process(10, 100, "train", 7)
	u.setAnswer(fakes.GivenTo("ns", "pod-7", "main", ""))
	u.sample(view{gpu("GPU-0", 0), 90, []int{10}})
	u.expect("the answer is older than the process", "GPU-0", 0, "", "busy")
	u.setAnswer(fakes.GivenTo("ns", "other", "main", ""))
	u.sample(view{gpu("GPU-0", 0), 90, []int{10}})
	u.expect("the answer lacks it: it may be an init container", "GPU-0", 0, "", "busy")
	u.setAnswer(fakes.GivenTo("ns", "pod-7", "main", ""))
	u.sample(view{gpu("GPU-0", 0), 90, []int{10}})
	u.expect("the answer is newer than the process", "GPU-0", 0, "", "bypass")
}

func TestUse_SharedGPU(t *testing.T) {
	u := newUsage(t)
	u.process(10, 100, "a", 7)
	u.process(11, 100, "b", 8)
	u.setAnswer(fakes.GivenTo("ns", "pod-7", "main", "nvidia.com/gpu.shared", "GPU-0::0", "GPU-0::1"),
		fakes.GivenTo("ns", "pod-8", "main", "nvidia.com/gpu.shared", "GPU-0::2"),
		fakes.GivenTo("else", "x", "main", "nvidia.com/gpu.shared", "GPU-0::3"))
	u.sample(view{gpu("GPU-0", 0), 90, []int{10, 11}}, view{gpu("GPU-1", 1), 0, []int{}})
	u.expect("three have parts of it", "GPU-0", 3, "ns/pod-7/main,ns/pod-8/main", "busy")
	u.expect("the other one is nobody's", "GPU-1", 0, "", "free")
}

func TestUse_UnknownBeforeAllDevicesAreRead(t *testing.T) {
	u := newUsage(t)
	u.setAnswer(fakes.GivenTo("ns", "pod-7", "main", "nvidia.com/gpu", "GPU-1"))
	u.onEvent(&event.Gpu{Type: event.GpuEventType_GPU_EVENT_TYPE_DEVICE, Gpu: gpu("GPU-0", 0), Processes: u32(0)})
	u.expect("the first sample", "GPU-0", -1, "", "")
	u.sample(view{gpu("GPU-0", 0), 0, []int{}}, view{gpu("GPU-1", 1), 0, []int{}})
	u.expect("the second", "GPU-0", 0, "", "free")
	u.expect("the second", "GPU-1", 1, "ns/pod-7/main", "unused")
}

// split is a GPU with two MIG devices of one profile.
func split(percent ...int) (whole, a, b view) {
	part := func(uuid string, gi uint32) *event.GpuDevice {
		return &event.GpuDevice{Uuid: uuid, Index: u32(gi - 7), Parent: "GPU-0", ParentIndex: u32(0), GpuInstance: &gi,
			Name: "A100 MIG 1g.10gb"}
	}
	return view{gpu("GPU-0", 0), -1, nil}, view{part("MIG-a", 7), percent[0], []int{}},
		view{part("MIG-b", 8), percent[1], []int{}}
}

func TestUse_GPUByItsMIGDevices(t *testing.T) {
	u := newUsage(t)
	u.process(10, 100, "train", 7)
	whole, a, b := split(0, 0)
	u.setAnswer(fakes.GivenTo("ns", "pod-7", "main", "nvidia.com/mig-1g.10gb", "MIG-a"))
	u.sample(whole, a, b)
	u.expect("one part is given", "GPU-0", 1, "ns/pod-7/main", "unused")
	u.expect("that part", "MIG-a", 1, "ns/pod-7/main", "unused")
	u.expect("the other", "MIG-b", 0, "", "free")
	if u.last["GPU-0"].HeldIdle() || !u.last["MIG-a"].HeldIdle() {
		t.Error("it is the MIG device that is held and idle, once")
	}
	a.percent, a.pids = 50, []int{10}
	u.sample(whole, a, b)
	u.expect("one part works", "GPU-0", 1, "ns/pod-7/main", "busy")
	b.pids = []int{10}
	u.sample(whole, a, b)
	u.setAnswer(fakes.GivenTo("ns", "pod-7", "main", "nvidia.com/mig-1g.10gb", "MIG-a"))
	u.sample(whole, a, b)
	u.expect("one has a process of a pod that was given the other", "MIG-b", 0, "", "bypass")
	u.expect("and so has its GPU", "GPU-0", 1, "ns/pod-7/main", "bypass")
	u.setAnswer(fakes.GivenTo("ns", "pod-7", "main", "nvidia.com/gpu", "GPU-0"))
	u.sample(whole, a, b)
	u.expect("the whole is given", "MIG-b", 1, "ns/pod-7/main", "idle")
	u.setAnswer(fakes.GivenTo("ns", "pod-7", "main", "nvidia.com/gpu", "nvidia0/gi8"))
	b.percent = -1
	u.sample(whole, a, b)
	u.expect("GKE's name of it", "MIG-b", 1, "ns/pod-7/main", "")
}

func TestUse_DestroyedMIGDeviceIsRemoved(t *testing.T) {
	u := newUsage(t)
	whole, a, b := split(0, 0)
	u.setAnswer(fakes.GivenTo("ns", "pod-7", "main", "nvidia.com/mig-1g.10gb", "MIG-a"))
	u.sample(whole, a, b)
	u.expect("it is given", "GPU-0", 1, "ns/pod-7/main", "unused")
	u.sample(whole, b)
	u.expect("it is no more", "GPU-0", 0, "", "free")
	u.sample(view{gpu("GPU-0", 0), 0, []int{}})
	u.expect("it has none any more", "GPU-0", 0, "", "free")
	if len(u.devices) != 1 {
		t.Errorf("%d devices are remembered", len(u.devices))
	}
}

func TestUse_AmbiguousClaimIsUnknown(t *testing.T) {
	u := newUsage(t)
	whole, a, b := split(0, 0)
	u.setAnswer(fakes.ClaimedBy("ns", "pod-7", "main", draDriver, "node", "gpu-0-mig-1g10gb-19-4"))
	u.sample(whole, a, b)
	u.expect("one of two", "MIG-a", -1, "", "")
	u.expect("one of two", "MIG-b", -1, "", "")
	u.expect("a part of it in any case", "GPU-0", 1, "ns/pod-7/main", "")
	const want = `allocation: the kubelet has allocated gpu.nvidia.com "gpu-0-mig-1g10gb-19-4", ` +
		`which may be any of several MIG devices of that GPU`
	if got := u.last["MIG-a"].GetUnavailable(); got != want {
		t.Errorf("%q", got)
	}
	a.id, b.id = proto.CloneOf(a.id), proto.CloneOf(b.id)
	a.id.PlacementStart, b.id.PlacementStart = u32(4), u32(5)
	u.sample(whole, a, b)
	u.expect("the driver reports the placement", "MIG-a", 1, "ns/pod-7/main", "unused")
	u.expect("the driver reports the placement", "MIG-b", 0, "", "free")
}

func TestUse_WarnsOfIDWithoutDevice(t *testing.T) {
	u := newUsage(t)
	d := view{gpu("GPU-0", 0), 0, []int{}}
	pods := []*kubeletapi.PodResources{fakes.GivenTo("ns", "pod-7", "main", "nvidia.com/gpu", "GPU-gone"),
		fakes.GivenTo("ns", "nic", "main", "nvidia.com/hostdev", "0000:03:00.2"),
		fakes.GivenTo("secret", "project", "main", "nvidia.com/gpu", "GPU-lost")}
	for range 5 {
		u.setAnswer(pods...)
		u.sample(d)
	}
	u.expect("it was another's", "GPU-0", 0, "", "free")
	if want := []string{
		`gpu: the kubelet has allocated nvidia.com/gpu "GPU-gone" to ns/pod-7/main, but the driver has no such device`,
		`gpu: the kubelet has allocated nvidia.com/gpu "GPU-lost" to a pod that is not a target, ` +
			`but the driver has no such device`,
	}; !slices.Equal(u.warnings, want) {
		t.Errorf("%q", u.warnings)
	}
	u.setAnswer(fakes.GivenTo("ns", "pod-7", "main", "nvidia.com/gpu", "a form of its own"))
	u.sample(d)
	u.expect("it may be any", "GPU-0", -1, "", "")
	const want = `allocation: the kubelet has allocated nvidia.com/gpu "a form of its own", which may be any device`
	if got := u.last["GPU-0"].GetUnavailable(); got != want {
		t.Errorf("%q", got)
	}
}

func TestUse_IncompleteAnswerIsUnknown(t *testing.T) {
	u := newUsage(t)
	u.process(10, 100, "train", 7)
	u.sample(view{gpu("GPU-0", 0), 90, []int{10}})
	u.setAnswer(fakes.GivenTo("ns", "pod-7", "main", ""))
	u.answer.vague = noClaims
	u.sample(view{gpu("GPU-0", 0), 90, []int{10}})
	u.expect("it may have a claim", "GPU-0", -1, "", "busy")
}

func TestUse_LimitsWarningsOfIDs(t *testing.T) {
	u := newUsage(t)
	var pods []*kubeletapi.PodResources
	for i := range 10 * maxUnknown {
		pods = append(pods, fakes.GivenTo("ns", "pod", "main", "nvidia.com/gpu", "GPU-gone-"+strings.Repeat("x", i)))
	}
	for range 5 {
		u.setAnswer(pods...)
		u.sample(view{gpu("GPU-0", 0), 0, []int{}})
	}
	if len(u.warnings) != maxUnknown+1 {
		t.Errorf("%d warnings: %q", len(u.warnings), u.warnings)
	}
}
