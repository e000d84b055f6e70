package live

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/internal/plural"
)

const (
	// maxAlike is how many nodes are named that fail for the same reason.
	maxAlike = 20
	// slowStep is how long a starting node may wait for one thing before there is a line about it.
	slowStep = time.Second
)

// logFailure reports why a node failed: once for all nodes with the same reason, or for each node if the reason is
// specific to the node. The lock is held.
func (n *nodes) logFailure(name, message string) {
	alike := 0
	for other, node := range n.byName {
		if other != name && node.failure == message {
			alike++
		}
	}
	switch {
	case alike == maxAlike:
		n.status.Logf("… and more nodes: %s", message)
		return
	case alike > 0 && !ofTheNode(message) || alike > maxAlike:
		return
	}
	n.status.Logf("%s: %s", name, message)
}

// logSlowSteps reports what starting nodes wait for, when it takes long.
func (n *nodes) logSlowSteps(running context.Context) {
	tick := time.NewTicker(slowStep / 4)
	defer tick.Stop()
	for {
		select {
		case <-running.Done():
			return
		case now := <-tick.C:
			n.mu.Lock()
			for name, node := range n.byName {
				if node.state == event.NodeState_NODE_STATE_STARTING && !node.logged && node.step != "" &&
					now.Sub(node.since) > slowStep {
					node.logged = true
					n.status.Logf("%s: %s", name, node.step)
				}
			}
			n.mu.Unlock()
		}
	}
}

// logSummary reports how many nodes stream once no node starts any more, and each change. The lock is held.
func (n *nodes) logSummary() {
	if n.ending() {
		return
	}
	streaming, all := 0, 0
	var failed []string
	for name, node := range n.byName {
		all++
		switch node.state {
		case event.NodeState_NODE_STATE_STOPPED:
			all--
		case event.NodeState_NODE_STATE_STREAMING:
			streaming++
		case event.NodeState_NODE_STATE_FAILED:
			failed = append(failed, name+": "+firstClause(node.failure))
		default:
			return
		}
	}
	if all > 0 {
		n.settle()
	}
	summary := fmt.Sprintf("%d/%d %s streaming", streaming, all, plural.Noun(all, "node"))
	if len(failed) > 0 {
		slices.Sort(failed)
		summary += "; " + strings.Join(failed, "; ")
	}
	if len(failed) == all && n.summary == "" {
		return // that was all, and the session ends with the reason
	}
	if summary != n.summary && all > 0 {
		n.summary = summary
		n.status.Logf("%s", summary)
	}
}

// firstClause keeps the summary short: the whole message has its own line.
func firstClause(s string) string {
	clause, _, _ := strings.Cut(s, ": ")
	return clause
}

// commonFailure is the reason of all nodes' failures, or where to read each node's own.
func (n *nodes) commonFailure() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	common := ""
	for _, node := range n.byName {
		if common != "" && node.failure != common {
			return "see above what each node failed of"
		}
		common = node.failure
	}
	return common
}
