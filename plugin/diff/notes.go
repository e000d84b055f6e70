package diff

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/internal/plural"
)

// maxListed is how many workloads a note names.
const maxListed = 5

// Notes returns what a recording does not show, in lines that name it.
func (p *Profile) Notes(name string) (lines []string) {
	add := func(format string, args ...any) { lines = append(lines, name+": "+fmt.Sprintf(format, args...)) }
	if len(p.clock.lengths()) < leastParts {
		add("it lasts %v: too short to know how much its amounts vary; not compared: amounts", p.Length())
	}
	if p.unnamed > 0 {
		add("not compared: %s of no known pod", plural.Count(p.unnamed, "event"))
	}
	if p.leftOut > 0 {
		add("not compared: %s of more flows and counters than there is room for", plural.Count(p.leftOut, "event"))
	}
	if p.full {
		add("it has more than %d workloads: those that only one recording has are not compared", maxOwners)
	}
	var full []string
	for _, key := range slices.SortedFunc(maps.Keys(p.owners), func(a, b ownerKey) int { return a.compare(&b) }) {
		for t, isFull := range p.owners[key].full {
			if isFull {
				full = append(full, fmt.Sprintf("%s/%s (%s)", key.namespace, key.workload, topic(t).Word()))
			}
		}
	}
	if n := len(full); n > 0 {
		list := strings.Join(full[:min(n, maxListed)], ", ")
		if n > maxListed {
			list += fmt.Sprintf(" and %d more", n-maxListed)
		}
		add("more names than there is room for: what only one recording has is not compared of %s", list)
	}
	return lines
}

// Recording is what a comparison knows of a recording besides its events.
type Recording struct {
	Targets, Namespace string
	Kinds              []string
}

// CommonKinds returns the kinds of events that can be compared, and notes about the others.
func CommonKinds(before, after *Recording) (kinds, notes []string) {
	var once, never []string
	for _, k := range slices.Sorted(slices.Values(append(slices.Clone(before.Kinds), after.Kinds...))) {
		inBoth := slices.Contains(before.Kinds, k) && slices.Contains(after.Kinds, k)
		switch {
		case slices.Contains(append(kinds, never...), k), event.KindByName(k) != nil && event.KindByName(k).Row:
		case !slices.Contains(Kinds, k):
			never = append(never, k)
		case inBoth:
			kinds = append(kinds, k)
		case slices.Contains(before.Kinds, k):
			once = append(once, k+" (only before)")
		default:
			once = append(once, k+" (only after)")
		}
	}
	if len(once) > 0 {
		notes = append(notes, "not compared: "+strings.Join(once, ", ")+": one recording has no such events")
	}
	if len(never) > 0 {
		notes = append(notes, "not compared: "+strings.Join(never, ", ")+": diff is not about such events")
	}
	if before.Targets != after.Targets {
		notes = append(notes, fmt.Sprintf("the recordings are of different targets: %s, and %s: a workload that only "+
			"one of them is about seems to appear or vanish", cmp.Or(before.Targets, "unknown"),
			cmp.Or(after.Targets, "unknown")))
	}
	return kinds, notes
}

// ClusterNote returns a note if the recordings seem to be of two clusters: the Services that are called in both have
// other addresses. Names of nodes show less: a pod that has moved leaves its node.
func ClusterNote(before, after *Profile) string {
	common := 0
	for name, address := range before.services {
		other, both := after.services[name]
		if both && other == address {
			return ""
		}
		if both {
			common++
		}
	}
	if common == 0 {
		return ""
	}
	return "the Services in both recordings have other addresses: the recordings are of two clusters, or the " +
		"Services were created anew"
}
