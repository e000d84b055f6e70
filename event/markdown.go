package event

import (
	"bytes"
	"fmt"
	"strings"
)

// Markdown returns the reference of all columns, by kind.
func Markdown() []byte {
	var b bytes.Buffer
	b.WriteString("# Fields of an event\n\n" +
		"<!-- Written by `go test ./event -run Docs -update` from the columns in event/; do not edit. -->\n\n" +
		"Every field has one name, in `-o json`, `yaml`, `jsonpath` and `custom-columns`, in `--sort-by` and in `--filter`.\n" +
		"What is not known is `null` in JSON and `n/a` in a table, never zero. Counters are cumulative.\n" +
		"A line of `-o json` is described by [schema/event.schema.json](schema/event.schema.json).\n")
	for _, k := range kinds {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n| field | type | in | meaning |\n|---|---|---|---|\n", k.Name, k.Doc)
		for i := range k.Columns {
			c := &k.Columns[i]
			if c.Outputs&InJSON != 0 {
				fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", c.Name, typeWord(c), shownIn(c), cell(c.Doc))
			}
		}
		var composed bool
		for i := range k.Columns {
			c := &k.Columns[i]
			if c.Outputs&InJSON != 0 {
				continue
			}
			if !composed {
				composed = true
				b.WriteString("\nColumns that tables compose of these:\n\n| column | in | meaning |\n|---|---|---|\n")
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", c.Header, shownIn(c), cell(c.Doc))
		}
	}
	return b.Bytes()
}

func typeWord(c *Column) string {
	switch c.Type {
	case Enum:
		return "`" + strings.Join(c.Enum, "`, `") + "`"
	case Number, Count:
		return "integer"
	case Bytes:
		return "integer, bytes"
	case Micros:
		return "integer, µs"
	case Timestamp:
		return "time"
	case Address:
		return "address"
	}
	return "text"
}

// shownIn says which tables have the column, with its header there.
func shownIn(c *Column) string {
	switch {
	case c.Outputs&InTable != 0:
		return "`table` (" + c.Header + ")"
	case c.Outputs&InWide != 0:
		return "`wide` (" + c.Header + ")"
	}
	return ""
}

func cell(s string) string { return strings.ReplaceAll(s, "|", "\\|") }
