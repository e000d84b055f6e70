package agent

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/event/orbit"
)

// times are the observed times of a description.
func times(h *orbit.AgentHello) string {
	got := fmt.Sprint("since ", h.GetKnownSince())
	for _, u := range h.GetGaps() {
		got += fmt.Sprintf(" %d-%d", u.GetFrom(), u.GetTo())
	}
	return got
}

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
		if got := times(h); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
		if c.s.changed(after) || c.s.changed(before) != (before != after) {
			t.Errorf("%s: version %d, then %d", name, before, after)
		}
	}
}

func TestSeen_SurvivesRestarts(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	open := func(oldest, newest uint64) *seen {
		return openSeen(dir, slog.New(slog.NewTextHandler(t.Output(), nil)), oldest, newest)
	}
	check := func(s *seen, want string) {
		t.Helper()
		h := &orbit.AgentHello{}
		s.describe(h)
		if got := times(h); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	s := open(0, 0)
	s.begin(10)
	s.end(20)
	s.begin(25)
	s = open(10, 30)
	check(s, "since 10 20-25 30-0")
	s.begin(35)
	s.end(40)
	// It could not observe in the end.
	s = open(10, 45)
	check(s, "since 10 20-25 30-35 40-0")
	s.begin(50)
	// The history has lost its oldest part, and then all.
	check(open(22, 60), "since 22 22-25 30-35 40-50 60-0")
	check(open(0, 0), "since 0")
}

func TestSeen_OfADamagedFile(t *testing.T) {
	encode := func(h *orbit.AgentHello) []byte {
		b, err := proto.Marshal(h)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	many := &orbit.AgentHello{}
	for i := range uint64(500) {
		many.Gaps = append(many.Gaps, &orbit.Span{From: 101 + 2*i, To: 102 + 2*i})
	}
	for name, c := range map[string]struct {
		file   []byte
		reason string
		gaps   int
	}{
		"no message":      {[]byte("\xff\xff"), "the times that the process before did not observe", 1},
		"cut":             {encode(many)[:777], "the times that the process before did not observe", 1},
		"endless":         {bytes.Repeat([]byte{0x50, 1}, maxSeen), "more than 8192 bytes", 1},
		"empty":           {nil, "", 1},
		"too many gaps":   {encode(&orbit.AgentHello{Gaps: many.GetGaps()[:300]}), "", orbit.MaxSpans},
		"a backwards gap": {encode(&orbit.AgentHello{Gaps: []*orbit.Span{{From: 500, To: 400}}}), "", 1},
		"a gap to come":   {encode(&orbit.AgentHello{Gaps: []*orbit.Span{{From: 1 << 60, To: 1 << 61}}}), "", 1},
		"a gap of all":    {encode(&orbit.AgentHello{Gaps: []*orbit.Span{{}}}), "", 1},
		"gaps that overlap": {encode(&orbit.AgentHello{Gaps: []*orbit.Span{{From: 200, To: 300},
			{From: 250, To: 350}}}), "", 2},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "seen"), c.file, 0o600); err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		s := openSeen(dir, slog.New(slog.NewTextHandler(&log, nil)), 100, 5000)
		if len(s.gaps) != c.gaps || s.gaps[len(s.gaps)-1].GetTo() != 0 || s.gaps[0].GetFrom() < 100 ||
			(log.Len() > 0) != (c.reason != "") || !strings.Contains(log.String(), c.reason) {
			t.Errorf("%s: %v, log %s", name, s.gaps, log.String())
		}
	}
}
