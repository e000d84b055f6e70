package render

import (
	"bytes"
	"encoding/csv"
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/safe"
)

// comma writes RFC 4180: a line of field names, then a line for each event with exact numbers, text that is safe for a
// terminal and a spreadsheet, and nothing where a value is not known.
type comma struct {
	out     *flusher
	columns []*event.Column
	header  bool // still to be written
	buf     bytes.Buffer
	csv     *csv.Writer
	cells   []string
	scratch []byte
}

func openCSV(o *Options, out *flusher, _ string) (Printer, error) {
	if len(o.Kinds) > 1 {
		return nil, errors.New("a table of one kind of events only: use json for several")
	}
	c := &comma{out: out, header: !o.NoHeaders}
	c.csv = csv.NewWriter(&c.buf)
	for i := range o.Kinds[0].Columns {
		if column := &o.Kinds[0].Columns[i]; column.Outputs&event.InJSON != 0 {
			c.columns = append(c.columns, column)
		}
	}
	c.cells = make([]string, len(c.columns))
	return &selector{Printer: c, kinds: o.Kinds, notices: o.Notices}, nil
}

func (c *comma) Print(ev *event.Event) error {
	c.buf.Reset()
	if c.header {
		c.header = false
		for i, column := range c.columns {
			c.cells[i] = column.Name
		}
		if err := c.csv.Write(c.cells); err != nil {
			return err
		}
	}
	for i, column := range c.columns {
		c.scratch = appendField(c.scratch[:0], column.Get(ev))
		c.cells[i] = string(c.scratch)
	}
	if err := c.csv.Write(c.cells); err != nil {
		return err
	}
	c.csv.Flush()
	return c.out.append(func(dst []byte) ([]byte, int) { return append(dst, c.buf.Bytes()...), 0 })
}

// formulaStarts are what spreadsheets take for the beginning of a formula, also in the full width of East Asian text.
// Tabs and line breaks, which they take for it as well, never get here: package safe escapes them.
const formulaStarts = "=+-@＝＋－＠"

// appendField appends a value as a field. Text of any column may be hostile, whatever the column's type: it passes
// package safe as the cells of a table do, and gets an apostrophe where a spreadsheet would read a formula.
func appendField(dst []byte, v event.Value) []byte {
	if v.Kind() != event.StringValue {
		return v.Append(dst)
	}
	text := safe.Text(v.Str())
	first, _ := utf8.DecodeRuneInString(strings.TrimLeft(text, " "))
	if strings.ContainsRune(formulaStarts, first) {
		dst = append(dst, '\'')
	}
	return append(dst, text...)
}

func (c *comma) Close() error { return c.out.Close() }
