package server

import (
	"cmp"
	"maps"
	"math/bits"
	"slices"

	"github.com/orb8-dev/kubectl-orb8/event"
)

const (
	// maxGroups limits the rows of an answer with sums. Flows of further groups are in one row for all others.
	maxGroups = 10_000
	// maxEnded is from how many flows on those that have ended are added up.
	maxEnded = 1 << 16
	// summedFlowBytes and groupBytes are the approximate memory of a flow's last state, and of a group.
	summedFlowBytes = 192
	groupBytes      = 2048 + 8*event.ResponseBuckets
)

// sums aggregate the flows of a query, each in its last state, as the caller may see it. Nodes cannot do this: they
// know neither the other half of a flow, which must not count twice, nor the names of its other end, nor what the
// caller may see of it.
type sums struct {
	by *event.Grouping
	// groups are at most maxGroups. others is for all further ones.
	groups    map[event.GroupKey]*flowGroup
	others    flowGroup
	maxGroups int
	// flows are the last states so far, by the flows' IDs. Once there are foldAt, those that have ended are added to
	// their groups.
	flows  map[string]flowState
	foldAt int
	// bucketsHeld counts the buckets of the response times in flows.
	bucketsHeld int
	at          uint64 // time of the rows, ns since the Unix epoch
	share       *share
}

// flowGroup is a row.
type flowGroup struct {
	key  event.GroupKey
	row  *event.Event // nil: for all others
	live int          // flows in sums.flows that are in this group
	// done is the sum of flows that have ended and are no longer in sums.flows.
	done total
}

// flowState is what a flow adds to the row of its group.
type flowState struct {
	group  *flowGroup
	closed bool
	amounts
}

// amounts are those of one flow, or of several: the values that are known, and which of them are.
type amounts struct {
	values [len(summed)]uint64
	known  [len(summed)]bool
	// times are the response times as src has them; empty where there are none.
	times   []uint64
	longest uint64
}

// summed are the columns of flows that are summed, and where the sum goes.
var summed = [...]struct {
	column *event.Column
	field  func(*event.FlowSum) **uint64
}{
	{flowColumn("bytesSent"), func(s *event.FlowSum) **uint64 { return &s.BytesSent }},
	{flowColumn("bytesReceived"), func(s *event.FlowSum) **uint64 { return &s.BytesReceived }},
	{flowColumn("packetsSent"), func(s *event.FlowSum) **uint64 { return &s.PacketsSent }},
	{flowColumn("packetsReceived"), func(s *event.FlowSum) **uint64 { return &s.PacketsReceived }},
	{flowColumn("retransmits"), func(s *event.FlowSum) **uint64 { return &s.Retransmits }},
}

func flowColumn(name string) *event.Column { return event.KindByName("flow").Column(name) }

// total is a sum of flows.
type total struct {
	flows, open uint64
	amounts
}

func newSums(by *event.Grouping, at uint64, share *share) *sums {
	return &sums{by: by, groups: map[event.GroupKey]*flowGroup{}, maxGroups: maxGroups,
		flows: map[string]flowState{}, foldAt: maxEnded, at: at, share: share}
}

// add takes a state of a flow, in place of the one before.
func (s *sums) add(ev *event.Event) error {
	flow := ev.GetFlow()
	group := s.group(ev)
	group.live++ // before the flow leaves its group, which may be the same
	s.remove(flow.GetId())
	state := flowState{group: group, closed: flow.GetPhase() == event.Phase_PHASE_CLOSED}
	for i, c := range summed {
		if v := c.column.Get(ev); !v.IsNull() {
			state.values[i], state.known[i] = v.Uint(), true
		}
	}
	if t := flow.GetSrcCounters().GetResponses(); len(t.GetHistogram()) > 0 {
		state.times, state.longest = slices.Clone(t.Histogram), t.MaxMicros
		s.bucketsHeld += len(state.times)
	}
	s.flows[flow.GetId()] = state
	if len(s.flows) >= s.foldAt {
		s.foldEnded()
	}
	return s.share.tryHold(partSums, len(s.flows)*summedFlowBytes+len(s.groups)*groupBytes+8*s.bucketsHeld)
}

