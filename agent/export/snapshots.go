package export

import (
	"context"
	"fmt"
	"time"

	dto "github.com/prometheus/client_model/go"

	"github.com/orb8-dev/kubectl-orb8/agent/export/otlpmetric"
	"github.com/orb8-dev/kubectl-orb8/agent/export/request"
	"github.com/orb8-dev/kubectl-orb8/event/otlp"
	"github.com/orb8-dev/kubectl-orb8/internal/exportconfig"
)

// Gatherer has the metrics of the agent. It is prometheus.Gatherer.
type Gatherer interface {
	Gather() ([]*dto.MetricFamily, error)
}

// snapshots sends the metrics of an agent, one snapshot each interval. Counters are cumulative, so an old snapshot says
// nothing that a newer one does not: at most one waits for the collector, and it is replaced when the next one is due.
// It is for one goroutine.
type snapshots struct {
	client

	envelope *request.Envelope // for config
	// waiting are the requests of the present snapshot that were not delivered.
	waiting []otlpmetric.Request
	// due is when the next snapshot is to be taken, after when the next request may be sent.
	due, after time.Time
}

// run sends until ctx ends, and then a last snapshot, until hard ends.
func (s *snapshots) run(ctx, hard context.Context) {
	for ctx.Err() == nil {
		if s.adopt(); s.config == nil {
			s.wait(ctx, nil)
			continue
		}
		timer := time.NewTimer(time.Until(s.step(hard)))
		s.wait(ctx, timer.C)
		timer.Stop()
	}
	s.end(hard)
}

// wait waits for a time, another configuration, or the end of ctx.
func (s *snapshots) wait(ctx context.Context, until <-chan time.Time) {
	select {
	case <-ctx.Done():
	case <-s.changed:
	case <-until:
	}
}

// end sends a last snapshot, with the final values of counters.
func (s *snapshots) end(hard context.Context) {
	defer s.hangUp()
	defer s.discard(Ended)
	if s.adopt(); s.config == nil || hard.Err() != nil {
		return
	}
	s.after = time.Time{}
	s.gather(time.Now())
	for len(s.waiting) > 0 {
		timer := time.NewTimer(time.Until(s.step(hard)))
		select {
		case <-timer.C:
		case <-hard.Done():
			timer.Stop()
			return
		}
	}
}

// adopt takes over the configuration in force, with a snapshot for it at once.
func (s *snapshots) adopt() {
	if !s.client.adopt() {
		return
	}
	s.due, s.after = time.Time{}, time.Time{}
	if s.config == nil {
		s.discard(Ended)
		return
	}
	own := append(ownResource(s.Node, s.Version), request.Attribute{Name: exportconfig.ServiceInstance, Value: s.Node})
	s.envelope = request.NewEnvelope(own, s.config.Resource, otlp.Scope, s.Version)
}

// step takes a snapshot if one is due, and sends one request of it. It does nothing while the collector is to be left
// alone. It returns the time of the next step.
func (s *snapshots) step(hard context.Context) time.Time {
	now := time.Now()
	if now.Before(s.after) {
		return s.after
	}
	if !now.Before(s.due) {
		s.gather(now)
	}
	if len(s.waiting) == 0 {
		return s.due
	}
	next := &s.waiting[0]
	result, pause := s.try(hard, next.Body, uint64(next.Points))
	if result != kept {
		*next = otlpmetric.Request{}
		s.waiting = s.waiting[1:]
	}
	s.after = time.Now().Add(pause)
	return s.after
}

// gather makes a snapshot, in place of the one that waits.
func (s *snapshots) gather(now time.Time) {
	interval := s.config.MetricsInterval.Duration
	if s.due = s.due.Add(interval); !s.due.After(now) {
		s.due = now.Add(interval)
	}
	s.discard(Replaced)
	families, err := s.Metrics.Gather()
	r := otlpmetric.Encode(s.envelope, families, now, s.started,
		otlpmetric.Limits{Request: int(s.config.BatchBytes), Total: int(s.config.QueueBytes)})
	s.waiting = r.Requests
	s.problem = ""
	switch {
	case r.Overflow > 0:
		s.problem = fmt.Sprintf("%d of %d points of metrics are more than export.queueBytes", r.Overflow, r.Points)
	case err != nil:
		s.problem = shorten("some metrics cannot be gathered: " + err.Error())
	case r.Unreadable > 0:
		s.problem = fmt.Sprintf("%d of %d points of metrics cannot be encoded, or are larger than export.batchBytes",
			r.Unreadable, r.Points)
	}
	s.mu.Lock()
	s.queued += uint64(r.Points)
	s.lost[Overflow] += uint64(r.Overflow)
	s.lost[Unreadable] += uint64(r.Unreadable)
	if s.problem != "" {
		s.noteFailure(s.problem, now)
	}
	s.mu.Unlock()
	if s.problem != "" {
		s.warn("metrics are not exported whole", s.problem)
	}
}

// discard counts what waits as lost.
func (s *snapshots) discard(why Reason) {
	points := 0
	for i := range s.waiting {
		points += s.waiting[i].Points
	}
	s.waiting = nil
	if points > 0 {
		s.lose(uint64(points), why)
	}
}
