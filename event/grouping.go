package event

import (
	"fmt"
	"slices"
	"strings"
)

// MaxGroupFields limits the fields that flows are aggregated by.
const MaxGroupFields = 8

// Grouping aggregates flows by some of their fields.
type Grouping struct {
	names   []string
	columns []*Column
	fields  []*groupField
}

// GroupKey identifies a group of a Grouping. It is comparable.
type GroupKey struct {
	values   [MaxGroupFields]Value
	redacted [3]bool // by Side
}

// GroupFields returns the names of the fields that flows can be aggregated by, in the order of the JSON object.
func GroupFields() (names []string) {
	for i := range flowKind.Columns {
		if name := flowKind.Columns[i].Name; groupFields[name] != nil {
			names = append(names, name)
		}
	}
	return names
}

// NewGrouping returns the Grouping by the fields with these names. Its errors are the user's; that for an unknown field
// lists the known ones.
func NewGrouping(names []string) (*Grouping, error) {
	if len(names) == 0 || len(names) > MaxGroupFields {
		return nil, fmt.Errorf("%d fields, want 1 to %d", len(names), MaxGroupFields)
	}
	g := &Grouping{names: slices.Clone(names)}
	for i, name := range names {
		field := groupFields[name]
		if field == nil {
			known := GroupFields()
			return nil, &UnknownColumnError{Name: name, Nearest: Nearest(name, known), Known: known}
		}
		if slices.Contains(names[:i], name) {
			return nil, fmt.Errorf("field %q is named twice", name)
		}
		g.columns, g.fields = append(g.columns, flowKind.Column(name)), append(g.fields, field)
	}
	return g, nil
}

// Names returns the names of the fields.
func (g *Grouping) Names() []string { return slices.Clone(g.names) }

// Key returns the key of a flow's group. What is withheld of an end is not what nobody knows of it: the former makes
// a group of its own.
func (g *Grouping) Key(ev *Event) (key GroupKey) {
	for i, c := range g.columns {
		key.values[i] = c.Get(ev)
		if side := g.fields[i].side; key.values[i].IsNull() && endAt(ev.GetFlow(), side).GetRedacted() {
			key.redacted[side] = true
		}
	}
	return key
}

// Row returns the row of a flow's group, without sums.
func (g *Grouping) Row(ev *Event) *Event {
	row, sum := g.row()
	key := g.Key(ev)
	sum.Src = &Endpoint{Redacted: key.redacted[Side_SIDE_SRC]}
	sum.Dst = &Endpoint{Redacted: key.redacted[Side_SIDE_DST]}
	for _, f := range g.fields {
		f.copy(row, ev)
	}
	return row
}

// Others returns the row of the groups that have none of their own, without sums.
func (g *Grouping) Others() *Event {
	row, sum := g.row()
	sum.Others = true
	return row
}

func (g *Grouping) row() (*Event, *FlowSum) {
	sum := &FlowSum{AggregatedBy: strings.Join(g.names, ",")}
	return &Event{Kind: &Event_FlowSum{FlowSum: sum}}, sum
}

// Compare orders keys of one Grouping by their values.
func (k *GroupKey) Compare(l *GroupKey) int {
	for i := range k.values {
		if c := k.values[i].Compare(l.values[i]); c != 0 {
			return c
		}
	}
	for side := range k.redacted {
		if k.redacted[side] != l.redacted[side] {
			if l.redacted[side] {
				return -1
			}
			return 1
		}
	}
	return 0
}
