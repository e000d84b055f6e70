package plugin

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event/orbit"
	"github.com/orb8-dev/kubectl-orb8/plugin/live"
	"github.com/orb8-dev/kubectl-orb8/plugin/remote"
)

// observePast gives the events of the installed agents' history to a view.
func (c *adviseConfig) observePast(parent context.Context, v *adviseView) (*observation, error) {
	p := &advisePast{adviseView: v, config: c}
	err := c.past.run(parent, func(*reporter) (live.Consumer, error) { return p, nil })
	var exit *exitError
	if p.seen == nil || err != nil && !errors.As(err, &exit) {
		return nil, err
	}
	p.seen.incomplete = append(append(gapsOf(c.past.tally, v.failed), p.unknown...), p.seen.incomplete...)
	return p.seen, err
}

// advisePast is the view of an answer of the installed agents.
type advisePast struct {
	*adviseView
	config  *adviseConfig
	seen    *observation
	unknown []string // times of which nothing is known
}

var _ remote.Covered = (*advisePast)(nil)

// Cover takes what the agents know of the time. It fails if they do not record what the advice needs.
func (p *advisePast) Cover(coverage *orbit.Coverage) error {
	if err := checkRecorded(coverage, p.config.of.needs); err != nil {
		return err
	}
	p.seen = &observation{
		source: "the history", targets: p.config.query.String(), started: coverageStart(coverage),
		ended: timeOf(coverage.GetUntil()), kinds: recordedKinds(coverage, p.config.wanted()),
	}
	if coverage.GetUntil() == 0 || p.seen.ended.After(time.Now()) {
		p.seen.ended = time.Now()
	}
	if err := p.config.needed("the history of the installed agents", p.seen.kinds); err != nil {
		return err
	}
	for _, n := range coverage.GetNodes() {
		if a := n.GetAnswer(); a != orbit.NodeAnswer_NODE_ANSWER_OK && a != orbit.NodeAnswer_NODE_ANSWER_UNKNOWN {
			p.failed[n.GetNode()] = n.GetMessage()
		}
	}
	p.unknown = nil
	for _, line := range unknownTimes(coverage) {
		p.unknown = append(p.unknown, strings.TrimSpace(line))
	}
	if e := coverage.GetStore().GetError(); e != "" {
		p.unknown = append(p.unknown, fmt.Sprintf("the history store did not answer: %s", e))
	}
	return nil
}
