package advice

import (
	"slices"
	"testing"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// attempt is an attempt of a pod of the namespace shop at a connection.
func attempt(pod string, outcome event.TCPOutcome, observed event.Side) *event.Event {
	return &event.Event{Namespace: "shop", Pod: pod,
		Kind: &event.Event_Tcp{Tcp: &event.Tcp{Outcome: outcome, Observed: observed}}}
}

func TestTroubles(t *testing.T) {
	refused := attempt("web", event.TCPOutcome_TCP_OUTCOME_REFUSED, event.Side_SIDE_SRC)
	unanswered := &event.Event{Namespace: "shop", Pod: "mail", Kind: &event.Event_Dns{Dns: &event.Dns{
		Observed: event.Side_SIDE_SRC, Outcome: event.DnsOutcome_DNS_OUTCOME_TIMEOUT}}}
	times := func(n int, ev *event.Event) []*event.Event { return slices.Repeat([]*event.Event{ev}, n) }
	for name, c := range map[string]struct {
		events []*event.Event
		want   []string
	}{
		"few":       {times(minFailures-1, refused), nil},
		"made":      {times(9, attempt("web", event.TCPOutcome_TCP_OUTCOME_CONNECTED, event.Side_SIDE_SRC)), nil},
		"of others": {times(9, attempt("web", event.TCPOutcome_TCP_OUTCOME_REFUSED, event.Side_SIDE_DST)), nil},
		"refused": {times(9, refused),
			[]string{"failures: 9 failed connections of a pod: kubectl orb8 why web -n shop says more"}},
		"unanswered": {slices.Concat(times(5, unanswered), times(4, refused)),
			[]string{"failures: 5 lookups without an answer of a pod (and some of 1 more pod): kubectl orb8 why mail " +
				"-n shop says more"}},
	} {
		s := newTroubles()
		for _, ev := range c.events {
			s.add(ev)
		}
		if got := s.summary(); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestTroubles_AreBounded(t *testing.T) {
	s := newTroubles()
	for i := range maxTroubled + 10 {
		s.add(attempt(string(rune(0x4e00+i)), event.TCPOutcome_TCP_OUTCOME_REFUSED, event.Side_SIDE_SRC))
	}
	if len(s.pods) != maxTroubled {
		t.Errorf("%d pods are kept", len(s.pods))
	}
}
