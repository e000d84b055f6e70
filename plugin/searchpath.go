package plugin

import (
	"fmt"
	"strings"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/internal/plural"
)

// maxNames bounds what is remembered of the names that pods ask for.
const maxNames = 10_000

// searchPath finds the lookups that a pod's search path wastes: with ndots:5, as Kubernetes sets it, a name of fewer dots is asked for in
// the pod's namespace, among all services and in the cluster's zone before it is asked for as it is.
type searchPath struct {
	// zones are the cluster's, "cluster.local": what stands behind "svc." in names that were asked for.
	zones map[string]bool
	names map[podName]*lookups
	total int
}

type podName struct{ namespace, pod, name string }

// lookups are those of one name by one pod.
type lookups struct {
	wasted int
	// exists says that the name resolves as it is.
	exists bool
}

func newSearchPath() *searchPath {
	return &searchPath{zones: map[string]bool{}, names: map[podName]*lookups{}}
}

func (s *searchPath) add(ev *event.Event) {
	d := ev.GetDns()
	if d.GetObserved() != event.Side_SIDE_SRC || d.GetOutcome() != event.DnsOutcome_DNS_OUTCOME_ANSWERED || ev.GetPod() == "" {
		return
	}
	s.total++
	name := strings.ToLower(strings.TrimSuffix(d.GetName(), "."))
	switch d.GetRcode() {
	case "NOERROR":
		if l := s.of(ev, name); l != nil {
			l.exists = true
		}
	case "NXDOMAIN":
		if base := s.base(ev.GetNamespace(), name); strings.Contains(base, ".") {
			if l := s.of(ev, base); l != nil {
				l.wasted++
			}
		}
	}
}

// base is what the name was before the search path was put to it; empty where it was not.
func (s *searchPath) base(namespace, name string) string {
	if base, zone, ok := strings.Cut(name, "."+namespace+".svc."); ok {
		s.zones[zone] = true
		return base
	}
	for zone := range s.zones {
		if base, ok := strings.CutSuffix(name, "."+zone); ok {
			return strings.TrimSuffix(base, ".svc")
		}
	}
	return ""
}

func (s *searchPath) of(ev *event.Event, name string) *lookups {
	k := podName{ev.GetNamespace(), ev.GetPod(), name}
	l := s.names[k]
	if l == nil && len(s.names) < maxNames {
		l = &lookups{}
		s.names[k] = l
	}
	return l
}

// summary is a line for people; empty where nothing is wasted.
func (s *searchPath) summary() string {
	wasted, names := 0, 0
	var worst podName
	for k, l := range s.names {
		if !l.exists || l.wasted == 0 {
			continue
		}
		wasted += l.wasted
		names++
		if w := s.names[worst]; w == nil || l.wasted > w.wasted || l.wasted == w.wasted && k.name < worst.name {
			worst = k
		}
	}
	if wasted == 0 {
		return ""
	}
	were := "were"
	if wasted == 1 {
		were = "was"
	}
	return fmt.Sprintf("search path: %d of %s %s for %s with the cluster's suffixes behind, which do not exist (see ndots); "+
		"most for %s (pod %s/%s): end such names with a dot, or set ndots to 1 in the pod's dnsConfig", wasted,
		plural.Count(s.total, "lookup"), were, plural.Count(names, "name"), worst.name, worst.namespace, worst.pod)
}
