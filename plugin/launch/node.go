package launch

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/version"
)

// Floor is the oldest Linux release that probes load on.
const Floor = "5.10"

// NotReady is the check of a node that may be ready later; all other checks of NodeProblems are permanent.
const NotReady = "ready"

// ReasonNotReady is the Reason of a StartError about such a node.
const ReasonNotReady = "not ready"

// startError is the problem as what keeps a tracer from starting.
func (p *NodeProblem) startError(node string) *StartError {
	e := &StartError{Node: node, Reason: p.Check, Message: p.Detail, Fix: p.Fix}
	if p.Check == NotReady {
		e.Reason, e.Message = ReasonNotReady, strings.TrimPrefix(p.Detail, notReadyPrefix)
	}
	return e
}

const notReadyPrefix = "the node is not ready: "

// NodeProblem is one reason why a node can not run a tracer.
type NodeProblem struct {
	// Check is "platform", "kernel" or NotReady.
	Check  string
	Detail string
	// Fix is what to do about it.
	Fix string
}

// platforms are kinds of nodes that run no privileged pods, whatever is granted.
var platforms = []struct {
	name string
	is   func(*corev1.Node) bool
	fix  string
}{
	{
		"AWS Fargate", func(n *corev1.Node) bool { return n.Labels["eks.amazonaws.com/compute-type"] == "fargate" },
		"run the pods to be traced in a managed or self-managed node group",
	},
	{
		"a virtual node", func(n *corev1.Node) bool {
			return n.Labels["type"] == "virtual-kubelet" ||
				slices.ContainsFunc(n.Spec.Taints,
					func(t corev1.Taint) bool { return t.Key == "virtual-kubelet.io/provider" })
		},
		"run the pods to be traced on nodes with a kernel of their own",
	},
}

// NodePlatform is a node's operating system and architecture: as its kubelet reports them, else as its labels do. Where
// neither does, they are empty.
func NodePlatform(n *corev1.Node) (os, arch string) {
	return cmp.Or(n.Status.NodeInfo.OperatingSystem, n.Labels[corev1.LabelOSStable]),
		cmp.Or(n.Status.NodeInfo.Architecture, n.Labels[corev1.LabelArchStable])
}

// NodeProblems returns the reasons why a node cannot run a tracer, from its API object.
func NodeProblems(n *corev1.Node) (problems []NodeProblem) {
	for _, p := range platforms {
		if p.is(n) {
			return []NodeProblem{{"platform", p.name + " runs no pods with host access", p.fix}}
		}
	}
	os, arch := NodePlatform(n)
	if os != "" && os != "linux" || arch != "" && !slices.Contains([]string{"amd64", "arm64"}, arch) {
		return []NodeProblem{{"platform", cmp.Or(os, "?") + "/" + cmp.Or(arch, "?") +
			": tracers run on linux/amd64 and linux/arm64",
			"trace pods on other nodes: see kubectl get nodes -L kubernetes.io/os,kubernetes.io/arch"}}
	}
	if release := n.Status.NodeInfo.KernelVersion; tooOld(release) {
		problems = append(problems, NodeProblem{"kernel", fmt.Sprintf("Linux %s is older than %s", release, Floor),
			"upgrade the node's image to one with Linux " + Floor + " or later"})
	}
	if why, ok := nodeReady(n); !ok {
		problems = append(problems, NodeProblem{NotReady, notReadyPrefix + why, "see kubectl describe node " + n.Name})
	}
	return problems
}

// nodeReady reports whether the node is ready, and else why not.
func nodeReady(n *corev1.Node) (why string, ok bool) {
	for i := range n.Status.Conditions {
		if c := &n.Status.Conditions[i]; c.Type == corev1.NodeReady {
			return cmp.Or(c.Message, c.Reason, "its kubelet gives no reason"), c.Status == corev1.ConditionTrue
		}
	}
	return "its kubelet has never reported", false
}

// tooOld reports whether a kernel's release is below Floor. A release that cannot be parsed is not.
func tooOld(release string) bool {
	v, err := version.ParseGeneric(release)
	return err == nil && v.LessThan(version.MustParseGeneric(Floor))
}
