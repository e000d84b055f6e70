package mcp

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/jsonschema-go/jsonschema"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

// tool is a tool: what assistants see of it, and the command that it runs.
type tool struct {
	name, title, description string
	// parameters are its arguments, required those that a call must have.
	parameters, required []string
	// kinds are those of its rows; nil: they are of no kind of events.
	kinds []string
	// words are the words of an argument, or of its elements.
	words map[string][]string
	// seconds replaces the bounds of the argument of this name.
	seconds *jsonschema.Schema
	// plan returns the command of a call. Its errors are the caller's.
	plan func(a arguments) (*plan, error)
	// answer, if not nil, answers without a command, unless its answer is nil.
	answer func(a arguments) (*answer, error)
}

// plan is what a call runs.
type plan struct {
	Command
	// kinds are the kinds of its rows; nil: they are not of a kind of events.
	kinds []string
	// most are the rows that are kept.
	most int
	// observes is how long the command observes, and allowed how long it may take besides.
	observes, allowed time.Duration
	// newest: the command itself prints only so many rows.
	newest bool
	close  func()
}

// How long commands may take besides the time that they observe: to start tracers, to ask servers, and to read files.
const (
	startTime  = 90 * time.Second
	askTime    = 90 * time.Second
	followTime = 4 * time.Minute // with the time to observe up to three pods in a chain
	readTime   = time.Minute
	doctorTime = 4 * time.Minute
)

// planned returns the plan of a command that prints rows.
func planned(words []string, a arguments) *plan {
	p := &plan{most: a.number("maxRows")}
	if p.most == 0 {
		p.most = defaultRows
	}
	p.Words, p.Flags, p.Args = words, append(a.flags(), "--output=json"), a.list("targets")
	return p
}

// observing returns the plan of a command that observes for seconds.
func observing(words []string, a arguments) *plan {
	p := planned(words, a)
	p.observes, p.allowed = time.Duration(a.number("seconds"))*time.Second, startTime
	return p
}

// windowed returns the plan of a command that observes for a window, or reads the past.
func windowed(words []string, a arguments, window time.Duration) *plan {
	p := observing(words, a)
	switch {
	case a.text("since") != "":
		p.FromInstalledAgents, p.allowed = true, askTime
	case p.observes == 0:
		p.observes = window
	}
	if p.observes > 0 { // also with since, which the command refuses
		p.Flags = append(p.Flags, fmt.Sprintf("--window=%v", p.observes))
	}
	return p
}

// limitTop makes top print one row for all others, after the first ones.
func (p *plan) limitTop() {
	p.Flags = append(p.Flags, fmt.Sprintf("--limit=%d", p.most))
	p.most++
}

// input returns the schema of a tool's arguments.
func (t *tool) input() *jsonschema.Schema {
	in := &jsonschema.Schema{Type: "object", Properties: map[string]*jsonschema.Schema{}, Required: t.required,
		PropertyOrder: t.parameters, AdditionalProperties: &jsonschema.Schema{Not: &jsonschema.Schema{}}}
	for _, name := range t.parameters {
		i := slices.IndexFunc(parameters, func(p parameter) bool { return p.name == name })
		property := parameters[i].schema.CloneSchemas()
		if name == "seconds" && t.seconds != nil {
			property = t.seconds
		}
		if words := t.words[name]; words != nil {
			restricted := property
			if property.Type == "array" {
				restricted = property.Items
				property.MaxItems = new(len(words))
			}
			for _, word := range words {
				restricted.Enum = append(restricted.Enum, word)
			}
		}
		in.Properties[name] = property
	}
	return in
}

// addTool offers a tool.
func (s *Server) addTool(t *tool) {
	sdk.AddTool(s.sdk, &sdk.Tool{
		Name: t.name, Title: t.title, Description: t.description,
		InputSchema: t.input(), OutputSchema: outputSchema(t.kinds),
		Annotations: &sdk.ToolAnnotations{
			Title: t.title, ReadOnlyHint: true, IdempotentHint: true, DestructiveHint: new(false),
			OpenWorldHint: new(t.answer == nil),
		},
	}, func(ctx context.Context, r *sdk.CallToolRequest, in map[string]any) (*sdk.CallToolResult, any, error) {
		// The SDK validates a returned value by decoding it, and would round large integers.
		return s.call(ctx, r, t, in), nil, nil
	})
}
