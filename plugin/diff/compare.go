package diff

import (
	"cmp"
	"slices"
	"strings"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// Compare emits the differences between two recordings of the same kinds, by workload, in a fixed order. all adds those
// within the variation of the recordings, and the things of workloads that only one of them has. Neither profile can be
// added to any more. It returns how many differences it has left out, and the first error of emit.
func Compare(before, after *Profile, all bool, emit func(*event.Event) error) (leftOut int, err error) {
	before.nameContainers(after)
	after.nameContainers(before)
	c := comparison{before: before, after: after, all: all, emit: emit, end: max(before.clock.last, after.clock.last)}
	c.nameAddresses()
	for _, p := range []*Profile{before, after} {
		p.foldSearches()
		p.removeMoved()
		c.dropObservedClients(p)
	}
	for _, key := range keysOf(before.owners, after.owners, (*ownerKey).compare) {
		if c.owner(key); c.err != nil {
			return c.leftOut, c.err
		}
	}
	return c.leftOut, nil
}

// comparison makes rows.
type comparison struct {
	before, after *Profile
	all           bool
	// observed are the workloads that have events of their own.
	observed map[string]bool
	end      uint64
	emit     func(*event.Event) error
	leftOut  int
	err      error
}

// keysOf returns the keys of both maps, each once, in order.
func keysOf[K comparable, V any](a, b map[K]V, compare func(*K, *K) int) []K {
	keys := make([]K, 0, max(len(a), len(b)))
	for k := range a {
		keys = append(keys, k)
	}
	for k := range b {
		if _, both := a[k]; !both {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, func(x, y K) int { return compare(&x, &y) })
	return keys
}

func (k *ownerKey) compare(l *ownerKey) int {
	return cmp.Or(strings.Compare(k.namespace, l.namespace), strings.Compare(k.workload, l.workload),
		strings.Compare(k.container, l.container))
}

func (k *thingKey) compare(l *thingKey) int {
	return cmp.Or(cmp.Compare(k.topic, l.topic), strings.Compare(k.name, l.name), cmp.Compare(k.protocol, l.protocol))
}

// owner compares what one workload does.
func (c *comparison) owner(key ownerKey) {
	a, b := c.before.owners[key], c.after.owners[key]
	if a == nil || b == nil {
		if a == nil && c.before.full || b == nil && c.after.full {
			return // it may have been left out
		}
		c.lonely(key, a, b)
		if !c.all {
			return
		}
	}
	var none owner
	if a == nil {
		a = &none
	}
	if b == nil {
		b = &none
	}
	for _, k := range keysOf(a.things, b.things, (*thingKey).compare) {
		x, y := a.things[k], b.things[k]
		switch {
		case x != nil && y != nil:
			c.both(key, x, y)
		case x == nil && !a.full[k.topic], y == nil && !b.full[k.topic]:
			c.one(key, x, y)
		}
	}
}

// lonely adds the row of a workload that only one of the recordings has.
func (c *comparison) lonely(key ownerKey, a, b *owner) {
	var sum thing
	o := cmp.Or(a, b)
	for _, t := range o.things {
		sum.seen.merge(&t.seen)
	}
	if sum.seen.total < 0.5 {
		return
	}
	sum.key, sum.amount[events] = thingKey{topic: topicWorkload}, &sum.seen
	if a != nil {
		c.present(key, &sum, nil, events)
	} else {
		c.present(key, nil, &sum, events)
	}
}

// one adds the rows of a thing that only one of the recordings has: its main measure, and what failed.
func (c *comparison) one(key ownerKey, x, y *thing) {
	t := cmp.Or(x, y)
	shown := false
	for _, m := range ownMeasures[t.key.topic] {
		if t.total(m) > 0 {
			c.present(key, x, y, m)
			shown = true
			break
		}
	}
	for _, m := range failures {
		if slices.Contains(ownMeasures[t.key.topic], m) || t.total(m) <= 0 {
			continue
		}
		if !shown {
			c.present(key, x, y, m)
			shown = true
			continue
		}
		c.changed(key, x, y, m, cmp.Or(c.changeOf(x, y), changed))
	}
}

// The words of changes.
const (
	appeared = event.DifferenceChange_DIFFERENCE_CHANGE_APPEARED
	vanished = event.DifferenceChange_DIFFERENCE_CHANGE_VANISHED
	changed  = event.DifferenceChange_DIFFERENCE_CHANGE_CHANGED
)

func (c *comparison) changeOf(x, y *thing) event.DifferenceChange {
	switch {
	case x == nil:
		return appeared
	case y == nil:
		return vanished
	}
	return changed
}

// present adds the row of a thing that only one of the recordings has.
func (c *comparison) present(key ownerKey, x, y *thing, m measure) {
	a, b := c.before.rateOf(x, m), c.after.rateOf(y, m)
	var certainty event.Certainty
	if x != nil {
		certainty = c.before.judgePresence(&x.seen, b.seconds)
	} else {
		certainty = c.after.judgePresence(&y.seen, a.seconds)
	}
	c.add(key, x, y, m, c.changeOf(x, y), certainty, &a, &b)
}

// both compares each measure of a thing that both recordings have.
func (c *comparison) both(key ownerKey, x, y *thing) {
	for m := range answered {
		if x.amount[m] != nil || y.amount[m] != nil {
			c.changed(key, x, y, m, changed)
		}
	}
}

// changed adds the row of a measure that differs.
func (c *comparison) changed(key ownerKey, x, y *thing, m measure, change event.DifferenceChange) {
	a, b := c.before.sampleOf(x, m), c.after.sampleOf(y, m)
	if !a.known || !b.known || a.value == b.value {
		return
	}
	c.add(key, x, y, m, change, judgeChange(&a, &b, unitOf(m)), &a, &b)
}

func (p *Profile) sampleOf(t *thing, m measure) sample {
	switch m {
	case latency:
		return p.meanOf(t, m, answered)
	case response:
		return p.meanOf(t, m, responded)
	}
	return p.rateOf(t, m)
}

// add adds a row.
func (c *comparison) add(
	key ownerKey, x, y *thing, m measure, change event.DifferenceChange, certainty event.Certainty, a, b *sample,
) {
	switch {
	case c.err != nil:
		return
	case certainty == unsteady && !c.all:
		c.leftOut++
		return
	}
	t := cmp.Or(x, y)
	d := &event.Difference{
		Change: change, Certainty: certainty, Topic: t.key.topic, Name: t.key.name, Protocol: t.key.protocol,
		Measure: m, Unit: unitOf(m), Before: &a.value, After: &b.value,
		BeforeSeen: x.count(), AfterSeen: y.count(),
		BeforeMicros: c.before.clock.span() / 1000, AfterMicros: c.after.clock.span() / 1000,
	}
	if a.parts >= leastParts && b.parts >= leastParts {
		deviation := pooled(a, b)
		d.Deviation = &deviation
	}
	ev := &event.Event{Time: c.end, Namespace: key.namespace, Container: key.container,
		Kind: &event.Event_Difference{Difference: d}}
	if pod, bare := strings.CutPrefix(key.workload, barePod); bare {
		ev.Pod = pod
	} else {
		d.Workload = key.workload
	}
	c.err = c.emit(ev)
}

// count is how many events of a thing a recording has.
func (t *thing) count() uint64 {
	if t == nil || t.seen.total < 0.5 {
		return 0
	}
	return uint64(min(t.seen.total, maxAmount) + 0.5)
}
