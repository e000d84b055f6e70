package advice

import (
	"fmt"
	"strings"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/internal/plural"
	"github.com/orb8-dev/kubectl-orb8/internal/searchpath"
)

// maxNames bounds the queried names that are tracked.
const maxNames = 10_000

// searchPath finds the lookups that a pod's DNS search path wastes.
type searchPath struct {
	zones searchpath.Zones
	names map[podName]*lookups
	total int
}

type podName struct{ namespace, pod, name string }

// lookups counts the lookups of one name by one pod.
type lookups struct {
	wasted int
	// exists: the name resolves without a suffix.
	exists bool
}

func newSearchPath() *searchPath {
	return &searchPath{names: map[podName]*lookups{}}
}

func (s *searchPath) add(ev *event.Event) {
	d := ev.GetDns()
	if d.GetObserved() != event.Side_SIDE_SRC || d.GetOutcome() != event.DnsOutcome_DNS_OUTCOME_ANSWERED ||
		ev.GetPod() == "" {
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
		if base := s.zones.Base(ev.GetNamespace(), name); strings.Contains(base, ".") {
			if l := s.of(ev, base); l != nil {
				l.wasted++
			}
		}
	}
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

// summary returns one line about wasted lookups, or none.
func (s *searchPath) summary() (lines []string) {
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
		return nil
	}
	were := "were"
	if wasted == 1 {
		were = "was"
	}
	return []string{fmt.Sprintf("search path: %d of %s %s for %s with the cluster's suffixes behind, which do not "+
		"exist (see ndots); "+
		"most for %s (pod %s/%s): end such names with a dot, or set ndots to 1 in the pod's dnsConfig", wasted,
		plural.Count(s.total, "lookup"), were, plural.Count(names, "name"), worst.name, worst.namespace, worst.pod)}
}