// group returns the group of a flow.
func (s *sums) group(ev *event.Event) *flowGroup {
	key := s.by.Key(ev)
	g := s.groups[key]
	if g != nil {
		return g
	}
	if len(s.groups) >= s.maxGroups {
		return &s.others
	}
	g = &flowGroup{key: key, row: s.by.Row(ev)}
	s.groups[key] = g
	return g
}

// names are those of the fields.
func (s *sums) names() []string {
	if s == nil {
		return nil
	}
	return s.by.Names()
}

// remove forgets the state of a flow: there is a later one, or it is no longer selected.
func (s *sums) remove(id string) {
	if s == nil {
		return
	}
	state, ok := s.flows[id]
	if !ok {
		return
	}
	delete(s.flows, id)
	s.bucketsHeld -= len(state.times)
	g := state.group
	if g.live--; g.live == 0 && g.done.flows == 0 && g != &s.others {
		delete(s.groups, g.key)
	}
}

// foldEnded makes room: it adds the flows that have ended to their groups. Should another event of one come, which the
// merge counts as a loss, it is another flow.
func (s *sums) foldEnded() {
	open := map[string]flowState{}
	for id, state := range s.flows {
		if !state.closed {
			open[id] = state
			continue
		}
		state.group.done.add(&state)
		state.group.live--
		s.bucketsHeld -= len(state.times)
	}
	s.flows, s.foldAt = open, max(s.foldAt, 2*len(open))
}

// rows returns the sums: those with the most bytes first, others last.
func (s *sums) rows() (rows []*event.Event) {
	totals := make(map[*flowGroup]*total, len(s.groups)+1)
	of := func(g *flowGroup) *total {
		if totals[g] == nil {
			sum := g.done
			totals[g] = &sum
		}
		return totals[g]
	}
	for _, g := range s.groups {
		of(g)
	}
	for _, state := range s.flows {
		of(state.group).add(&state)
	}
	groups := slices.SortedFunc(maps.Values(s.groups), func(a, b *flowGroup) int {
		x, y := totals[a], totals[b]
		return cmp.Or(cmp.Compare(y.bytes(), x.bytes()), cmp.Compare(y.flows, x.flows), a.key.Compare(&b.key))
	})
	for _, g := range groups {
		rows = append(rows, totals[g].row(g.row, s.at))
	}
	if sum := of(&s.others); sum.flows > 0 {
		rows = append(rows, sum.row(s.by.Others(), s.at))
	}
	return rows
}

// add adds a flow.
func (t *total) add(f *flowState) {
	t.flows++
	if !f.closed {
		t.open++
	}
	for i, known := range f.known {
		if known {
			t.values[i], t.known[i] = saturated(t.values[i], f.values[i]), true
		}
	}
	if len(f.times) > 0 {
		t.times = event.MergeResponses(nil, t.times, f.times)
		t.longest = max(t.longest, f.longest)
	}
}

// saturated returns a+b, or the largest number: agents are not trusted with their counters.
func saturated(a, b uint64) uint64 {
	sum, carry := bits.Add64(a, b, 0)
	return sum | -carry
}

// bytes returns the payload of both directions.
func (t *total) bytes() uint64 { return saturated(t.values[0], t.values[1]) }

// row completes a row.
func (t *total) row(row *event.Event, at uint64) *event.Event {
	sum := row.GetFlowSum()
	row.Time, sum.Flows, sum.Open = at, t.flows, t.open
	for i, c := range summed {
		if t.known[i] {
			*c.field(sum) = &t.values[i]
		}
	}
	times := &event.ResponseTimes{Histogram: t.times, MaxMicros: t.longest}
	if n := event.ResponseCount(times); n > 0 {
		p50, _ := event.ResponseQuantile(times, 50)
		p99, _ := event.ResponseQuantile(times, 99)
		sum.Responses, sum.ResponseP50Micros, sum.ResponseP99Micros = &n, &p50, &p99
		sum.ResponseMaxMicros = &times.MaxMicros
	}
	return row
}
