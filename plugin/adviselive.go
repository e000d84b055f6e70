package plugin

import (
	"context"
	"errors"
	"time"

	"github.com/orb8-dev/kubectl-orb8/plugin/live"
)

// observeLive gives the events of a session to a view.
func (c *adviseConfig) observeLive(parent context.Context, v *adviseView) (*observation, error) {
	if err := c.needed("this command line", c.wanted()); err != nil {
		return nil, err
	}
	var began time.Time
	err := runSession(parent, c.traceConfig, func(s engine, in intake) live.Consumer {
		v.intake = in
		began = time.Now()
		if c.duration > 0 {
			in.reporter.Logf("observing for %v; ^C ends that earlier", c.duration)
		} else {
			in.reporter.Logf("observing until ^C")
		}
		return v
	})
	var exit *exitError
	if began.IsZero() || err != nil && !errors.As(err, &exit) {
		return nil, err
	}
	if !v.streaming.IsZero() {
		began = v.streaming
	}
	return &observation{
		source: "this session", targets: c.query.String(), kinds: c.wanted(), started: began, ended: v.closed,
		incomplete: gapsOf(c.tally, v.failed),
	}, err
}
