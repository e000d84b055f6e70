package plugin

import (
	"cmp"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/safe"
	"github.com/orb8-dev/kubectl-orb8/plugin/why/pods"
)

const (
	// maxFollowed is how many pods or workloads are watched in a hop.
	maxFollowed = 10
	// minNeighbour is how many CPUs a pod uses, at the least, to be named as what crowds a node.
	minNeighbour = 0.25
)

// chains are verdicts, and which of them lead to others.
type chains struct {
	// leads are what a pod's verdict blames, rows the verdicts, by the pods' names with their namespaces.
	leads map[string]pods.Target
	rows  map[string]*event.Event
}

func newChains() chains {
	return chains{leads: map[string]pods.Target{}, rows: map[string]*event.Event{}}
}

// connect completes verdicts by the others that stand on the same events: of what a verdict blames, and of who uses the
// CPUs of a crowded node.
func connect(watch *pods.Watch, rows []*event.Event) chains {
	c := newChains()
	c.add(watch, rows)
	c.explain(watch)
	c.link()
	for node, crowded := range onCrowdedNodes(rows) {
		blame(watch, node, crowded)
	}
	return c
}

// podName is the name of a verdict's pod with its namespace, or of the workload without one.
func podName(ev *event.Event) string {
	return ev.GetNamespace() + "/" + cmp.Or(ev.GetPod(), ev.GetWorkload())
}

// add takes verdicts, and returns what they blame and has not been judged.
func (c *chains) add(watch *pods.Watch, rows []*event.Event) (targets []pods.Target) {
	for _, ev := range rows {
		c.rows[podName(ev)] = ev
	}
	for _, ev := range rows {
		target, ok := watch.LeadsTo(ev)
		if !ok {
			continue
		}
		c.leads[podName(ev)] = target
		if len(c.judged(target)) == 0 && !slices.Contains(targets, target) && len(targets) < maxFollowed {
			targets = append(targets, target)
		}
	}
	return targets
}

// judged are the verdicts about a target.
func (c *chains) judged(t pods.Target) (rows []*event.Event) {
	for _, ev := range c.rows {
		if ev.GetNamespace() == t.Namespace && (ev.GetPod() == t.Name || ev.GetPodVerdict().GetWorkload() == t.Name) {
			rows = append(rows, ev)
		}
	}
	slices.SortFunc(rows, func(a, b *event.Event) int { return cmp.Compare(podName(a), podName(b)) })
	return rows
}

// explain corrects verdicts by the evidence from where they lead to.
func (c *chains) explain(watch *pods.Watch) {
	for name, target := range c.leads {
		watch.Explain(c.rows[name], target)
	}
}

// link adds to each verdict where what it blames leads to.
func (c *chains) link() {
	for _, name := range slices.Sorted(maps.Keys(c.leads)) {
		c.linkOne(c.rows[name])
	}
}

func (c *chains) linkOne(ev *event.Event) {
	v := ev.GetPodVerdict()
	at, chain, passed := ev, []string{podName(ev)}, map[string]bool{podName(ev): true}
	for range maxHops {
		target, ok := c.leads[podName(at)]
		if !ok {
			break
		}
		next := worst(c.judged(target))
		if next == nil || passed[podName(next)] {
			break
		}
		at = next
		passed[podName(at)] = true
		chain = append(chain, podName(at))
	}
	if at == ev {
		return
	}
	v.Chain = strings.Join(chain, ",")
	if root := at.GetPodVerdict(); !root.GetVerdict().Healthy() && len(root.GetShares()) > 0 {
		cause := root.GetVerdict()
		v.RootPod, v.RootCause = podName(at), &cause
	}
}

// worst is the verdict of several pods of a workload that says most: one with a fault, of the highest confidence.
func worst(rows []*event.Event) (worst *event.Event) {
	weight := func(ev *event.Event) int {
		if v := ev.GetPodVerdict(); !v.GetVerdict().Healthy() {
			return 1 + int(v.GetConfidence())
		}
		return 0
	}
	for _, ev := range rows {
		if worst == nil || weight(ev) > weight(worst) {
			worst = ev
		}
	}
	return worst
}

// blame adds to verdicts of a crowded node which pod of those that were watched uses its CPUs, if there is one.
func blame(watch *pods.Watch, node string, verdicts []*event.Event) (found bool) {
	for _, ev := range verdicts {
		own := func(namespace, pod string) bool { return namespace == ev.GetNamespace() && pod == ev.GetPod() }
		if namespace, name, cpus := watch.Busiest(node, own); cpus >= minNeighbour {
			pods.Blame(ev.GetPodVerdict(), namespace+"/"+name, cpus)
			found = true
		}
	}
	return found
}

// onCrowdedNodes are the verdicts that blame a crowded node, by the node.
func onCrowdedNodes(rows []*event.Event) map[string][]*event.Event {
	crowded := map[string][]*event.Event{}
	for _, ev := range rows {
		if ev.GetPodVerdict().GetVerdict() == event.PodCause_POD_CAUSE_CROWDED_NODE && ev.GetNode() != "" {
			crowded[ev.GetNode()] = append(crowded[ev.GetNode()], ev)
		}
	}
	return crowded
}

// printChains prints as text where verdicts lead to.
func (c *chains) printChains(to io.Writer, asked []*event.Event) error {
	var out []byte
	for _, ev := range asked {
		v := ev.GetPodVerdict()
		if v.GetChain() == "" {
			continue
		}
		line := strings.ReplaceAll(v.GetChain(), ",", " → ") + ": "
		if v.GetRootPod() == "" {
			line += "nothing wrong was seen at its end"
		} else {
			line += c.rows[v.GetRootPod()].GetPodVerdict().GetWords()
		}
		out = append(safe.AppendText(out, line), '\n')
	}
	if len(out) > 0 {
		out = append([]byte("\n"), out...)
	}
	_, err := userTerminal().Writer(to).Write(out)
	return err
}
