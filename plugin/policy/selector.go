package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// identity are the keys by which applications are usually told apart, in the order of preference.
var identity = []string{
	"app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/component", "app", "k8s-app", "name",
	"component", "tier", "role",
}

// changing are keys whose values change with a rollout, or differ between the pods of a workload.
var changing = []string{
	"pod-template-hash", "controller-revision-hash", "pod-template-generation", "statefulset.kubernetes.io/pod-name",
	"apps.kubernetes.io/pod-index", "controller-uid", "batch.kubernetes.io/controller-uid",
	"batch.kubernetes.io/job-completion-index", "app.kubernetes.io/version", "version", "helm.sh/chart", "chart",
}

// unknownLabels is the key of selectors that are to be written by hand. No pod has it, so that a policy with it does
// nothing.
const unknownLabels = "orb8.dev/labels-not-known"

// selection is how a workload's pods are selected.
type selection struct {
	labels map[string]string
	// doubt is why these are not exactly the pods; empty: they are.
	doubt string
	// known: the labels are those of pods.
	known bool
}

// selector returns labels that all pods of a workload have, and no other pod of the namespace.
func (inv *Inventory) selector(ref Ref) selection {
	placeholder := map[string]string{unknownLabels: strings.ReplaceAll(ref.Name, "/", ".")}
	if len(placeholder[unknownLabels]) > 63 {
		placeholder[unknownLabels] = strings.TrimRight(placeholder[unknownLabels][:63], "-_.")
	}
	pods := inv.of(ref)
	switch {
	case !inv.knows(ref.Namespace):
		return selection{labels: placeholder, doubt: "its labels are not known"}
	case len(pods) == 0:
		return selection{labels: placeholder, doubt: "its pods are gone, so that their labels are not known"}
	}
	common := commonLabels(pods)
	if len(common) == 0 {
		return selection{labels: placeholder, doubt: "its pods have no labels in common that stay: give them one"}
	}
	chosen := map[string]string{}
	for _, key := range identity {
		if v, has := common[key]; has {
			chosen[key] = v
		}
	}
	others := inv.others(ref, chosen)
	for _, key := range slices.Sorted(maps.Keys(common)) {
		if len(chosen) > 0 && len(others) == 0 {
			break
		}
		if _, has := chosen[key]; has {
			continue
		}
		chosen[key] = common[key]
		if fewer := inv.others(ref, chosen); len(chosen) == 1 || len(fewer) < len(others) {
			others = fewer
		} else {
			delete(chosen, key)
		}
	}
	s := selection{labels: chosen, known: true}
	if len(others) > 0 {
		s.doubt = fmt.Sprintf("its labels also select %s: give it a label of its own", listed(others))
	}
	return s
}

// commonLabels are the labels that all pods have with the same value, without those that change.
func commonLabels(pods []*corev1.Pod) map[string]string {
	common := map[string]string{}
	for k, v := range pods[0].Labels {
		if !slices.Contains(changing, k) {
			common[k] = v
		}
	}
	for _, p := range pods[1:] {
		for k, v := range common {
			if got, has := p.Labels[k]; !has || got != v {
				delete(common, k)
			}
		}
	}
	return common
}

// others are the workloads that labels select besides one.
func (inv *Inventory) others(ref Ref, set map[string]string) []string {
	found := map[string]bool{}
	for _, p := range inv.selected(ref.Namespace, labels.Set(set)) {
		if other := podRef(p); other != ref {
			found[other.Name] = true
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// portName is the name that all pods of a workload have for a port; empty: they have none.
func (inv *Inventory) portName(ref Ref, port uint16, protocol corev1.Protocol) string {
	name := ""
	for i, p := range inv.of(ref) {
		own := namedPort(p, port, protocol)
		if i > 0 && own != name || own == "" {
			return ""
		}
		name = own
	}
	return name
}

func namedPort(pod *corev1.Pod, port uint16, protocol corev1.Protocol) string {
	for i := range pod.Spec.Containers {
		for _, p := range pod.Spec.Containers[i].Ports {
			if p.ContainerPort == int32(port) && (p.Protocol == protocol || p.Protocol == "" &&
				protocol == corev1.ProtocolTCP) {
				return p.Name
			}
		}
	}
	return ""
}

// portNumber is the port that a pod gives a name; 0: none.
func portNumber(pod *corev1.Pod, name string) uint16 {
	for i := range pod.Spec.Containers {
		for _, p := range pod.Spec.Containers[i].Ports {
			if p.Name == name {
				return uint16(p.ContainerPort)
			}
		}
	}
	return 0
}

// maxNamed is how many names a text has.
const maxNamed = 5

func listed(names []string) string {
	if len(names) > maxNamed {
		return strings.Join(names[:maxNamed], ", ") + fmt.Sprintf(" and %d more", len(names)-maxNamed)
	}
	return strings.Join(names, ", ")
}
