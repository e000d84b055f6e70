package doctor

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/orb8-dev/kubectl-orb8/event/session"
	"github.com/orb8-dev/kubectl-orb8/internal/capabilities"
	"github.com/orb8-dev/kubectl-orb8/plugin/launch"
)

// Floor is the oldest Linux release that probes load on.
const Floor = launch.Floor

// Node returns findings from a node's API object. usable: a tracer may run there.
func Node(n *corev1.Node) (findings []Finding, usable bool) {
	add := func(check string, status Status, detail, fix string) {
		findings = append(findings, Finding{Node: n.Name, Check: check, Status: status, Detail: detail, Fix: fix})
	}
	problems := launch.NodeProblems(n)
	if len(problems) == 0 || problems[0].Check != "platform" {
		if strings.HasPrefix(n.Name, "gk3-") {
			add("platform", Warning,
				"looks like GKE Autopilot, which admits no pods with host access but those Google lists",
				"use a Standard cluster's node pool")
		} else {
			add("platform", OK, platform(n), "")
		}
	}
	for _, p := range problems {
		add(p.Check, Failure, p.Detail, p.Fix)
		if p.Check == "platform" {
			return findings, false
		}
	}
	var taints []string
	for _, t := range n.Spec.Taints {
		taints = append(taints, t.ToString())
	}
	if len(taints) > 0 {
		add("taints", OK, strings.Join(taints, ", ")+": tolerated", "")
	}
	return findings, len(problems) == 0
}

// platform is what a node's kubelet reports of it; a node whose kubelet has reported nothing has its labels at most.
func platform(n *corev1.Node) string {
	info := n.Status.NodeInfo
	os, arch := launch.NodePlatform(n)
	var parts []string
	for _, p := range []string{info.OSImage, info.ContainerRuntimeVersion} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	if info.KubeletVersion != "" {
		parts = append(parts, "kubelet "+info.KubeletVersion)
	}
	return strings.Join(append([]string{cmp.Or(os, "n/a") + "/" + cmp.Or(arch, "n/a")}, parts...), ", ")
}

// Report returns the findings of a tracer's report about its node. privileged: the tracer ran privileged. commands maps
// kinds of events to the commands that show them.
func Report(node string, r *session.Report, privileged bool, commands map[string]string) []Finding {
	var findings []Finding
	add := func(check string, status Status, detail, fix string) {
		findings = append(findings, Finding{Node: node, Check: check, Status: status, Detail: detail, Fix: fix})
	}
	const upgrade = "use a node image with Linux " + Floor +
		" or later, built with CONFIG_DEBUG_INFO_BTF, as the current ones of all distributions are"
	if r.BTF {
		add("kernel", OK, fmt.Sprintf("Linux %s (%s), with type information (BTF)", r.Kernel, r.Arch), "")
	} else {
		add("kernel", Failure, fmt.Sprintf("Linux %s (%s) has no type information (BTF)", r.Kernel, r.Arch), upgrade)
	}
	if r.Cgroup == "" {
		add("cgroup", Failure, "no cgroup v2 hierarchy under /sys/fs/cgroup",
			"boot the node with systemd.unified_cgroup_hierarchy=1")
	} else {
		add("cgroup", OK, "v2, "+r.Cgroup, "")
	}
	if len(r.Missing) == 0 {
		add("capabilities", OK, strings.Join(r.Granted, ", "), "")
	} else {
		fix := "let the container runtime grant them, or try --privileged"
		if slices.Contains(r.Missing, capabilities.SysResource) {
			fix = "get the right to read nodes, by which it is seen that this kernel takes " +
				capabilities.SysResource +
				"; else " + fix
		}
		add("capabilities", Failure, "not granted: "+strings.Join(r.Missing, ", "), fix)
	}
	for _, p := range r.Probes {
		check := "probe: " + p.Kind
		if c := commands[p.Kind]; c != "" {
			check = c
		}
		switch {
		case p.Error == "":
			add(check, OK, strings.Join(p.Hooks, ", "), "")
		case p.Unsupported:
			add(check, Failure, p.Error, upgrade)
		case !privileged:
			add(check, Failure, p.Error, "try --privileged: a security module of the node may forbid it")
		default:
			add(check, Failure, p.Error, "")
		}
	}
	if r.GPU != nil {
		status, detail, fix := gpus(r.GPU, privileged)
		add("gpu", status, detail, fix)
		if !r.GPU.None && (r.GPU.PodResources != "" || r.GPU.PodResourcesError != "") {
			status, detail, fix = allocation(r.GPU)
			add("gpu allocation", status, detail, fix)
		}
		switch {
		case r.GPU.CallsError != "":
			add("gpu calls", Warning, r.GPU.CallsError,
				"calls of the driver's library are not counted; the GPUs are read nevertheless")
		case r.GPU.Calls != "":
			add("gpu calls", OK, r.GPU.Calls, "")
		}
	}
	return findings
}

// allocation returns the finding about the kubelet's pod-resources API. Without it, GPUs have users but no allocations.
func allocation(r *session.GPUReport) (status Status, detail, fix string) {
	switch {
	case r.PodResourcesError == "" && r.Allocation == "":
		return OK, "the kubelet has no GPUs to give, by " + r.PodResources, ""
	case r.PodResourcesError == "":
		return OK, r.Allocation + " given, by " + r.PodResources, ""
	case r.PodResources == "":
		fix = "name the kubelet's socket with --pod-resources"
	default:
		detail, fix = r.PodResources+": ", "look at the kubelet of the node: its pod-resources API does not answer"
	}
	return Warning, detail + r.PodResourcesError, fix
}

// gpus returns the finding about a node's GPUs. A node without a GPU is OK.
func gpus(r *session.GPUReport, privileged bool) (status Status, detail, fix string) {
	switch {
	case r.None:
		return OK, "none to read: " + r.Error, ""
	case r.Error == "":
		counts := map[string]int{}
		for _, name := range r.GPUs {
			counts[name]++
		}
		var names []string
		for _, name := range slices.Sorted(maps.Keys(counts)) {
			names = append(names, fmt.Sprintf("%d × %s", counts[name], name))
		}
		return OK, fmt.Sprintf("%s; driver %s, by %s", strings.Join(names, ", "), cmp.Or(r.Driver, "n/a"), r.Library),
			""
	case r.Library == "":
		fix = "install the driver, or name its library with --nvml-library"
	case privileged:
		fix = "run nvidia-smi on the node: the driver itself may not work"
	default:
		fix = "have NVIDIA's runtime give the device files (--gpu-runtime-class), or try --privileged"
	}
	if r.Library != "" {
		detail = r.Library + ": "
	}
	return Warning, detail + r.Error, fix
}
