package e2e

import (
	"fmt"
	"strings"
	"testing"

	kubeletapi "k8s.io/kubelet/pkg/apis/podresources/v1"

	"github.com/orb8-dev/kubectl-orb8/e2e/fakes"
	"github.com/orb8-dev/kubectl-orb8/e2e/kit"
)

// theProcess returns the pid of the only process of a pod.
func theProcess(t *testing.T, p *kit.Pod) uint32 {
	t.Helper()
	pids := p.HostPIDs(t, "workload")
	if len(pids) != 1 {
		t.Fatalf("%s has the processes %v", p.Name, pids)
	}
	return pids[0]
}

// lastSample is a jq program for the newest sample of a device. Its arguments are $node, $uuid and $ns.
const lastSample = `[.[] | select(.type == "device" and .node == $node and .gpu.uuid == $uuid)] | last // {} | `

// TestGPUAllocation compares the kubelets' allocations with the use by processes. The kubelets' API and the driver are
// fakes that speak the real protocol; pods, processes, tracers and sockets are real.
func TestGPUAllocation(t *testing.T) {
	t.Parallel()
	e := kit.NeedOwn(t)
	ns, other := e.Namespace(t, nil), e.Namespace(t, nil)
	one, two := e.Nodes[0], e.Nodes[1]
	pods := e.Pods(t,
		kit.PodSpec{Namespace: ns, Name: "trainer", Node: one},
		kit.PodSpec{Namespace: ns, Name: "idler", Node: one},
		kit.PodSpec{Namespace: ns, Name: "hoarder", Node: one},
		kit.PodSpec{Namespace: ns, Name: "thief", Node: one, AllGPUs: true},
		kit.PodSpec{Namespace: other, Name: "stranger", Node: one},
		kit.PodSpec{Namespace: ns, Name: "left", Node: two},
		kit.PodSpec{Namespace: ns, Name: "right", Node: two},
	)
	pid := map[string]uint32{}
	for _, p := range pods {
		pid[p.Name] = theProcess(t, p)
	}
	driver, kubelets := fakes.BuildNVML(t), fakes.NewPodResources(t)
	on := func(index int, util, pod string) []string {
		compute := "compute "
		if pod != "" {
			compute += fmt.Sprintf("%d:1073741824", pid[pod])
		}
		return h100(index, "util "+util+" 0", compute)
	}
	driver.Script(t, one, script(7, on(0, "97", "trainer"), on(1, "0", "idler"), on(2, "0", ""), on(3, "50", "thief"),
		on(4, "0", ""), on(5, "0", ""), on(6, "30", "stranger"))...)
	given := func(pod, resource string, ids ...string) *kubeletapi.PodResources {
		return fakes.GivenTo(ns, pod, "workload", resource, ids...)
	}
	kubelets.SetPods(t, one,
		given("trainer", "nvidia.com/gpu", "GPU-0"), given("idler", "nvidia.com/gpu", "GPU-1"),
		given("hoarder", "nvidia.com/gpu", "GPU-2"), given("thief", ""),
		fakes.GivenTo(other, "stranger", "workload", "nvidia.com/gpu", "GPU-4"))
	shared := func(more ...string) []string {
		return script(2, h100(0, append([]string{
			"minor 1", fmt.Sprintf("compute %d:1073741824 %d:2147483648", pid["left"], pid["right"]),
			fmt.Sprintf("utilization %d:60:20 %d:30:10", pid["left"], pid["right"]),
		}, more...)...), h100(1, "minor 0", "util 0 0", "compute "))
	}
	driver.Script(t, two, shared()...)
	slices := []*kubeletapi.PodResources{given("left", "nvidia.com/gpu.shared", "GPU-0::0"),
		given("right", "nvidia.com/gpu.shared", "GPU-0::3")}
	kubelets.SetPods(t, two, slices...)

	tr := e.Trace(t, "trace", "gpu", "-n", ns, "--nvml-library", driver.Library, "--pod-resources", kubelets.Path,
		"--interval", "300ms", "-o", "json")
	await := func(t *testing.T, node, uuid, condition string) {
		t.Helper()
		tr.AwaitJQ(t, lastSample+condition, "--arg", "node", node, "--arg", "uuid", uuid, "--arg", "ns", ns)
	}
	for _, test := range []struct{ what, uuid, condition string }{
		{"allocated and busy", "GPU-0",
			`.allocated == 1 and .allocatedTo == $ns + "/trainer/workload" and .usedBy == .allocatedTo
			and .use == "busy"`},
		{"allocated and idle", "GPU-1",
			`.allocated == 1 and .allocatedTo == $ns + "/idler/workload" and .use == "idle"`},
		{"allocated and unused", "GPU-2",
			`.allocated == 1 and .allocatedTo == $ns + "/hoarder/workload" and .usedBy == null and .processes == 0
			and .use == "unused"`},
		{"used without allocation", "GPU-3",
			`.allocated == 0 and .allocatedTo == null and .usedBy == $ns + "/thief/workload" and .use == "bypass"
			and .message == "used by " + $ns + "/thief/workload without having been given it"`},
		{"allocated to a pod that is not traced", "GPU-4",
			`.allocated == 1 and .allocatedTo == null and .use == "unused" and .message == null`},
		{"free", "GPU-5",
			`.allocated == 0 and .use == "free" and .unavailable != ""
			and ((.unavailable // "") | contains("allocation") | not)`},
		{"used without allocation by a pod that is not traced", "GPU-6",
			`.allocated == 0 and .use == "busy" and .message == null and .ownProcesses == 0 and .processes == 1`},
	} {
		t.Run(test.what, func(t *testing.T) { await(t, one, test.uuid, test.condition) })
	}
	t.Run("a GPU shared by time-slicing, split by the driver", func(t *testing.T) {
		await(t, two, "GPU-0",
			`.allocated == 2 and .allocatedTo == "\($ns)/left/workload,\($ns)/right/workload"
			and .usedBy == .allocatedTo and .use == "busy"`)
		tr.AwaitJQ(t,
			`[.[] | select(.type == "process" and .node == $node and .proc.smPercent != null)
			| {(.pod): .proc.smPercent}] | add == {left: 60, right: 30}`, "--arg", "node", two)
		await(t, two, "GPU-1", `.allocated == 0 and .use == "free"`)
	})
	t.Run("GKE counts device files", func(t *testing.T) {
		kubelets.SetPods(t, two, given("left", "nvidia.com/gpu", "nvidia1/vgpu0"),
			given("right", "nvidia.com/gpu", "nvidia0"))
		await(t, two, "GPU-0", `.allocated == 1 and .allocatedTo == $ns + "/left/workload" and .use == "bypass"`)
		await(t, two, "GPU-1", `.allocated == 1 and .allocatedTo == $ns + "/right/workload" and .use == "unused"`)
	})
	t.Run("claims of dynamic resource allocation", func(t *testing.T) {
		kubelets.SetPods(t, two, fakes.ClaimedBy(ns, "left", "workload", "gpu.nvidia.com", two, "gpu-1"),
			fakes.ClaimedBy(ns, "right", "workload", "gpu.nvidia.com", two, "gpu-1"))
		await(t, two, "GPU-0",
			`.allocated == 2 and .allocatedTo == "\($ns)/left/workload,\($ns)/right/workload" and .use == "busy"`)
		await(t, two, "GPU-1", `.allocated == 0 and .use == "free"`)
	})
	t.Run("unknown devices and names", func(t *testing.T) {
		kubelets.SetPods(t, two, given("left", "nvidia.com/gpu", "GPU-0"),
			given("right", "nvidia.com/gpu", "GPU-that-is-gone"))
		await(t, two, "GPU-1", `.allocated == 0`)
		// The tracer reports a device that stays unknown for 5 s. It queries the kubelet every 2 s.
		for calls := kubelets.Calls(two); kubelets.Calls(two) < calls+4; {
			await(t, two, "GPU-1", `.allocated == 0`)
		}
		kubelets.SetPods(t, two, given("left", "nvidia.com/gpu", "GPU-0"),
			given("right", "nvidia.com/gpu", "what is this"))
		await(t, two, "GPU-1",
			`.allocated == null and .use == null and (.unavailable | contains("allocation: the kubelet has allocated `+
				`nvidia.com/gpu \"what is this\", which may be any device"))`)
	})
	t.Run("MIG devices, and their GPU as the sum of them", func(t *testing.T) {
		driver.Script(t, two, script(1, h100(0, "mig 3", "minor 1"), []string{
			"0.0.uuid MIG-a", "0.0.name NVIDIA H100 80GB HBM3 MIG 1g.10gb", "0.0.instance 7 0", "0.0.placement 4",
			fmt.Sprintf("0.0.compute %d:1073741824", pid["left"]), "0.0.gpm.2 88",
			"0.1.uuid MIG-b", "0.1.name NVIDIA H100 80GB HBM3 MIG 1g.10gb", "0.1.instance 8 0", "0.1.placement 5",
			"0.1.compute ", "0.1.gpm.2 0",
			"0.2.uuid MIG-c", "0.2.name NVIDIA H100 80GB HBM3 MIG 3g.40gb", "0.2.instance 2 0", "0.2.placement 0",
			"0.2.compute ", "0.2.gpm.2 0",
		})...)
		kubelets.SetPods(t, two, given("left", "nvidia.com/mig-1g.10gb", "MIG-a"),
			given("right", "nvidia.com/mig-1g.10gb", "MIG-b"))
		await(t, two, "MIG-a", `.allocated == 1 and .allocatedTo == $ns + "/left/workload" and .use == "busy"`)
		await(t, two, "MIG-b",
			`.allocated == 1 and .allocatedTo == $ns + "/right/workload" and .use == "unused"
			and .gpu.placementStart == 5`)
		await(t, two, "MIG-c", `.allocated == 0 and .use == "free"`)
		await(t, two, "GPU-0", `.allocated == 2 and .use == "busy"`)
		kubelets.SetPods(t, two, given("left", "nvidia.com/gpu", "nvidia1/gi7"),
			fakes.ClaimedBy(ns, "right", "workload", "gpu.nvidia.com", two, "gpu-1-mig-3g40gb-9-0"))
		await(t, two, "MIG-a", `.allocatedTo == $ns + "/left/workload"`)
		await(t, two, "MIG-b", `.allocated == 0 and .use == "free"`)
		await(t, two, "MIG-c", `.allocatedTo == $ns + "/right/workload" and .use == "unused"`)
	})
	driver.Script(t, two, shared()...)
	for _, test := range []struct {
		name, message string
		breakIt       func(t *testing.T)
	}{
		{"no socket", "there is no such socket on this node", func(t *testing.T) { kubelets.Stop(two) }},
		{"nonsense", "the kubelet: ", func(t *testing.T) { kubelets.Nonsense(t, two) }},
		{"a kubelet that hangs", "the kubelet did not answer within 3s", func(t *testing.T) { kubelets.Hang(t, two) }},
	} {
		t.Run(test.name+": allocation is unknown", func(t *testing.T) {
			kubelets.SetPods(t, two, slices...)
			await(t, two, "GPU-0", `.allocated == 2`)
			test.breakIt(t)
			await(t, two, "GPU-0",
				`.allocated == null and .allocatedTo == null and .use == "busy" and .ownProcesses == 2
				and .usedBy == "\($ns)/left/workload,\($ns)/right/workload"
				and (.unavailable | contains("allocation: ") and contains("`+test.message+`"))`)
			await(t, two, "GPU-1", `.allocated == null and .use == null`)
			await(t, one, "GPU-0", `.allocated == 1`)
		})
	}
	// The message comes at once, and not only at the end.
	tr.AwaitStderr(t, two+`: gpu: the kubelet has allocated nvidia.com/gpu "GPU-that-is-gone"`)
	tr.Stop(t)
	tr.CheckSchema(t)
	for _, line := range []string{
		"gpu: " + one + "/2 (NVIDIA H100 80GB HBM3) has had no process for the last ", ", and is allocated to " + ns +
			"/hoarder/workload",
		"gpu: " + one + "/1 (NVIDIA H100 80GB HBM3) has done nothing for the last ", ", and is held by " + ns +
			"/idler/workload",
		"gpu: " + two + `: the kubelet has allocated nvidia.com/gpu "GPU-that-is-gone" to ` + ns +
			"/right/workload, but the driver has no such device",
		"gpu: " + one + "/3 (NVIDIA H100 80GB HBM3) was used by " + ns + "/thief/workload without having been given it",
	} {
		if !strings.Contains(tr.Stderr(), line) {
			t.Errorf("no closing line has %q", line)
		}
	}
}

