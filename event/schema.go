package event

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// Schema returns the JSON Schema (draft 2020-12) of a line of -o json, made of the columns of every kind.
func Schema() []byte {
	var b bytes.Buffer
	b.WriteString(`{"$schema":"https://json-schema.org/draft/2020-12/schema",` +
		`"$id":"https://github.com/orb8-dev/kubectl-orb8/docs/schema/event.schema.json",` +
		`"title":"orb8 event","description":"One line of -o json. What is not known is null, never zero.","oneOf":[`)
	for i, k := range kinds {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"$ref":"#/$defs/%s"}`, k.Name)
	}
	b.WriteString(`],"$defs":{`)
	for i, k := range kinds {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `%q:`, k.Name)
		writeObject(&b, k.Doc, "", k.Columns)
	}
	b.WriteString("}}")
	var out bytes.Buffer
	// What is written above is JSON, whatever the columns say; a test reads it.
	_ = json.Indent(&out, b.Bytes(), "", "  ")
	out.WriteByte('\n')
	return out.Bytes()
}

// SchemaOf returns the JSON Schema of a line of -o json with an event of a kind.
func SchemaOf(k *Kind) []byte {
	var b bytes.Buffer
	writeObject(&b, k.Doc, "", k.Columns)
	return b.Bytes()
}

// writeObject writes the schema of the object whose fields' names begin with prefix.
func writeObject(b *bytes.Buffer, doc, prefix string, columns []Column) {
	var names []string
	fmt.Fprintf(b, `{"type":"object","description":%s,"properties":{`, quote(doc))
	for i := range columns {
		c := &columns[i]
		name, in := strings.CutPrefix(c.Name, prefix)
		if c.Outputs&InJSON == 0 || !in {
			continue
		}
		object, _, nested := strings.Cut(name, ".")
		if len(names) > 0 {
			if names[len(names)-1] == object {
				continue // the object is written
			}
			b.WriteByte(',')
		}
		names = append(names, object)
		fmt.Fprintf(b, `%q:`, object)
		if nested {
			writeObject(b, objectDoc(object), prefix+object+".", columns)
		} else {
			writeType(b, c)
		}
	}
	required, _ := json.Marshal(names)
	fmt.Fprintf(b, `},"required":%s,"additionalProperties":false}`, required)
}

// objectDoc describes an object within an event.
func objectDoc(name string) string {
	if name == "src" || name == "dst" {
		return "One end of the conversation."
	}
	return "Of the event, what is of its " + name + "."
}

func writeType(b *bytes.Buffer, c *Column) {
	fmt.Fprintf(b, `{"description":%s,`, quote(c.Doc))
	typ, more := "string", ""
	switch c.Type {
	case Enum:
		words := make([]any, 0, len(c.Enum)+1)
		for _, w := range c.Enum {
			words = append(words, w)
		}
		if !c.Required {
			words = append(words, nil)
		}
		list, _ := json.Marshal(words)
		fmt.Fprintf(b, `"enum":%s}`, list)
		return
	case Signed:
		typ = "integer"
	case Rate:
		typ, more = "number", `,"minimum":0`
	case Number, Count, Bytes, Micros, Nanos:
		typ, more = "integer", `,"minimum":0`
	case Bool:
		typ = "boolean"
	case Timestamp:
		more = `,"format":"date-time"`
	case Address:
		more = `,"anyOf":[{"type":"null"},{"format":"ipv4"},{"format":"ipv6"}]`
	}
	if c.Required {
		fmt.Fprintf(b, `"type":%q%s}`, typ, more)
		return
	}
	fmt.Fprintf(b, `"type":[%q,"null"]%s}`, typ, more)
}

func quote(s string) []byte {
	q, _ := json.Marshal(s)
	return q
}
