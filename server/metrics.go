package server

import (
	"cmp"
	"context"
	"net"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/connectivity"

	"github.com/orb8-dev/kubectl-orb8/scrape"
	"github.com/orb8-dev/kubectl-orb8/server/metrics"
)

// ScrapeOptions are those of the port for Prometheus. Without a Listener there is none.
type ScrapeOptions struct {
	// Listener is closed when Run returns.
	Listener net.Listener
	scrape.Options
}

// serveMetrics serves the metrics until ctx ends.
func (s *Service) serveMetrics(ctx context.Context, o *Options) error {
	options := o.Scrape.Options
	options.Log = cmp.Or(options.Log, o.Log)
	server := scrape.New(options)
	registry := prometheus.NewRegistry()
	if err := s.metrics.Register(registry, func() metrics.Status { return s.state(server) }); err != nil {
		return err
	}
	return server.Serve(ctx, o.Scrape.Listener, registry)
}

// state is the state of the server for its metrics.
func (s *Service) state(server *scrape.Server) metrics.Status {
	own, authority := s.expiry()
	held, limit := s.memory.use()
	return metrics.Status{Version: s.version, Agents: s.agents.states(), CertificateExpiry: own,
		AuthorityExpiry: authority, HeldBytes: held, LimitBytes: limit, Scrapes: server.Requests()}
}

// agentStates are the states of agents in metrics.
var agentStates = map[connectivity.State]string{
	connectivity.Ready: "connected", connectivity.Connecting: "connecting", connectivity.Idle: "idle",
	connectivity.TransientFailure: "unreachable",
}

// incompatible is the state of an agent that answers with another protocol, late that of one that did not answer the
// last request in time.
const incompatible, late = "incompatible", "late"

// states returns how many agents are in each state.
func (a *agents) states() map[string]int {
	all := map[string]int{incompatible: 0, late: 0}
	for _, state := range agentStates {
		all[state] = 0
	}
	known, _ := a.all()
	for _, g := range known {
		state, ok := agentStates[g.conn.GetState()]
		switch {
		case g.incompatible.Load():
			all[incompatible]++
		case g.late.Load():
			all[late]++
		case ok: // not of one that is just closed
			all[state]++
		}
	}
	return all
}

// use returns what requests hold, and the limit.
func (m *memory) use() (held, limit int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.held, m.limit
}
