package cluster

import (
	"net/netip"
	"time"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/orb8-dev/kubectl-orb8/collect"
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/session"
)

// Selected is a Cluster for one of several readers, which observes only some of the targets. It implements
// collect.Namer.
type Selected struct {
	*Cluster
	// match selects a target; it must not block.
	match  func(*session.Pod) bool
	labels labels.Selector
}

// Select returns a view of the Cluster in which only the targets that match, and have the labels, are observed. labels
// is nil for all.
func (c *Cluster) Select(match func(*session.Pod) bool, labels labels.Selector) *Selected {
	return &Selected{Cluster: c, match: match, labels: labels}
}

// Name implements collect.Namer.
func (s *Selected) Name(addr netip.Addr, port uint16, proto event.Protocol) collect.Name {
	return s.name(s, addr, port, proto, time.Time{})
}

// HasLabels reports whether a pod has the labels of the selection. The labels of a deleted pod are known for
// labelAfterlife.
func (s *Selected) HasLabels(podUID string) bool {
	if s.labels == nil {
		return true
	}
	set, ok := s.targets.LabelsOf(podUID)
	return ok && s.labels.Matches(set)
}

// ObservesPod reports whether a pod is an observed target.
func (s *Selected) ObservesPod(uid string) bool {
	p := s.targets.Pod(uid)
	return p != nil && s.match(p) && s.HasLabels(uid)
}

// ObservesHost reports whether an observed target is in the network of a node itself.
func (s *Selected) ObservesHost(node string) bool {
	for _, p := range s.targets.HostPods(node) {
		if s.match(p) && s.HasLabels(p.GetUid()) {
			return true
		}
	}
	return false
}

// Namespaces returns the namespaces that have targets.
func (c *Cluster) Namespaces() []string { return c.targets.Namespaces() }
