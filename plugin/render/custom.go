package render

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// openCustom reads HEADER:FIELD,HEADER:FIELD as kubectl does; a FIELD alone takes the column's own header. Cells hold
// exact values.
func openCustom(o *Options, out *flusher, spec string) (Printer, error) {
	var headers, paths []string
	for part := range strings.SplitSeq(spec, ",") {
		header, path, named := strings.Cut(part, ":")
		if !named {
			header, path = "", part
		}
		headers, paths = append(headers, header), append(paths, path)
	}
	return newCustom(o, out, headers, paths)
}

// openCustomFile reads kubectl's file form: a line of headers and a line of fields below them.
func openCustomFile(o *Options, out *flusher, path string) (Printer, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	var rows [][]string
	for len(rows) < 2 && lines.Scan() {
		rows = append(rows, strings.Fields(strings.TrimPrefix(lines.Text(), byteOrderMark)))
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if len(rows) != 2 || len(rows[0]) != len(rows[1]) {
		return nil, fmt.Errorf("%s must have a line of headers and below it a line of as many fields", path)
	}
	return newCustom(o, out, rows[0], rows[1])
}

func newCustom(o *Options, out *flusher, headers, paths []string) (Printer, error) {
	var fields []field
	for i, path := range paths {
		if path == "" {
			return nil, errors.New("a column without a field, expected HEADER:FIELD,HEADER:FIELD")
		}
		c, err := event.Lookup(path, o.Kinds...)
		if err != nil {
			return nil, err
		}
		f := field{header: headers[i]}
		if f.header == "" {
			f.header = c.Header
		}
		for _, k := range o.Kinds {
			f.columns = append(f.columns, k.Column(c.Name))
		}
		fields = append(fields, f)
	}
	g := &group{fields: fields}
	return newTable(o, out, slices.Repeat([]*group{g}, len(o.Kinds)), true), nil
}
