package server

import (
	"context"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event/orbit"
)

const (
	// lateTimeout is how long a query waits for an agent that has not answered before: the others have answered then.
	lateTimeout = 300 * time.Millisecond
	// lateInterval is the time between two attempts to find out whether such an agent answers again.
	lateInterval = 5 * time.Second
)

// answerTimeout is how long a query waits for the agent, of at most limit.
func (g *agent) answerTimeout(limit time.Duration) time.Duration {
	if g.late.Load() {
		return min(limit, lateTimeout)
	}
	return limit
}

// answered notes that the agent answers.
func (g *agent) answered() {
	if g.late.Load() {
		g.late.Store(false)
	}
}

// missed notes that the agent did not answer a request in time, which is timeout, and asks it until it answers.
func (g *agent) missed(timeout time.Duration) {
	if g.late.CompareAndSwap(false, true) {
		g.work.Go(func() { g.awaitAnswer(timeout) })
	}
}

// awaitAnswer ends when the agent answers any request, or is gone.
func (g *agent) awaitAnswer(timeout time.Duration) {
	for {
		select {
		case <-g.gone:
			return
		case <-time.After(lateInterval):
		}
		if !g.late.Load() {
			return
		}
		// Closing the connection ends it.
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		_, err := g.client.Status(ctx, &orbit.AgentStatusRequest{Protocol: orbit.Protocol})
		cancel()
		if err == nil {
			g.answered()
			return
		}
	}
}
