package advice

import (
	"fmt"
	"strings"
	"testing"

	"github.com/orb8-dev/kubectl-orb8/event"
)

func lookup(pod, name, rcode string) *event.Event {
	return &event.Event{Namespace: "shop", Pod: pod, Kind: &event.Event_Dns{Dns: &event.Dns{
		Observed: event.Side_SIDE_SRC, Outcome: event.DnsOutcome_DNS_OUTCOME_ANSWERED, Name: name, Rcode: rcode,
	}}}
}

func TestSearchPath_NamesWaste(t *testing.T) {
	s := newSearchPath()
	if got := s.summary(); got != nil {
		t.Errorf("of nothing: %q", got)
	}
	for range 2 { // A and AAAA
		for _, suffix := range []string{".shop.svc.cluster.local.", ".svc.cluster.local.", ".cluster.local."} {
			s.add(lookup("web", "API.example.com"+suffix, "NXDOMAIN"))
		}
		s.add(lookup("web", "api.example.com.", "NOERROR"))
	}
	s.add(lookup("db", "cache.other.shop.svc.cluster.local.", "NXDOMAIN")) // what the search path is for
	s.add(lookup("db", "cache.other.svc.cluster.local.", "NOERROR"))
	s.add(lookup("db", "nowhere.example.shop.svc.cluster.local.", "NXDOMAIN")) // does not exist at all
	s.add(lookup("db", "nowhere.example.", "NXDOMAIN"))
	server := lookup("coredns", "api.example.com.shop.svc.cluster.local.", "NXDOMAIN")
	server.GetDns().Observed = event.Side_SIDE_DST
	s.add(server)
	want := "search path: 6 of 12 lookups were for 1 name with the cluster's suffixes behind, which do not exist " +
		"(see ndots); most for api.example.com (pod shop/web): "
	if got := s.summary(); len(got) != 1 || !strings.HasPrefix(got[0], want) {
		t.Errorf("got  %q\nwant %s", got, want)
	}
	for i := range 2 * maxNames {
		s.add(lookup("web", fmt.Sprintf("n%d.example.", i), "NOERROR"))
	}
	if len(s.names) > maxNames {
		t.Errorf("%d names are remembered", len(s.names))
	}
}
