// Package advice holds the closing lines of a session or a recording: what its events suggest to the user, and the
// tally.
package advice

import "github.com/orb8-dev/kubectl-orb8/event"

// maxFindings is how many findings of one kind have a line; further ones are counted.
const maxFindings = 5

// Advice collects findings from the events of a session.
type Advice struct {
	// path and limits are nil where other views show such things.
	path     *searchPath
	limits   *limits
	troubles *troubles
	gpus     *gpus
}

// New returns an Advice for events of all kinds.
func New() *Advice {
	return &Advice{path: newSearchPath(), limits: newLimits(), troubles: newTroubles(), gpus: newGPUs()}
}

// NewTop returns an Advice for top, whose tables show lookups and limits.
func NewTop() *Advice { return &Advice{troubles: newTroubles(), gpus: newGPUs()} }

// Add processes one event and does not keep it.
func (a *Advice) Add(ev *event.Event) {
	if a.path != nil {
		a.path.add(ev)
		a.limits.add(ev)
	}
	a.troubles.add(ev)
	a.gpus.add(ev)
}

// Lines returns the closing lines, without newlines and safe for a terminal; none without findings.
func (a *Advice) Lines() (lines []string) {
	if a.path != nil {
		lines = append(a.path.summary(), a.limits.summary()...)
	}
	lines = append(lines, a.troubles.summary()...)
	return append(lines, a.gpus.summary()...)
}
