package mcp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/safe"
)

// fields are columns that rows are reduced to: a tree, as the columns are objects in objects.
type fields struct {
	name string
	// inner is nil where the whole value is taken.
	inner []*fields
}

// newFields returns the fields with these dotted names, each of which one of the kinds has at least. Rows have their
// kind in any case.
func newFields(names, kinds []string) (*fields, error) {
	if len(names) == 0 {
		return nil, nil
	}
	var known []*event.Kind
	for _, name := range kinds {
		if k := event.KindByName(name); k != nil {
			known = append(known, k)
		}
	}
	root := &fields{inner: []*fields{{name: "kind"}}}
	for _, name := range names {
		if !isObject(name, known) {
			if _, err := event.Lookup(name, known...); err != nil {
				return nil, fmt.Errorf("fields: %w", err)
			}
		}
		root.add(strings.Split(name, "."))
	}
	return root, nil
}

// isObject reports whether a name is that of an object, such as src, of which all columns are taken.
func isObject(name string, kinds []*event.Kind) bool {
	for _, k := range kinds {
		for i := range k.Columns {
			if c := &k.Columns[i]; c.Outputs&event.InJSON != 0 && strings.HasPrefix(c.Name, name+".") {
				return true
			}
		}
	}
	return false
}

func (f *fields) add(path []string) {
	for _, inner := range f.inner {
		if inner.name == path[0] {
			switch {
			case inner.inner == nil: // the whole object is taken
			case len(path) == 1:
				inner.inner = nil
			default:
				inner.add(path[1:])
			}
			return
		}
	}
	inner := &fields{name: path[0]}
	f.inner = append(f.inner, inner)
	if len(path) > 1 {
		inner.add(path[1:])
	}
}

// appendRow appends a row with these fields only.
func (f *fields) appendRow(dst, row []byte) ([]byte, error) {
	var values map[string]json.RawMessage
	if err := json.Unmarshal(row, &values); err != nil {
		return dst, err
	}
	dst = append(dst, '{')
	first := true
	for _, inner := range f.inner {
		value, has := values[inner.name]
		if !has {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = append(safe.AppendJSON(dst, inner.name), ':')
		if inner.inner == nil || bytes.Equal(value, []byte("null")) {
			dst = append(dst, value...)
			continue
		}
		var err error
		if dst, err = inner.appendRow(dst, value); err != nil {
			return dst, err
		}
	}
	return append(dst, '}'), nil
}

// errNotARow is the error of a line that is no JSON object.
var errNotARow = errors.New("not a JSON object")

// visibleRow returns a row whose texts hold only what can be seen: control, bidirectional and invisible characters,
// which could hide text from people that an assistant reads, become escapes. Numbers stay as they are.
func visibleRow(row []byte) ([]byte, error) {
	dst := make([]byte, 0, len(row))
	decoder := json.NewDecoder(bytes.NewReader(row))
	decoder.UseNumber()
	var open []byte // the brackets around
	count := []int{0}
	for {
		token, err := decoder.Token()
		if err != nil {
			return nil, err
		}
		delim, isDelim := token.(json.Delim)
		if len(open) == 0 && delim != '{' {
			return nil, errNotARow
		}
		if isDelim && (delim == '}' || delim == ']') {
			dst = append(dst, byte(delim))
			open, count = open[:len(open)-1], count[:len(count)-1]
			if len(open) > 0 {
				count[len(count)-1]++
				continue
			}
			if _, err := decoder.Token(); err != io.EOF {
				return nil, errNotARow
			}
			return dst, nil
		}
		n := count[len(count)-1]
		switch inObject := len(open) > 0 && open[len(open)-1] == '{'; {
		case inObject && n%2 == 1:
			dst = append(dst, ':')
		case n > 0:
			dst = append(dst, ',')
		}
		switch v := token.(type) {
		case json.Delim:
			dst, open, count = append(dst, byte(v)), append(open, byte(v)), append(count, 0)
			continue
		case string:
			dst = safe.AppendJSON(dst, safe.Text(v))
		case json.Number:
			dst = append(dst, v...)
		case bool:
			dst = fmt.Append(dst, v)
		case nil:
			dst = append(dst, "null"...)
		}
		count[len(count)-1]++
	}
}
