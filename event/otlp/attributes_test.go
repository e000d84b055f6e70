package otlp

import (
	"regexp"
	"strings"
	"testing"

	"github.com/orb8-dev/kubectl-orb8/event"
)

var attributeName = regexp.MustCompile(`^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+$`)

// TestAttributes_Names holds the names together: one name has one type in all kinds, and is not the parent of another.
func TestAttributes_Names(t *testing.T) {
	types := map[string]event.Type{}
	used := map[string]bool{}
	group := func(t event.Type) event.Type {
		switch t {
		case event.Enum, event.Timestamp, event.Address:
			return event.Text
		case event.Count, event.Bytes, event.Micros, event.Nanos, event.Signed:
			return event.Number
		}
		return t
	}
	for _, k := range event.Kinds() {
		if k.Row {
			continue
		}
		seen := map[string]bool{}
		for _, a := range AttributesOf(k) {
			if !attributeName.MatchString(a.Name) || seen[a.Name] {
				t.Errorf("%s.%s: the name %q", k.Name, a.Field, a.Name)
			}
			seen[a.Name] = true
			used[a.Field] = used[a.Field] || a.Standard
			if a.Column == nil {
				continue
			}
			typ := group(a.Column.Type)
			if before, ok := types[a.Name]; ok && before != typ {
				t.Errorf("%s.%s: %s has another type in another kind", k.Name, a.Field, a.Name)
			}
			types[a.Name] = typ
		}
		for column := range standardOf[k.Name] {
			if k.Column(column) == nil {
				t.Errorf("%s has no column %s", k.Name, column)
			}
		}
		for _, column := range omitted[k.Name] {
			if k.Column(column) == nil {
				t.Errorf("%s has no column %s", k.Name, column)
			}
		}
	}
	for column := range standard {
		if !used[column] {
			t.Errorf("no kind has a column %s", column)
		}
	}
	for name := range types {
		for other := range types {
			if strings.HasPrefix(other, name+".") {
				t.Errorf("%s is the parent of %s", name, other)
			}
		}
	}
}
