package server

import (
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/orb8-dev/kubectl-orb8/cluster"
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/orbit"
	"github.com/orb8-dev/kubectl-orb8/event/session"
	"github.com/orb8-dev/kubectl-orb8/filter"
)

// target is a checked selection.
type target struct {
	kinds      []string
	namespaces []string
	// pods and workloads; both empty: all.
	pods, workloads []string
	labels          labels.Selector // nil: all
	container, node string
	filter          *filter.Filter
}

// Limits of a selection.
const (
	maxNamespaces = 256
	maxNames      = 256
	maxExpression = 4 << 10
)

// tracedKinds are the kinds that agents can record.
func tracedKinds() (names []string) {
	for _, k := range event.Kinds() {
		if !k.Row && !k.Payload && k.Name != "lost" && k.Name != "nodeStatus" {
			names = append(names, k.Name)
		}
	}
	return names
}

// newTarget checks a selection. Its errors are for the caller, and say which field is wrong.
func newTarget(s *orbit.Selection, only ...string) (*target, error) {
	t := &target{kinds: s.GetKinds(), namespaces: slices.Compact(slices.Sorted(slices.Values(s.GetNamespaces()))),
		container: s.GetContainer(), node: s.GetNode()}
	known := tracedKinds()
	if len(only) > 0 {
		known = only
	}
	if len(t.kinds) == 0 {
		t.kinds = known
	}
	for _, kind := range t.kinds {
		if !slices.Contains(known, kind) {
			return nil, invalid("kinds: %q: want some of %s", kind, strings.Join(known, ", "))
		}
	}
	if len(t.namespaces) > maxNamespaces {
		return nil, invalid("namespaces: %d: want at most %d", len(t.namespaces), maxNamespaces)
	}
	for _, ns := range t.namespaces {
		if problems := validation.IsDNS1123Label(ns); len(problems) > 0 {
			return nil, invalid("namespaces: %q: %s", ns, problems[0])
		}
	}
	if err := t.addNames(s.GetNames()); err != nil {
		return nil, err
	}
	if len(s.GetLabels()) > maxExpression || len(s.GetFilter()) > maxExpression {
		return nil, invalid("labels, filter: want at most %d bytes each", maxExpression)
	}
	if s.GetLabels() != "" {
		selector, err := labels.Parse(s.GetLabels())
		if err != nil {
			return nil, invalid("labels %q: %v", s.GetLabels(), err)
		}
		t.labels = selector
	}
	var kinds []*event.Kind
	for _, kind := range t.kinds {
		kinds = append(kinds, event.KindByName(kind))
	}
	compiled, err := filter.Compile(s.GetFilter(), kinds)
	if err != nil {
		return nil, invalid("filter: %v", err)
	}
	t.filter = compiled
	return t, nil
}

func invalid(format string, args ...any) error {
	return status.Errorf(codes.InvalidArgument, format, args...)
}

// addNames adds pods and workloads, as users write them.
func (t *target) addNames(names []string) error {
	if len(names) > 0 && len(t.namespaces) != 1 {
		return invalid("names: a name means one object of one namespace, and %d namespaces are selected",
			len(t.namespaces))
	}
	if len(names) > maxNames {
		return invalid("names: %d: want at most %d", len(names), maxNames)
	}
	for _, name := range names {
		workload, pod, err := cluster.ParseName(name)
		switch {
		case err != nil:
			return invalid("names: %v", err)
		case pod != "":
			t.pods = append(t.pods, pod)
		default:
			t.workloads = append(t.workloads, workload)
		}
	}
	return nil
}

// pushed is the part of the target that agents apply.
func (t *target) pushed() *orbit.NodeSelection {
	return &orbit.NodeSelection{Kinds: t.kinds, Namespaces: t.namespaces, Pods: t.pods, Workloads: t.workloads}
}

// matchPod reports whether a pod is selected, but for labels.
func (t *target) matchPod(p *session.Pod) bool {
	return t.matchNames(p.GetNamespace(), p.GetName(), p.GetWorkload())
}

func (t *target) matchNames(namespace, pod, workload string) bool {
	if len(t.namespaces) > 0 && !slices.Contains(t.namespaces, namespace) {
		return false
	}
	return len(t.pods) == 0 && len(t.workloads) == 0 || slices.Contains(t.pods, pod) ||
		slices.Contains(t.workloads, workload)
}

// match reports whether an agent's event is selected, but for labels and the filter.
func (t *target) match(ev *event.Event) bool {
	if ev.GetLost() != nil || ev.GetNodeStatus() != nil {
		return true
	}
	return t.matchNames(ev.GetNamespace(), ev.GetPod(), ev.GetWorkload()) &&
		(t.container == "" || ev.GetContainer() == t.container)
}
