package agent

import (
	"slices"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/orbit"
)

// selection is an orbit.NodeSelection with sets instead of lists. An empty set selects everything.
type selection struct {
	kinds, namespaces, pods, workloads map[string]struct{}
}

func newSelection(s *orbit.NodeSelection) *selection {
	return &selection{kinds: set(s.GetKinds()), namespaces: set(s.GetNamespaces()), pods: set(s.GetPods()),
		workloads: set(s.GetWorkloads())}
}

func set(names []string) map[string]struct{} {
	m := make(map[string]struct{}, len(names))
	for _, name := range names {
		m[name] = struct{}{}
	}
	return m
}

// match reports whether an encoded event is selected. Losses and states of the node are part of every answer: who may
// see which names is the server's business.
func (s *selection) match(encoded []byte) bool {
	h, ok := event.ReadHeader(encoded)
	return ok && s.matchHeader(&h)
}

func (s *selection) matchHeader(h *event.Header) bool {
	switch h.Kind {
	case "":
		return false
	case "lost", "nodeStatus":
		return true
	}
	if _, wanted := s.kinds[h.Kind]; len(s.kinds) > 0 && !wanted {
		return false
	}
	return s.matchNames(h.Namespace, h.Pod, h.Workload)
}

func (s *selection) matchNames(namespace, pod, workload []byte) bool {
	if len(s.namespaces) > 0 && !has(s.namespaces, namespace) {
		return false
	}
	return len(s.pods) == 0 && len(s.workloads) == 0 || has(s.pods, pod) || has(s.workloads, workload)
}

// selectedKinds are the kinds to query a history for; nil: all.
func (s *selection) selectedKinds() (kinds []string) {
	if len(s.kinds) == 0 {
		return nil
	}
	for kind := range s.kinds {
		kinds = append(kinds, kind)
	}
	slices.Sort(kinds)
	return append(kinds, "lost", "nodeStatus")
}

func has(m map[string]struct{}, name []byte) bool {
	_, ok := m[string(name)]
	return ok
}
