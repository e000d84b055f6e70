// Package event defines the events that tracers report and viewers show, with one list of columns for tables, JSON,
// filters, schema and docs.
package event

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Type is what a column's values mean: it decides how a table prints them, what JSON Schema says and how a filter types
// them.
type Type uint8

const (
	// Text is free text.
	Text Type = iota
	// Enum is one of the words in Column.Enum.
	Enum
	// Number is a whole number that is an identity or a code, not an amount: a pid, a port.
	Number
	// Count is how many there are.
	Count
	// Bytes is an amount of data; tables show it in Ki, Mi, Gi.
	Bytes
	// Micros is a duration in µs; tables show it with its unit.
	Micros
	// Nanos is a duration in ns; tables show it with its unit.
	Nanos
	// Signed is a whole number that may be negative.
	Signed
	// Rate is a number with decimals: how many a second, of a hundred.
	Rate
	// Timestamp is ns since the Unix epoch; RFC 3339 in JSON, the local time of day in tables.
	Timestamp
	// Address is an IPv4 or IPv6 address.
	Address
	// Bool is true or false.
	Bool
)

// Outputs is where a column shows by itself. Columns in JSON can be named in every output, in filters and in --sort-by.
type Outputs uint8

const (
	// InTable shows the column in -o table.
	InTable Outputs = 1 << iota
	// InWide shows the column in -o wide.
	InWide
	// InJSON writes the column in -o json and yaml, at the place its dotted name says.
	InJSON
)

// View is how a table wants its cells composed.
type View struct {
	// Namespace is the one of the view: what lies in it is shown without it. Empty: namespaces are always shown.
	Namespace string
	// Location is the time zone of the time of day; nil: local.
	Location *time.Location
}

// Column is one field of an event: its name, its documentation and its getter. Table headers, JSON keys, --sort-by,
// custom columns, filters, the JSON Schema and the docs all read the same slice of columns.
type Column struct {
	// Name is the dotted path of the field in JSON, "src.pod". Columns that are in no JSON, composed for people, have
	// the name of what they compose.
	Name string
	// Header is the table header.
	Header string
	// Doc says in a sentence what the field is, with its unit and its source.
	Doc string
	// Width is the least width in a table, in terminal cells; 0: the header's.
	Width int
	Type  Type
	// Enum lists the words of an Enum column, in their order for sorting.
	Enum []string
	// Required: never null.
	Required bool
	Outputs  Outputs
	// Get reads the field; nil in a column that is only Show.
	Get func(*Event) Value
	// end, if not nil, is what Get reads of one end of an event. Columns of one object read the same end.
	end *endField
	// Show composes the cell of a table where Type does not say how. It appends text that is not yet safe for a
	// terminal, and nothing where there is nothing to say.
	Show func(dst []byte, ev *Event, v *View) []byte
}

// Compare orders two events by the column, null last.
func (c *Column) Compare(a, b *Event) int {
	v, w := c.Get(a), c.Get(b)
	if c.Type == Enum && v.kind == StringValue && w.kind == StringValue {
		return slices.Index(c.Enum, v.bytes) - slices.Index(c.Enum, w.bytes)
	}
	return v.Compare(w)
}

// AppendCell appends the cell of a table for ev: composed by Show, or the value with its unit for people, or "n/a". The
// text is not yet safe for a terminal.
func (c *Column) AppendCell(dst []byte, ev *Event, view *View) []byte {
	if c.Show != nil {
		n := len(dst)
		if dst = c.Show(dst, ev, view); len(dst) > n {
			return dst
		}
		return append(dst, NotAvailable...)
	}
	v := c.Get(ev)
	if v.IsNull() {
		return append(dst, NotAvailable...)
	}
	switch c.Type {
	case Bytes:
		return AppendBytes(dst, v.Uint())
	case Micros:
		return AppendMicros(dst, v.Uint())
	case Nanos:
		return AppendNanos(dst, v.Uint())
	case Rate:
		return AppendRate(dst, v.Float())
	case Timestamp:
		return appendClock(dst, v.Uint(), view.Location)
	}
	return v.Append(dst)
}

// Right reports whether a table aligns the column to the right, as it does amounts.
func (c *Column) Right() bool {
	return c.Type == Count || c.Type == Bytes || c.Type == Micros || c.Type == Nanos || c.Type == Rate
}

// Lookup finds the column called name in kinds: a dotted JSON name, also as ".src.pod" or "{.src.pod}". The error is an
// *UnknownColumnError.
func Lookup(name string, kinds ...*Kind) (*Column, error) {
	path := strings.TrimPrefix(strings.TrimSuffix(strings.TrimPrefix(name, "{"), "}"), ".")
	for _, k := range kinds {
		if c := k.Column(path); c != nil {
			return c, nil
		}
	}
	return nil, NewUnknownColumnError(path, kinds...)
}

// UnknownColumnError is the error for a name that no column has. It suggests the nearest column.
type UnknownColumnError struct {
	Name string
	// Nearest is the known name that is most like Name; empty if none is.
	Nearest string
	// Known lists the names there are.
	Known []string
}

// NewUnknownColumnError makes the error for a name that no JSON column of kinds has.
func NewUnknownColumnError(name string, kinds ...*Kind) *UnknownColumnError {
	e := &UnknownColumnError{Name: name}
	for _, k := range kinds {
		for i := range k.Columns {
			if c := &k.Columns[i]; c.Outputs&InJSON != 0 && !slices.Contains(e.Known, c.Name) {
				e.Known = append(e.Known, c.Name)
			}
		}
	}
	e.Nearest = Nearest(name, e.Known)
	return e
}

func (e *UnknownColumnError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "unknown field %q", e.Name)
	if e.Nearest != "" {
		fmt.Fprintf(&b, ", did you mean %q?", e.Nearest)
	}
	fmt.Fprintf(&b, " known fields: %s", strings.Join(e.Known, ", "))
	return b.String()
}

// Nearest returns the known name with the least edit distance to name, by case-blind letters, if that is small enough
// to be a slip: a third of the name, or the name is the last part of a dotted one. Empty if none is.
func Nearest(name string, known []string) string {
	name = strings.ToLower(name)
	best, distance := "", len(name)/3+1
	for _, k := range known {
		low := strings.ToLower(k)
		d := edits(name, low)
		if _, tail, ok := strings.Cut(low, "."); ok && tail == name {
			d = min(d, 1)
		}
		if d < distance || d == distance && best == "" {
			best, distance = k, d
		}
	}
	return best
}

// edits is the Levenshtein distance of a and b in bytes.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
