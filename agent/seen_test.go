package agent

import (
	"fmt"
	"testing"

	"github.com/orb8-dev/kubectl-orb8/event/orbit"
)

func TestSeen(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		s    *seen
		run  func(*seen)
		want string
	}{
		"before it observes":    {newSeen(0, 0), func(*seen) {}, "since 0"},
		"it could not observe":  {newSeen(0, 0), func(s *seen) { s.end(5) }, "since 0"},
		"it observes":           {newSeen(0, 0), func(s *seen) { s.begin(7) }, "since 7"},
		"it has ended":          {newSeen(0, 0), func(s *seen) { s.begin(7); s.end(9) }, "since 7 9-0"},
		"it observes again":     {newSeen(0, 0), func(s *seen) { s.begin(7); s.end(9); s.begin(12) }, "since 7 9-12"},
		"after an end twice":    {newSeen(0, 0), func(s *seen) { s.begin(7); s.end(9); s.end(10) }, "since 7 9-0"},
		"with a history":        {newSeen(3, 5), func(*seen) {}, "since 3 5-0"},
		"observing, with it":    {newSeen(3, 5), func(s *seen) { s.begin(8) }, "since 3 5-8"},
		"its clock was changed": {newSeen(3, 5), func(s *seen) { s.begin(4) }, "since 3 5-6"},
	} {
		before := c.s.describe(&orbit.AgentHello{})
		c.run(c.s)
		h := &orbit.AgentHello{}
		after := c.s.describe(h)
		got := fmt.Sprint("since ", h.GetKnownSince())
		for _, u := range h.GetGaps() {
			got += fmt.Sprintf(" %d-%d", u.GetFrom(), u.GetTo())
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
		if c.s.changed(after) || c.s.changed(before) != (before != after) {
			t.Errorf("%s: version %d, then %d", name, before, after)
		}
	}
}
