package render

import (
	"bytes"
	"encoding/csv"
	"errors"
	"strings"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// comma writes RFC 4180: a line of field names, then a line for each event with exact values, empty where one is not known.
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
		c.scratch = column.Get(ev).Append(c.scratch[:0])
		c.cells[i] = harmless(string(c.scratch), column.Type)
	}
	if err := c.csv.Write(c.cells); err != nil {
		return err
	}
	c.csv.Flush()
	return c.out.append(func(dst []byte) ([]byte, int) { return append(dst, c.buf.Bytes()...), 0 })
}

// harmless keeps a spreadsheet from taking a text that a stranger chose for a formula: an apostrophe before it makes it text.
func harmless(s string, t event.Type) string {
	if t == event.Text && s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}

func (c *comma) Close() error { return c.out.Close() }
