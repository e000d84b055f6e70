package render

import (
	"slices"
	"unicode/utf8"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/safe"
)

const (
	// gap is the number of blanks between two columns.
	gap = 2
	// maxGrow is how wide a column may become; longer cells push only their own row.
	maxGrow = 64
)

// table writes rows under a header that is printed once. Rows are held until they are flushed, so that the widths of the
// first screen fit what stands in it; a column then grows for good when a cell needs it, and never shrinks.
type table struct {
	out    *flusher
	view   event.View
	kinds  []*event.Kind
	fields []field
	header bool // still to be printed
	// exact: cells hold exact values instead of human units.
	exact bool

	scratch, text []byte
	cells         []cell
}

// field is one column of a table over one or more kinds of event.
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
	return newTable(o, out, shown(o.Kinds, event.InTable), false), nil
}

func openWide(o *Options, out *flusher, _ string) (Printer, error) {
	return newTable(o, out, shown(o.Kinds, event.InWide), false), nil
}

func newTable(o *Options, out *flusher, fields []field, exact bool) Printer {
	t := &table{
		out: out, kinds: o.Kinds, fields: fields, header: !o.NoHeaders, exact: exact,
		view: event.View{Namespace: o.Namespace, Location: o.Location},
	}
	for i := range fields {
		f := &fields[i]
		if !o.NoHeaders {
			f.width = max(f.width, displayWidth(f.header))
		}
	}
	out.layout = t.layout
	return &selector{Printer: t, kinds: o.Kinds, notices: o.Notices}
}

// shown returns the fields that kinds show in an output.
func shown(kinds []*event.Kind, where event.Outputs) []field {
	var fields []field
	var names []string
	for k, kind := range kinds {
		for i := range kind.Columns {
			c := &kind.Columns[i]
			if c.Outputs&where == 0 {
				continue
			}
			at := slices.Index(names, c.Name)
			if at < 0 {
				at = len(fields)
				names = append(names, c.Name)
				fields = append(fields, field{
					header: c.Header, width: c.Width, right: c.Right(), columns: make([]*event.Column, len(kinds)),
				})
			}
			fields[at].columns[k] = c
		}
	}
	return fields
}

func (t *table) Print(ev *event.Event) error {
	kind := slices.Index(t.kinds, event.KindOf(ev))
	return t.out.append(func(dst []byte) ([]byte, int) {
		for i := range t.fields {
			t.scratch = t.appendCell(t.scratch[:0], t.fields[i].columns[kind], ev)
			start := len(t.text)
			t.text = safe.AppendBytes(t.text, t.scratch)
			t.cells = append(t.cells, cell{end: len(t.text), width: displayWidth(t.text[start:])})
		}
		return dst, len(t.text) + len(t.cells)
	})
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

// layout appends the held rows, and the header before the first.
func (t *table) layout(dst []byte) []byte {
	if len(t.cells) == 0 {
		return dst
	}
	n := len(t.fields)
	for i, c := range t.cells {
		if f := &t.fields[i%n]; c.width > f.width && c.width <= maxGrow {
			f.width = c.width
		}
	}
	if t.header {
		t.header = false
		for i := range t.fields {
			f := &t.fields[i]
			dst = pad(dst, t.fields, i, f.header, displayWidth(f.header))
		}
		dst = append(dst, '\n')
	}
	start := 0
	for i, c := range t.cells {
		dst = pad(dst, t.fields, i%n, t.text[start:c.end], c.width)
		if start = c.end; i%n == n-1 {
			dst = append(dst, '\n')
		}
	}
	t.text, t.cells = t.text[:0], t.cells[:0]
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
