package event

import (
	"bytes"
	"fmt"
	"strings"
)

// FilterHelp describes filters and sorting, in Markdown; ~ stands for the backquote.
var FilterHelp = strings.ReplaceAll(`
## Filters and sorting

~--filter~ is a [CEL](https://cel.dev) expression over these fields. CEL's own functions and functions for addresses and
text are available:

~~~
src.pod == "web" && bytesSent > 1000 && protocol == "tcp"
cidr("10.0.0.0/8").containsIP(dst.address) || dst.port in [53, 443]
!has(dst.pod)
~~~

A field that is not known is null. null equals only null: ~dst.pod != "web"~ holds for an end outside the cluster, and
~dst.pod == null~ or ~!has(dst.pod)~ finds it. Any other use of null (an order, a function, a sum) leaves that part of
the expression undecided. ~&&~ and ~||~ then take the value of their other side if that decides them. An event for which
the whole expression is undecided does not match. So both ~srttMicros < 1000~ and ~!(srttMicros < 1000)~ leave out a
flow without a round-trip time.

~--sort-by bytesSent~ sorts up, ~--sort-by=-bytesSent~ down, null last. Rows are held until the trace ends
(~--duration~, or an interrupt). Only the newest event of each flow is printed.
`, "~", "`")

// Markdown returns the reference of all columns, by kind.
func Markdown() []byte {
	var b bytes.Buffer
	b.WriteString("# Fields of an event\n\n" +
		"<!-- Written by `go test ./event -run Docs -update` from the columns in event/; do not edit. -->\n\n" +
		"Every field has one name, in `-o json`, `yaml`, `jsonpath` and `custom-columns`, in `--sort-by` and in " +
		"`--filter`.\n" +
		"Unknown values are `null` in JSON and `n/a` in a table, never zero. Counters are cumulative.\n" +
		"A line of `-o json` is described by [schema/event.schema.json](schema/event.schema.json).\n")
	b.WriteString(FilterHelp)
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
	if c.Type == Enum {
		return "`" + strings.Join(c.Enum, "`, `") + "`"
	}
	return c.TypeName()
}

// TypeName is the type of the column's values in JSON, with their unit.
func (c *Column) TypeName() string {
	switch c.Type {
	case Number, Count, Signed:
		return "integer"
	case Rate:
		return "number"
	case Bytes:
		return "integer, bytes"
	case Micros:
		return "integer, µs"
	case Nanos:
		return "integer, ns"
	case Timestamp:
		return "time"
	case Address:
		return "address"
	case Bool:
		return "true or false"
	}
	return "text"
}

// shownIn returns the first output that has the column, with its header there.
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
