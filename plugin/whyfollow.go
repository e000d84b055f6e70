package plugin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/orb8-dev/kubectl-orb8/cluster"
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/plugin/why/pods"
)

const (
	// followWindow is how long the pods that a verdict blames are watched, and neighbourWindow those of a crowded node.
	followWindow, neighbourWindow = 10 * time.Second, 5 * time.Second
	// maxHops is how long a chain may become, and maxSessions how many namespaces or nodes are watched in a hop.
	maxHops, maxSessions = 3, 3
)

// follower judges what verdicts blame.
type follower struct {
	c        *whyConfig
	reporter *reporter
	chains
	// followed are the rows of pods that were not asked for, in their order.
	followed []*event.Event
}

func newFollower(c *whyConfig, r *reporter) *follower {
	return &follower{c: c, reporter: r, chains: newChains()}
}

// follow judges what verdicts blame, and what those verdicts blame, and so on.
func (f *follower) follow(parent context.Context, seen *judged) {
	watch, ok := seen.watch.(*pods.Watch)
	if !ok {
		return
	}
	targets := f.add(watch, seen.rows)
	for hop := 0; hop < maxHops && len(targets) > 0 && parent.Err() == nil; hop++ {
		byNamespace := map[string][]string{}
		for _, t := range targets {
			byNamespace[t.Namespace] = append(byNamespace[t.Namespace], t.Name)
		}
		targets = nil
		for i, namespace := range slices.Sorted(maps.Keys(byNamespace)) {
			if i == maxSessions || parent.Err() != nil {
				break
			}
			names := byNamespace[namespace]
			more := f.session(parent, cluster.Query{Namespace: namespace, Names: names, Exclude: f.c.query.Exclude},
				followWindow, f.c.of.sources, "following "+strings.Join(names, ", ")+" in namespace "+namespace)
			if more == nil {
				continue
			}
			if watch, ok := more.watch.(*pods.Watch); ok {
				f.explain(watch)
				targets = append(targets, f.add(watch, more.rows)...)
			}
			for _, ev := range more.rows {
				ev.GetPodVerdict().Followed = true
				f.followed = append(f.followed, ev)
			}
		}
	}
	f.link()
}

// session judges other pods; nil where they cannot be.
func (f *follower) session(
	parent context.Context, q cluster.Query, window time.Duration, kinds []string, what string,
) *judged {
	own := *f.c.traceConfig
	own.query, own.record, own.viewed = q, "", q.Namespace
	own.kinds = nil
	for _, name := range kinds {
		own.kinds = append(own.kinds, event.KindByName(name))
	}
	c := &whyConfig{traceConfig: &own, of: f.c.of, window: window, rows: f.c.rows}
	f.reporter.Logf("%s", what)
	seen, err := c.judgePods(parent, f.reporter)
	if exit := (*exitError)(nil); err != nil && !errors.As(err, &exit) {
		f.reporter.Logf("note: not known: %v", err)
	}
	return seen
}

// nameNeighbours finds out which pods use the CPUs of crowded nodes.
func (f *follower) nameNeighbours(parent context.Context, seen *judged) {
	crowded := onCrowdedNodes(seen.rows)
	for i, node := range slices.Sorted(maps.Keys(crowded)) {
		if watch, ok := seen.watch.(*pods.Watch); ok && blame(watch, node, crowded[node]) {
			continue // it is one of those that were watched
		}
		if i == maxSessions || parent.Err() != nil {
			return
		}
		all := f.session(parent, cluster.Query{AllNamespaces: true, Node: node, Exclude: f.c.query.Exclude},
			neighbourWindow, []string{"resources"}, "looking who uses the CPUs of "+node)
		if all == nil {
			continue
		}
		watch, ok := all.watch.(*pods.Watch)
		if !ok {
			continue
		}
		blame(watch, node, crowded[node])
	}
}

// print prints the verdicts; as text, those that were not printed before, and where they lead to.
func (f *follower) print(seen *judged, asked []*event.Event, text bool) error {
	if !text {
		return seen.show(append(asked, f.followed...))
	}
	if len(f.followed) > 0 {
		rest := seen.verdicts
		rest.failed, rest.unknown = nil, nil
		if _, err := fmt.Fprintln(f.c.streams.Out); err != nil {
			return err
		}
		if err := rest.show(f.followed); err != nil {
			return err
		}
	}
	return f.printChains(f.c.streams.Out, asked)
}
