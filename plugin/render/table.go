package render

import (
	"slices"
	"unicode/utf8"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/safe"
	"github.com/orb8-dev/kubectl-orb8/plugin/terminal"
)

const (
	// gap is the number of blanks between two columns.
	gap = 2
	// maxGrow is how wide a column may become; longer cells push only their own row.
	maxGrow = 64
)

// table writes rows below headers that are printed once. Rows are held until they are flushed, so that the widths of
// the first screen fit its cells. A column then grows when a cell needs it, and never shrinks.
type table struct {
	out    *flusher
	view   event.View
	kinds  []*event.Kind
	groups []*group // by kind; kinds may share one
	// exact: cells hold exact values instead of human units.
	exact    bool
	terminal terminal.Terminal

	scratch, text []byte
	cells         []cell
	rows          []*group
}

// group is the columns of the rows of one or more kinds of event, and their header.
type group struct {
	fields []field
	header bool // still to be printed
}

// field is one column of a group.
type field struct {
	header string
	width  int
	right  bool
	// columns are the column in each of the table's kinds, nil where a kind lacks it.
	columns []*event.Column
}

// cell is a piece of the held text and its width.
type cell struct{ end, width int }

func openTable(o *Options, out *flusher, _ string) (Printer, error) {
	groups := shown(o.Kinds, event.InTable, o.Keys...)
	if o.Columns != nil {
		groups = chosen(o.Kinds, o.Columns)
	}
	return newTable(o, out, groups, false), nil
}

func openWide(o *Options, out *flusher, _ string) (Printer, error) {
	return newTable(o, out, shown(o.Kinds, event.InWide, o.Keys...), false), nil
}

// newTable makes a table of kinds with a group each.
func newTable(o *Options, out *flusher, groups []*group, exact bool) Printer {
	t := &table{
		out: out, kinds: o.Kinds, groups: groups, exact: exact, terminal: o.Terminal,
		view: event.View{Namespace: o.Namespace, Location: o.Location},
	}
	for _, g := range groups {
		g.header = !o.NoHeaders
		for i := range g.fields {
			f := &g.fields[i]
			if g.header {
				f.width = max(f.width, displayWidth(f.header))
			}
		}
	}
	out.layout = t.layout
	return &selector{Printer: t, kinds: o.Kinds, notices: o.Notices}
}

// shown returns a group for each kind: its columns with the names of keys, then what the kind shows in an output, and
// where there are several kinds, which one it is.
func shown(kinds []*event.Kind, where event.Outputs, keys ...string) []*group {
	longest := 0
	for _, k := range kinds {
		longest = max(longest, len(k.Name))
	}
	groups := make([]*group, len(kinds))
	for at, kind := range kinds {
		g := new(group)
		add := func(c *event.Column, width int) {
			f := field{header: c.Header, width: width, right: c.Right(), columns: make([]*event.Column, len(kinds))}
			f.columns[at] = c
			g.fields = append(g.fields, f)
		}
		for _, c := range kind.Named(keys) {
			add(c, c.Width)
		}
		for i := range kind.Columns {
			c := &kind.Columns[i]
			if c.Outputs&where != 0 {
				add(c, c.Width)
			}
			if c.Name == "time" && len(kinds) > 1 {
				add(kind.Column("kind"), longest)
			}
		}
		groups[at] = g
	}
	return groups
}

// chosen returns a group for each kind, with those of the columns with these names that it has.
func chosen(kinds []*event.Kind, names []string) []*group {
	groups := make([]*group, len(kinds))
	for at, kind := range kinds {
		g := new(group)
		for _, c := range kind.Named(names) {
			f := field{header: c.Header, width: c.Width, right: c.Right(), columns: make([]*event.Column, len(kinds))}
			f.columns[at] = c
			g.fields = append(g.fields, f)
		}
		groups[at] = g
	}
	return groups
}

func (t *table) Print(ev *event.Event) error {
	kind := slices.Index(t.kinds, event.KindOf(ev))
	return t.out.append(func(dst []byte) ([]byte, int) {
		g := t.groups[kind]
		t.rows = append(t.rows, g)
		for i := range g.fields {
			t.scratch = t.appendCell(t.scratch[:0], g.fields[i].columns[kind], ev)
			start := len(t.text)
			t.text = t.appendText(t.text)
			t.cells = append(t.cells, cell{end: len(t.text), width: displayWidth(t.text[start:])})
		}
		return dst, len(t.text) + len(t.cells)
	})
}

// appendText appends scratch as the terminal can show it.
func (t *table) appendText(dst []byte) []byte {
	start := len(dst)
	dst = safe.AppendBytes(dst, t.scratch)
	if !t.terminal.ASCII || t.exact {
		return dst
	}
	return append(dst[:start], t.terminal.Columns(string(dst[start:]))...)
}

func (t *table) appendCell(dst []byte, c *event.Column, ev *event.Event) []byte {
	switch {
	case c == nil:
		return append(dst, event.NotAvailable...)
	case !t.exact:
		return c.AppendCell(dst, ev, &t.view)
	}
	v := c.Get(ev)
	if v.IsNull() {
		return append(dst, event.NotAvailable...)
	}
	return v.Append(dst)
}

func (t *table) Close() error { return t.out.Close() }

// layout appends the held rows, and the header of a group before the first of its rows.
func (t *table) layout(dst []byte) []byte {
	cells := t.cells
	for _, g := range t.rows {
		for i := range g.fields {
			if f := &g.fields[i]; cells[i].width > f.width && cells[i].width <= maxGrow {
				f.width = cells[i].width
			}
		}
		cells = cells[len(g.fields):]
	}
	start := 0
	cells = t.cells
	for _, g := range t.rows {
		if g.header {
			g.header = false
			for i := range g.fields {
				f := &g.fields[i]
				dst = pad(dst, g.fields, i, f.header, displayWidth(f.header))
			}
			dst = append(dst, '\n')
		}
		for i := range g.fields {
			dst = pad(dst, g.fields, i, t.text[start:cells[i].end], cells[i].width)
			start = cells[i].end
		}
		dst = append(dst, '\n')
		cells = cells[len(g.fields):]
	}
	t.text, t.cells, t.rows = t.text[:0], t.cells[:0], t.rows[:0]
	return dst
}

// pad appends the text of a cell of column i with the blanks that align it; the last column has none after it.
func pad[T string | []byte](dst []byte, fields []field, i int, text T, width int) []byte {
	blanks := max(0, fields[i].width-width)
	if fields[i].right {
		dst = appendBlanks(dst, blanks)
		blanks = 0
	}
	dst = append(dst, text...)
	if i == len(fields)-1 {
		return dst
	}
	return appendBlanks(dst, blanks+gap)
}

func appendBlanks(dst []byte, n int) []byte {
	for range n {
		dst = append(dst, ' ')
	}
	return dst
}

// displayWidth is how many terminal cells text takes that is safe for one.
func displayWidth[T string | []byte](text T) int {
	width := 0
	for i := 0; i < len(text); {
		if text[i] < utf8.RuneSelf {
			width++
			i++
			continue
		}
		r, size := utf8.DecodeRune([]byte(text[i:min(len(text), i+utf8.UTFMax)]))
		width += runeWidth(r)
		i += size
	}
	return width
}
