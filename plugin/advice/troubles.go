package advice

import (
	"cmp"
	"fmt"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/internal/plural"
)

const (
	// maxTroubled bounds the pods whose failures are counted.
	maxTroubled = 10_000
	// minFailures is how many failures of a pod have a line: a single one happens.
	minFailures = 3
)

// troubles finds the pods whose connections and lookups fail, of which why says more.
type troubles struct{ pods map[troubled]*failures }

type troubled struct{ namespace, pod string }

type failures struct{ connections, lookups int }

func (f *failures) all() int { return f.connections + f.lookups }

func newTroubles() *troubles { return &troubles{pods: map[troubled]*failures{}} }

func (s *troubles) add(ev *event.Event) {
	tcp, dns := ev.GetTcp(), ev.GetDns()
	connection := tcp.GetObserved() == event.Side_SIDE_SRC && tcp.GetOutcome().NeverMade()
	lookup := dns.GetObserved() == event.Side_SIDE_SRC && dns.GetOutcome() == event.DnsOutcome_DNS_OUTCOME_TIMEOUT
	if !connection && !lookup || ev.GetPod() == "" || ev.GetNamespace() == "" {
		return
	}
	k := troubled{ev.GetNamespace(), ev.GetPod()}
	f := s.pods[k]
	if f == nil {
		if len(s.pods) == maxTroubled {
			return
		}
		f = &failures{}
		s.pods[k] = f
	}
	if connection {
		f.connections++
	} else {
		f.lookups++
	}
}

// summary returns a line about the pod with most failures, or none.
func (s *troubles) summary() (lines []string) {
	var worst troubled
	var most *failures
	others := -1
	for k, f := range s.pods {
		if f.all() < minFailures {
			continue
		}
		others++
		if most == nil || f.all() > most.all() || f.all() == most.all() &&
			cmp.Or(cmp.Compare(k.namespace, worst.namespace), cmp.Compare(k.pod, worst.pod)) < 0 {
			worst, most = k, f
		}
	}
	if most == nil {
		return nil
	}
	what := plural.Count(most.connections, "failed connection")
	if most.connections == 0 {
		what = plural.Count(most.lookups, "lookup") + " without an answer"
	}
	more := ""
	if others > 0 {
		more = fmt.Sprintf(" (and some of %d more %s)", others, plural.Noun(others, "pod"))
	}
	return []string{fmt.Sprintf("failures: %s of a pod%s: kubectl orb8 why %s -n %s says more", what, more, worst.pod,
		worst.namespace)}
}
