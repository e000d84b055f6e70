package advice

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/orb8-dev/kubectl-orb8/collect/losses"
	"github.com/orb8-dev/kubectl-orb8/internal/plural"
)

// Tally sums up a session or a recording.
type Tally struct {
	Events int
	// Traced is how many of the Nodes were traced.
	Traced, Nodes int
	// Took is how long the session lasted; 0: it is a query of the past.
	Took   time.Duration
	Losses []losses.Loss
	// Gaps is how long each node was not traced, by its name.
	Gaps map[string]time.Duration
}

// Lost reports whether any event was lost, or may have been.
func (t *Tally) Lost() bool { return len(losses.Real(t.Losses))+len(t.Gaps) > 0 }

// String returns the closing line.
func (t *Tally) String() string {
	took := ""
	if t.Took > 0 {
		took = fmt.Sprintf(" in %v", t.Took.Round(100*time.Millisecond))
	}
	lost := t.lost()
	switch {
	case len(lost) > 0:
		return fmt.Sprintf("%s from %s%s; LOST %s", plural.Count(t.Events, "event"), t.nodes(), took,
			strings.Join(lost, "; "))
	case t.Traced == 0:
		return fmt.Sprintf("%s%s: nothing was traced", plural.Count(t.Events, "event"), took)
	}
	return fmt.Sprintf("%s from %s%s; nothing lost", plural.Count(t.Events, "event"), t.nodes(), took)
}

func (t *Tally) lost() (parts []string) {
	for _, p := range losses.Places(losses.Real(t.Losses)) {
		part := fmt.Sprintf("%d at %s (%s)", p.Count, p.Node, p.Where)
		if len(p.Pods) > 0 {
			part += ": " + strings.Join(p.Pods, ", ")
		}
		parts = append(parts, part)
	}
	for _, node := range slices.Sorted(maps.Keys(t.Gaps)) {
		// Rounded up, so that no gap is shown as 0.0 s.
		tenths := (t.Gaps[node] + 100*time.Millisecond - 1).Truncate(100 * time.Millisecond)
		parts = append(parts, fmt.Sprintf("all of %s for %.1f s", node, tenths.Seconds()))
	}
	return parts
}

func (t *Tally) nodes() string {
	if t.Traced < t.Nodes {
		return fmt.Sprintf("%d of %s", t.Traced, plural.Count(t.Nodes, "node"))
	}
	return plural.Count(t.Traced, "node")
}
