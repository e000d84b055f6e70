package render

import (
	"strings"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/safe"
)

// documents writes YAML documents with the fields in the order of the JSON.
type documents struct {
	*flusher
	plans map[*event.Kind][]yamlField
}

// yamlField is a field with the text that stands before its value.
type yamlField struct {
	text   string
	column *event.Column
}

func openYAML(_ *Options, out *flusher, _ string) (Printer, error) {
	d := documents{flusher: out, plans: map[*event.Kind][]yamlField{}}
	for _, k := range event.Kinds() {
		d.plans[k] = yamlPlan(k)
	}
	return d, nil
}

func yamlPlan(k *event.Kind) []yamlField {
	var plan []yamlField
	var open string
	for i := range k.Columns {
		c := &k.Columns[i]
		if c.Outputs&event.InJSON == 0 {
			continue
		}
		text, key := "", c.Name
		if object, field, nested := strings.Cut(c.Name, "."); nested {
			if object != open {
				text = object + ":\n"
			}
			open, key = object, "  "+field
		}
		plan = append(plan, yamlField{text: text + key + ": ", column: c})
	}
	return plan
}

func (d documents) Print(ev *event.Event) error {
	return d.append(func(dst []byte) ([]byte, int) {
		plan, ok := d.plans[event.KindOf(ev)]
		if !ok {
			return dst, 0
		}
		dst = append(dst, "---\n"...)
		for i := range plan {
			dst = append(dst, plan[i].text...)
			dst = appendScalar(dst, plan[i].column.Get(ev))
			dst = append(dst, '\n')
		}
		return dst, 0
	})
}

func appendScalar(dst []byte, v event.Value) []byte {
	if v.Kind() != event.StringValue {
		return v.AppendJSON(dst)
	}
	if s := v.Str(); unquotedScalar(s) {
		return append(dst, s...)
	}
	return safe.AppendYAML(dst, v.Str())
}

// unquotedScalar reports whether all versions of YAML read s without quotes as the string s: it begins with a letter,
// has only letters, digits, dots, dashes, underscores and slashes, and is no keyword.
func unquotedScalar(s string) bool {
	switch strings.ToLower(s) {
	case "y", "n", "yes", "no", "on", "off", "true", "false", "null":
		return false
	}
	for i := range len(s) {
		c := s[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || !(c >= '0' && c <= '9' || c == '.' || c == '-' || c == '_' || c == '/')) {
			return false
		}
	}
	return s != ""
}
