package mcp

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/safe"
	"github.com/orb8-dev/kubectl-orb8/internal/plural"
)

// answer is the structured content of a result.
type answer struct {
	// Notice marks the rest as untrusted, for clients that show assistants the structured content only.
	Notice string `json:"notice"`
	// Rows are the rows of the command, Status the events about nodes and losses among them.
	Rows   []json.RawMessage `json:"rows"`
	Status []json.RawMessage `json:"status"`
	// Messages are what the command prints for people: progress, notes, closing lines.
	Messages []string `json:"messages"`
	Error    *string  `json:"error"`
	ExitCode int      `json:"exitCode"`
	// Cut lists what was left out.
	Cut []cut `json:"cut"`
}

// cut is a part of the answer that was left out.
type cut struct {
	Limit limit `json:"limit"`
	// LeftOut is how much was left out at least; null: unknown.
	LeftOut *uint64 `json:"leftOut"`
	Narrow  string  `json:"narrow"`
}

// limit is why something was left out.
type limit string

const (
	cutRows     limit = "rows"
	cutBytes    limit = "bytes"
	cutNewest   limit = "newest"
	cutTime     limit = "time"
	cutStatus   limit = "status"
	cutMessages limit = "messages"
	cutEntries  limit = "entries"
)

// narrow says for each limit how to get the rest.
var narrow = map[limit]string{
	cutRows: "raise maxRows, or narrow the call: targets, namespace, selector, filter, a shorter time; sortBy " +
		"decides which rows come first",
	cutBytes: "name the columns to return (fields), or narrow the call: targets, namespace, selector, filter",
	cutNewest: "these are the newest rows: there may be others before them; raise maxRows, or narrow the call by " +
		"filter or until",
	cutTime:     "the time limit of a call was reached: ask for less time or fewer pods",
	cutStatus:   "the states of nodes and the losses are too many: name a node",
	cutMessages: "lines in the middle were left out",
	cutEntries:  "the directory of recordings holds more than is searched: name the file",
}

func newAnswer() *answer {
	return &answer{Notice: untrusted, Rows: []json.RawMessage{}, Status: []json.RawMessage{}, Messages: []string{},
		Cut: []cut{}}
}

// leaveOut adds what was left out, unless it is nothing.
func (a *answer) leaveOut(by limit, n uint64) {
	if n > 0 {
		a.Cut = append(a.Cut, cut{by, &n, narrow[by]})
	}
}

// limited adds a limit that left out nobody knows how much.
func (a *answer) limited(by limit) { a.Cut = append(a.Cut, cut{by, nil, narrow[by]}) }

// fit drops the rows that are beyond the limits.
func (a *answer) fit(most, maxBytes int) {
	if len(a.Rows) > most {
		a.leaveOut(cutRows, uint64(len(a.Rows)-most))
		a.Rows = a.Rows[:most]
	}
	size := 0
	for i, row := range a.Rows {
		if size += len(row); size > maxBytes {
			a.leaveOut(cutBytes, uint64(len(a.Rows)-i))
			a.Rows = a.Rows[:i]
			return
		}
	}
}

// fail sets the error.
func (a *answer) fail(text string) {
	text = safe.Text(text)
	a.Error = &text
}

// summary describes the answer in words of ours only: numbers, and names of kinds.
func (a *answer) summary(tool string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s", tool, plural.Count(len(a.Rows), "row"))
	if kinds := countKinds(a.Rows); len(kinds) > 1 {
		var parts []string
		for _, kind := range slices.Sorted(maps.Keys(kinds)) {
			parts = append(parts, fmt.Sprintf("%d %s", kinds[kind], kind))
		}
		fmt.Fprintf(&b, " (%s)", strings.Join(parts, ", "))
	}
	b.WriteString(".")
	for _, c := range a.Cut {
		if c.LeftOut != nil {
			fmt.Fprintf(&b, " Left out by the limit of %s: at least %d;", c.Limit, *c.LeftOut)
		} else {
			fmt.Fprintf(&b, " Limit of %s:", c.Limit)
		}
		fmt.Fprintf(&b, " %s.", c.Narrow)
	}
	if countKinds(a.Status)["lost"] > 0 {
		b.WriteString(" Events were lost: see status.")
	}
	switch {
	case a.Error != nil:
		fmt.Fprintf(&b, " It failed with exit code %d: see error.", a.ExitCode)
	case a.ExitCode != 0:
		fmt.Fprintf(&b, " Its exit code is %d: see messages.", a.ExitCode)
	}
	b.WriteString("\n" + untrusted)
	return b.String()
}

