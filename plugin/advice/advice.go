// Package advice holds the closing lines of a session or a recording: what its events suggest to the user, and the
// tally.
package advice

import "github.com/orb8-dev/kubectl-orb8/event"

// maxFindings is how many findings of one kind have a line; further ones are counted.
const maxFindings = 5

// Advice collects findings from the events of a session.
type Advice struct {
	// path and limits are nil where only GPUs matter.
	path   *searchPath
	limits *limits
	gpus   *gpus
}

// New returns an Advice for events of all kinds.
func New() *Advice { return &Advice{path: newSearchPath(), limits: newLimits(), gpus: newGPUs()} }

// NewGPU returns an Advice for GPU events only.
func NewGPU() *Advice { return &Advice{gpus: newGPUs()} }

// Add processes one event and does not keep it.
func (a *Advice) Add(ev *event.Event) {
	if a.path != nil {
		a.path.add(ev)
		a.limits.add(ev)
	}
	a.gpus.add(ev)
}

// Lines returns the closing lines, without newlines and safe for a terminal; none without findings.
func (a *Advice) Lines() (lines []string) {
	if a.path != nil {
		lines = append(a.path.summary(), a.limits.summary()...)
	}
	return append(lines, a.gpus.summary()...)
}