// TestGPUAllocation_RealKubelets has the real kubelets allocate devices of a device plugin to pods. The tracers find
// the kubelets' sockets: two on one machine, each in its own directory.
func TestGPUAllocation_RealKubelets(t *testing.T) {
	e := kit.NeedOwn(t)
	ns := e.Namespace(t, nil)
	driver := fakes.BuildNVML(t)
	plugins := map[string]*fakes.DevicePlugin{}
	var specs []kit.PodSpec
	for i, node := range e.Nodes {
		plugins[node] = fakes.NewDevicePlugin(t, e.KubeletRoot(t, node), "nvidia.com/gpu", fmt.Sprintf("GPU-%d-x", i),
			fmt.Sprintf("GPU-%d-y", i))
		e.AwaitGPUs(t, node, 2)
		specs = append(specs, kit.PodSpec{Namespace: ns, Name: fmt.Sprintf("holder-%d", i), Node: node, GPUs: 1},
			kit.PodSpec{Namespace: ns, Name: fmt.Sprintf("thief-%d", i), Node: node, AllGPUs: true})
	}
	pods := e.Pods(t, specs...)
	given, free := map[string]string{}, map[string]string{}
	for i, node := range e.Nodes {
		list := plugins[node].Allocated()
		if len(list) != 1 || len(list[0]) != 1 {
			t.Fatalf("the kubelet of %s has allocated %v", node, list)
		}
		given[node] = list[0][0]
		free[node] = map[string]string{fmt.Sprintf("GPU-%d-x", i): fmt.Sprintf("GPU-%d-y", i),
			fmt.Sprintf("GPU-%d-y", i): fmt.Sprintf("GPU-%d-x", i)}[given[node]]
		driver.Script(t, node, script(2,
			h100(0, "uuid "+given[node], "util 80 0", fmt.Sprintf("compute %d:1000", theProcess(t, pods[2*i]))),
			h100(1, "uuid "+free[node], "util 10 0", fmt.Sprintf("compute %d:1000", theProcess(t, pods[2*i+1]))))...)
	}
	tr := e.Trace(t, "trace", "gpu", "-n", ns, "--nvml-library", driver.Library, "--interval", "300ms", "-o", "json")
	for i, node := range e.Nodes {
		args := []string{"--arg", "node", node, "--arg", "ns", ns, "--arg", "i", fmt.Sprint(i)}
		tr.AwaitJQ(t,
			lastSample+`.allocated == 1 and .allocatedTo == "\($ns)/holder-\($i)/workload" and .use == "busy"`,
			append(args, "--arg", "uuid", given[node])...)
		tr.AwaitJQ(t, lastSample+`.allocated == 0 and .usedBy == "\($ns)/thief-\($i)/workload" and .use == "bypass"`,
			append(args, "--arg", "uuid", free[node])...)
	}
	tr.Stop(t)

	findings, _, _ := doctor(t, e, e.Kubeconfig, "-n", ns, "--gpu", "--nvml-library", driver.Library)
	for _, node := range e.Nodes {
		if f, want := findingOf(t, findings, node, "gpu allocation"), "1 of 2 nvidia.com/gpu given, by "+
			e.KubeletRoot(t, node)+"/pod-resources/kubelet.sock"; f.Status != "ok" || f.Detail != want {
			t.Errorf("%+v, want %q", f, want)
		}
	}
	findings, _, _ = doctor(t, e, e.Kubeconfig, "-n", ns, "--gpu", "--node", e.Nodes[0], "--nvml-library",
		driver.Library, "--pod-resources", "/nowhere/{node}.sock")
	if f := findingOf(t, findings, e.Nodes[0], "gpu allocation"); f.Status != "warning" ||
		f.Detail != "--pod-resources /nowhere/"+e.Nodes[0]+".sock: there is no such socket on this node" {
		t.Errorf("%+v", f)
	} else {
		wantFix(t, f, "--pod-resources")
	}
}
