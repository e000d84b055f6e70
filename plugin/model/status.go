package model

import (
	"cmp"
	"slices"
	"time"

	"github.com/orb8-dev/kubectl-orb8/collect/losses"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// watched is the length of the stream's rate history, in seconds.
const watched = 60

// status is the stream's own state.
type status struct {
	nodes  map[string]NodeStatus
	losses losses.Tally
	events uint64
	second int64
	counts [watched]float64
}

func (s *status) node(name string, n *event.NodeStatus) {
	if s.nodes == nil {
		s.nodes = map[string]NodeStatus{}
	}
	s.nodes[name] = NodeStatus{Name: name, State: n.GetState(), Message: n.GetMessage()}
}

func (s *status) count(now int64) {
	s.events++
	s.roll(now)
	if second := now / int64(time.Second); second > s.second-watched {
		s.counts[second%watched]++
	}
}

func (s *status) roll(now int64) {
	second := now / int64(time.Second)
	for n := max(s.second+1, second-watched+1); n <= second; n++ {
		s.counts[n%watched] = 0
	}
	s.second = max(s.second, second)
}

// Status is the state of the stream as of a time.
func (m *Model) Status(now time.Time) Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	st := &m.status
	st.roll(now.UnixNano())
	out := Status{Events: st.events, Series: len(m.series) + len(m.pairs), Folded: m.folded}
	for _, n := range st.nodes {
		out.Nodes = append(out.Nodes, n)
	}
	slices.SortFunc(out.Nodes, func(a, b NodeStatus) int { return cmp.Compare(a.Name, b.Name) })
	out.Losses = st.losses.All()
	// The current second is omitted.
	for n := max(st.second-watched+1, m.started/int64(time.Second)); n < st.second; n++ {
		out.PerSecond = append(out.PerSecond, st.counts[n%watched])
	}
	return out
}