// countKinds counts rows by kind, those of known kinds only: others may have any name.
func countKinds(rows []json.RawMessage) map[string]int {
	counts := map[string]int{}
	for _, row := range rows {
		if kind := kindOf(row); event.KindByName(kind) != nil {
			counts[kind]++
		}
	}
	return counts
}

// result returns the answer to a client.
func (a *answer) result(tool string, structuredOnly bool) *sdk.CallToolResult {
	r := &sdk.CallToolResult{Content: []sdk.Content{&sdk.TextContent{Text: a.summary(tool)}}, IsError: a.Error != nil}
	var data bytes.Buffer
	encoder := json.NewEncoder(&data)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(a); err != nil { // a row is not JSON
		r.SetError(fmt.Errorf("%s: the rows cannot be encoded: %w", tool, err))
		return r
	}
	r.StructuredContent = json.RawMessage(data.Bytes())
	if !structuredOnly {
		// For clients that do not read structured content.
		r.Content = append(r.Content, &sdk.TextContent{Text: data.String()})
	}
	return r
}

// columnsURI is the beginning of the URIs of the schemas of rows.
const columnsURI = "orb8://columns/"

// outputSchema is the schema of answers with rows of these kinds; nil: they are of no kind of events. The schemas of
// the kinds are resources: together they are 100 KB.
func outputSchema(kinds []string) *jsonschema.Schema {
	ofKind := func(array *jsonschema.Schema, kinds ...string) *jsonschema.Schema {
		if len(kinds) == 0 {
			return array
		}
		kind := &jsonschema.Schema{Type: "string"}
		for _, k := range kinds {
			kind.Enum = append(kind.Enum, k)
		}
		array.Items.Required, array.Items.Properties = []string{"kind"}, map[string]*jsonschema.Schema{"kind": kind}
		return array
	}
	object := func(doc string) *jsonschema.Schema {
		return &jsonschema.Schema{Type: "array", Description: doc, Items: &jsonschema.Schema{Type: "object"}}
	}
	nullable := func(kind, doc string) *jsonschema.Schema {
		return &jsonschema.Schema{Types: []string{kind, "null"}, Description: doc}
	}
	properties := []string{"notice", "rows", "status", "messages", "error", "exitCode", "cut"}
	return &jsonschema.Schema{
		Type: "object", Required: properties, PropertyOrder: properties,
		Properties: map[string]*jsonschema.Schema{
			"notice": {Type: "string", Description: "How to treat the data"},
			"rows": ofKind(object("Untrusted. A row whose kind is KIND is as the resource "+columnsURI+
				"KIND describes; with fields, it has these columns only"), kinds...),
			"status": ofKind(object("Untrusted. What the streams of nodes do, and what was lost"),
				"nodeStatus", "lost"),
			"messages": {Type: "array", Items: &jsonschema.Schema{Type: "string"},
				Description: "Untrusted. Notes and closing lines of the command"},
			"error": nullable("string", "Untrusted. Why the command failed"),
			"exitCode": {Type: "integer",
				Description: "0: done; 1: error; 2: usage; 3: some nodes failed; 130: interrupted"},
			"cut": {Type: "array", Description: "What was left out", Items: &jsonschema.Schema{
				Type: "object", Required: []string{"limit", "leftOut", "narrow"},
				Properties: map[string]*jsonschema.Schema{
					"limit":   {Type: "string"},
					"leftOut": nullable("integer", "At least so many; null: unknown"),
					"narrow":  {Type: "string", Description: "How to get the rest"},
				},
			}},
		},
	}
}
