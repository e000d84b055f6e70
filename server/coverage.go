package server

import (
	"maps"
	"slices"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/orbit"
	"github.com/orb8-dev/kubectl-orb8/server/past"
)

// coverage is what an answer covers.
type coverage struct {
	mu     sync.Mutex
	fixed  orbit.Coverage // without nodes
	nodes  map[string]*orbit.NodeCoverage
	change chan struct{} // holds a token after a change
}

func newCoverage(scope *orbit.Coverage) *coverage {
	c := &coverage{nodes: map[string]*orbit.NodeCoverage{}, change: make(chan struct{}, 1)}
	proto.Merge(&c.fixed, scope)
	return c
}

// period sets the time that a query is of.
func (c *coverage) period(since, until uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fixed.Since, c.fixed.Until = since, until
}

// answer sets how a node answers.
func (c *coverage) answer(node string, answer orbit.NodeAnswer, message string) {
	c.set(node, func(n *orbit.NodeCoverage) { n.Answer, n.Message = answer, message })
}

// cut sets why a node does not answer, and when nothing was seen of it so far.
func (c *coverage) cut(node string, answer orbit.NodeAnswer, message string, gaps []*orbit.Span) {
	c.set(node, func(n *orbit.NodeCoverage) { n.Answer, n.Message, n.Gaps = answer, message, gaps })
}

// hello takes the description of an agent, and when nothing was seen of its node.
func (c *coverage) hello(node string, h *orbit.AgentHello, gaps []*orbit.Span, skew int64) {
	c.set(node, func(n *orbit.NodeCoverage) {
		n.Answer, n.Message, n.Reach, n.Kinds = orbit.NodeAnswer_NODE_ANSWER_OK, "", h.GetReach(), h.GetKinds()
		n.Gaps, n.ClockSkew = gaps, skew
	})
}

// count adds what a Lost event reports. Its node's coverage is sent with the next change, for the event itself is sent.
// A node without an agent, of which the history store knows, has no coverage.
func (c *coverage) count(ev *event.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := c.nodes[ev.GetNode()]; n != nil {
		n.Lost += ev.GetLost().GetCount()
	}
}

// storedUntil sets up to when the events of a node are of the history store.
func (c *coverage) storedUntil(node string, at uint64) {
	c.set(node, func(n *orbit.NodeCoverage) { n.StoredUntil = at })
}

// stored sets what was read of the history store.
func (c *coverage) stored(r *past.Report, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fixed.Store = &orbit.StoreCoverage{Events: r.Rows, Unreadable: r.Bad, Foreign: r.Foreign}
	if err != nil {
		c.fixed.Store.Error = err.Error()
	}
}

// set changes the coverage of a node. Where it stays the same, as that of an agent that cannot be reached, nothing is
// sent.
func (c *coverage) set(node string, change func(*orbit.NodeCoverage)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, known := c.nodes[node]
	n := c.node(node)
	before := proto.CloneOf(n)
	change(n)
	if known && proto.Equal(before, n) {
		return
	}
	select {
	case c.change <- struct{}{}:
	default:
	}
}

// node returns a node's coverage. The lock is held.
func (c *coverage) node(name string) *orbit.NodeCoverage {
	n := c.nodes[name]
	if n == nil {
		n = &orbit.NodeCoverage{Node: name}
		c.nodes[name] = n
	}
	return n
}

// snapshot returns a copy.
func (c *coverage) snapshot() *orbit.Coverage {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &orbit.Coverage{AllNamespaces: c.fixed.GetAllNamespaces(), Namespaces: c.fixed.GetNamespaces(),
		ForbiddenKinds: c.fixed.GetForbiddenKinds(), Since: c.fixed.GetSince(), Until: c.fixed.GetUntil(),
		Store: c.fixed.GetStore()}
	for _, name := range slices.Sorted(maps.Keys(c.nodes)) {
		s.Nodes = append(s.Nodes, proto.Clone(c.nodes[name]).(*orbit.NodeCoverage))
	}
	return s
}
