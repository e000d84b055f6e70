// Package manifest makes strategic merge patches for the pods of observed workloads.
package manifest

import (
	"cmp"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/safe"
)

// Owner is the object whose pods were observed.
type Owner struct {
	Namespace string
	// Workload is the controller, "deploy/web"; empty: the pod has none.
	Workload string
	// Pod is the name of a pod without a controller; empty with one.
	Pod string
}

// OwnerOf is the owner of the pod that an event was observed at.
func OwnerOf(ev *event.Event) Owner {
	o := Owner{Namespace: ev.GetNamespace(), Workload: ev.GetWorkload()}
	if o.Workload == "" {
		o.Pod = ev.GetPod()
	}
	return o
}

// Name is the owner as kubectl writes it: "deploy/web", "pod/client". It is safe for a terminal.
func (o Owner) Name() string {
	if o.Workload == "" {
		return "pod/" + safe.Text(o.Pod)
	}
	return safe.Text(o.Workload)
}

// String is the owner for people: "deploy/web in shop".
func (o Owner) String() string { return o.Name() + " in " + safe.Text(o.Namespace) }

// Compare orders owners by namespace and name.
func (o Owner) Compare(other Owner) int {
	return cmp.Or(cmp.Compare(o.Namespace, other.Namespace), cmp.Compare(o.Workload, other.Workload),
		cmp.Compare(o.Pod, other.Pod))
}

// Container is a container of a pod template, with the fields to set.
type Container struct {
	Name string
	// Init: it is one of initContainers.
	Init   bool
	Fields map[string]any
}

// Patch is the strategic merge patch that sets the fields of containers of the owner's pods.
func (o Owner) Patch(containers ...Container) map[string]any {
	spec := map[string]any{}
	for _, c := range containers {
		list := "containers"
		if c.Init {
			list = "initContainers"
		}
		entry := map[string]any{"name": c.Name}
		for k, v := range c.Fields {
			entry[k] = v
		}
		of, _ := spec[list].([]any)
		spec[list] = append(of, entry)
	}
	patch := map[string]any{"spec": spec}
	kind, _, _ := strings.Cut(o.Workload, "/")
	if kind != "" {
		patch = map[string]any{"spec": map[string]any{"template": patch}}
	}
	if kind == "cronjob" {
		patch = map[string]any{"spec": map[string]any{"jobTemplate": patch}}
	}
	return patch
}

// Usage is how a patch in a file is applied to the owner.
func (o Owner) Usage(file string) string {
	kind, _, _ := strings.Cut(o.Workload, "/")
	switch kind {
	case "":
		return "containers of a pod cannot be patched: change its manifest, and create the pod anew"
	case "job":
		return "the pods of a Job cannot be patched: change the manifest of the Job or of its CronJob"
	}
	return "kubectl patch " + o.Name() + " -n " + safe.Text(o.Namespace) + " --patch-file " + file
}

// Document is a YAML document: comments, then an object.
func Document(comments []string, object any) ([]byte, error) {
	body, err := yaml.Marshal(object)
	if err != nil {
		return nil, err
	}
	return slices.Concat([]byte("---\n"), Comments(comments), body), nil
}

// Comments are lines of a YAML comment, safe for a terminal.
func Comments(lines []string) []byte {
	var b []byte
	for _, line := range lines {
		b = append(b, '#')
		if line != "" {
			b = append(b, ' ')
			b = safe.AppendText(b, line)
		}
		b = append(b, '\n')
	}
	return b
}

// maxName bounds names of Kubernetes: those of most objects are names of DNS.
const maxName = 253

// ValidName reports whether a name is one that Kubernetes accepts. Names in events come from tracers, and become parts
// of manifests and of file names.
func ValidName(name string) bool {
	return name != "" && len(name) <= maxName && strings.Trim(name, "-.") == name &&
		strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789.-") == "" && !strings.Contains(name, "..")
}

// Valid reports whether the names of an owner are valid.
func (o Owner) Valid() bool {
	if !ValidName(o.Namespace) {
		return false
	}
	if o.Workload == "" {
		return ValidName(o.Pod)
	}
	kind, name, _ := strings.Cut(o.Workload, "/")
	return ValidName(kind) && ValidName(name)
}
