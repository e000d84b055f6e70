package plugin

import (
	"context"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event/orbit"
	"github.com/orb8-dev/kubectl-orb8/plugin/live"
	"github.com/orb8-dev/kubectl-orb8/plugin/model"
)

// topSince counts the events of the past, for one table.
type topSince struct {
	replayTop
	config *topConfig
	begun  bool
	until  uint64 // ns since the Unix epoch
}

// runTopSince prints a table of the past.
func runTopSince(parent context.Context, c *topConfig) error {
	return c.question.run(parent, func(r *reporter) (live.Consumer, error) {
		v := &topSince{config: c}
		v.intake, v.rows = intake{reporter: r, filter: c.filter}, c.rowConfig
		v.model = model.New(c.topic, model.Options{Started: time.Now(), Past: true})
		if c.graph != "" {
			return v, nil
		}
		var err error
		v.printer, err = c.open()
		return v, err
	})
}

// Cover takes when the answer begins and ends. It fails if the topic is not recorded.
func (v *topSince) Cover(c *orbit.Coverage) error {
	if err := checkRecorded(c, v.config.topic.Sources); err != nil {
		return err
	}
	v.until = c.GetUntil()
	if !v.begun {
		v.begun = true
		v.model.Begin(coverageStart(c))
		return nil
	}
	for _, line := range unknownTimes(c) {
		v.reporter.LogOncef("%s", line)
	}
	return nil
}

// Close prints the table of the whole time.
func (v *topSince) Close() error {
	if until := int64(v.until); until > v.newest.Load() {
		v.newest.Store(until - 1)
	}
	if v.config.graph != "" {
		v.end()
		return draw(v.config, v.model, v.now(), v.reporter)
	}
	return v.replayTop.Close()
}
