package render

import (
	"bytes"
	"fmt"
	"os"
	"strings"

	"k8s.io/client-go/util/jsonpath"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/safe"
)

// pathPrinter writes the result of a JSONPath template for each event, one line each. Unknown fields print nothing.
type pathPrinter struct {
	*flusher
	path    *jsonpath.JSONPath
	objects map[*event.Kind]*object
	result  bytes.Buffer
}

// byteOrderMark is what some editors of Windows begin a file in UTF-8 with.
const byteOrderMark = "\ufeff"

func openJSONPathFile(o *Options, out *flusher, file string) (Printer, error) {
	template, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	// Editors end the last line, those of Windows by two characters, and some begin the file with a mark.
	text := strings.TrimRight(strings.TrimPrefix(string(template), byteOrderMark), "\r\n")
	return openJSONPath(o, out, text)
}

func openJSONPath(o *Options, out *flusher, template string) (Printer, error) {
	// Like kubectl, take a bare path for a template of it.
	if !strings.Contains(template, "{") {
		template = "{." + strings.TrimPrefix(strings.TrimPrefix(template, "$"), ".") + "}"
	}
	parsed, err := jsonpath.Parse("output", template)
	if err != nil {
		return nil, err
	}
	if err := checkFields(parsed.Root, "", o.Kinds); err != nil {
		return nil, err
	}
	p := &pathPrinter{flusher: out, path: jsonpath.New("output").AllowMissingKeys(true),
		objects: map[*event.Kind]*object{}}
	if err := p.path.Parse(template); err != nil {
		return nil, err
	}
	for _, k := range o.Kinds {
		p.objects[k] = newObject(k)
	}
	return &selector{Printer: p, kinds: o.Kinds, notices: o.Notices}, nil
}

func (p *pathPrinter) Print(ev *event.Event) error {
	o := p.objects[event.KindOf(ev)]
	o.set(ev)
	p.result.Reset()
	if err := p.path.Execute(&p.result, o.root); err != nil {
		return fmt.Errorf("jsonpath: %w", err)
	}
	return p.append(func(dst []byte) ([]byte, int) {
		n := len(dst)
		dst = append(dst, p.result.Bytes()...)
		if len(dst) == n || dst[len(dst)-1] != '\n' {
			dst = append(dst, '\n')
		}
		return dst, 0
	})
}

// object is the JSON object of an event that JSONPath templates are evaluated on. It is reused for every event. Its
// strings are safe for a terminal, since templates print them verbatim. Unknown fields are absent.
type object struct {
	root   map[string]any
	fields []objectField
}

type objectField struct {
	in     map[string]any
	key    string
	column *event.Column
}

func newObject(k *event.Kind) *object {
	o := &object{root: map[string]any{}}
	for i := range k.Columns {
		c := &k.Columns[i]
		if c.Outputs&event.InJSON == 0 {
			continue
		}
		in := o.root
		path := strings.Split(c.Name, ".")
		for _, name := range path[:len(path)-1] {
			next, ok := in[name].(map[string]any)
			if !ok {
				next = map[string]any{}
				in[name] = next
			}
			in = next
		}
		o.fields = append(o.fields, objectField{in: in, key: path[len(path)-1], column: c})
	}
	return o
}

func (o *object) set(ev *event.Event) {
	for _, f := range o.fields {
		switch v := f.column.Get(ev); v.Kind() {
		case event.Null:
			delete(f.in, f.key)
		case event.UintValue:
			f.in[f.key] = v.Uint()
		case event.BoolValue:
			f.in[f.key] = v.Bool()
		default:
			f.in[f.key] = safe.Text(v.String())
		}
	}
}

// checkFields looks the plain field paths of a template up, so that a slip is an error and not an empty line. at is the
// object that the nodes are evaluated in.
func checkFields(list *jsonpath.ListNode, at string, kinds []*event.Kind) error {
	for _, n := range list.Nodes {
		switch n := n.(type) {
		case *jsonpath.ListNode:
			if err := checkFields(n, at, kinds); err != nil {
				return err
			}
		case *jsonpath.FieldNode:
			if n.Value == "" {
				continue // the root, {$} or {.}
			}
			path := strings.TrimPrefix(at+"."+n.Value, ".")
			if !isObject(path, kinds) {
				if _, err := event.Lookup(path, kinds...); err != nil {
					return err
				}
			}
			at = path
		case *jsonpath.TextNode, *jsonpath.IdentifierNode:
		default:
			return nil // filters, wildcards, unions: what they reach is not a plain path
		}
	}
	return nil
}

// isObject reports whether columns lie in an object called path.
func isObject(path string, kinds []*event.Kind) bool {
	for _, k := range kinds {
		for i := range k.Columns {
			if c := &k.Columns[i]; c.Outputs&event.InJSON != 0 && strings.HasPrefix(c.Name, path+".") {
				return true
			}
		}
	}
	return false
}
