package render

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// sorter holds rows until Close and prints them sorted by a column: of what has an id its newest event only, the rest
// all.
type sorter struct {
	Printer
	kinds   []*event.Kind
	columns []*event.Column // by kind, nil where a kind lacks the column
	down    bool
	rows    []*event.Event
	byID    map[string]int
}

func newSorter(by string, next Printer, kinds []*event.Kind) (Printer, error) {
	name, down := strings.CutPrefix(by, "-")
	c, err := event.Lookup(name, kinds...)
	if err != nil {
		return nil, fmt.Errorf("sort by: %w", err)
	}
	s := &sorter{Printer: next, kinds: kinds, down: down, byID: map[string]int{}}
	for _, k := range kinds {
		s.columns = append(s.columns, k.Column(c.Name))
	}
	return s, nil
}

func (s *sorter) Print(ev *event.Event) error {
	kind := event.KindOf(ev)
	if !slices.Contains(s.kinds, kind) {
		return s.Printer.Print(ev)
	}
	id := ""
	if c := kind.Column("id"); c != nil {
		id = c.Get(ev).Str()
	}
	if at, ok := s.byID[id]; ok && id != "" {
		s.rows[at] = proto.CloneOf(ev)
		return nil
	}
	if len(s.rows) >= MaxSorted {
		return fmt.Errorf("sort holds %d rows and no more; narrow the trace with --filter or a shorter --duration",
			MaxSorted)
	}
	if id != "" {
		s.byID[id] = len(s.rows)
	}
	s.rows = append(s.rows, proto.CloneOf(ev))
	return nil
}

func (s *sorter) Close() error {
	slices.SortStableFunc(s.rows, s.compare)
	for _, ev := range s.rows {
		if err := s.Printer.Print(ev); err != nil {
			break // Close returns it again
		}
	}
	s.rows, s.byID = nil, nil
	return s.Printer.Close()
}

// compare puts null last whichever way it sorts.
func (s *sorter) compare(a, b *event.Event) int {
	c, d := s.column(a), s.column(b)
	aNull, bNull := c == nil || c.Get(a).IsNull(), d == nil || d.Get(b).IsNull()
	switch {
	case aNull && bNull:
		return 0
	case aNull:
		return 1
	case bNull:
		return -1
	}
	order := c.Get(a).Compare(d.Get(b))
	if c == d {
		order = c.Compare(a, b)
	}
	if s.down {
		return -order
	}
	return order
}

func (s *sorter) column(ev *event.Event) *event.Column {
	return s.columns[slices.Index(s.kinds, event.KindOf(ev))]
}
