package mcp

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"
)

// parameter is an argument of tools: its schema, and the flag that it becomes.
type parameter struct {
	name   string
	schema *jsonschema.Schema
	// flag is empty where the tool itself uses the argument. unit is appended to the value.
	flag, unit string
}

// The bounds of arguments.
const (
	maxSeconds  = 120
	maxRows     = 1000
	defaultRows = 50
	maxFilter   = 2000
)

// parameters are the arguments of all tools, in the order of their flags.
var parameters = []parameter{
	{name: "kinds", schema: list(text("Kind of events", 0), "Kinds of events to trace", 1, 9)},
	{name: "kind", schema: text("Kind of events", 0)},
	{name: "topic", schema: text("What it is about", 0)},
	{name: "file", schema: text("Recording, relative to the directory of recordings. Without it, recordings are listed",
		1024)},
	{name: "namespace", flag: "namespace", schema: pattern(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`,
		text("Namespace of the target pods; the default is that of the kubeconfig's context, or of the server", 63))},
	{name: "allNamespaces", flag: "all-namespaces", schema: boolean("Pods of all namespaces; not with targets")},
	{name: "targets", schema: list(pattern(`^([a-z.]+/)?[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`, text("", 320)),
		"Pods (web-0) and workloads (deploy/web, job/train); none: all pods of the namespace", 0, 20)},
	{name: "selector", flag: "selector", schema: text("Label selector of the target pods: app=web,tier!=cache", 1000)},
	{name: "container", flag: "container", schema: text("Only containers of this name", 63)},
	{name: "node", flag: "node", schema: text("Only this node", 253)},
	{name: "filter", flag: "filter", schema: text("CEL expression over the columns: "+
		`dst.port == 443 && bytesSent > 1000, outcome in ["refused", "timeout"]. Null is unknown: has(dst.pod)`,
		maxFilter)},
	{name: "sortBy", flag: "sort-by", schema: pattern(`^-?[A-Za-z0-9.]+$`,
		text("Column to sort rows by; -bytesSent for the largest first. Rows beyond the limit are left out",
			100))},
	{name: "fields", schema: list(pattern(`^[A-Za-z0-9.]+$`, text("", 100)),
		"Columns to return of each row (src.pod, dst.service, bytesSent); none: all. Fewer columns leave room for "+
			"more rows", 0, 40)},
	{name: "maxRows", schema: integer("Most rows to return", 1, maxRows, defaultRows)},
	{name: "seconds", schema: integer("How long to observe", 1, maxSeconds, 10)},
	{name: "follow", flag: "follow", schema: boolean("Of the topic pod: judge the pods that a verdict blames, too, " +
		"up to three in a chain; true by default")},
	{name: "before", flag: "before", schema: text("How long before: 1h", 40)},
	{name: "length", flag: "window", schema: text("Length of both times, 10m by default", 40)},
	{name: "since", flag: "since", schema: text("About the past instead of now: how far back (10m), or since when "+
		"(2026-11-30T08:00:00Z)", 40)},
	{name: "until", flag: "until", schema: text("With since: up to how long ago, or until when; default now", 40)},
	{name: "group", flag: "group", schema: pattern(`^[a-z]+$`, text("What to count together", 20))},
	{name: "last", flag: "last", schema: integer("Only the newest N of all nodes together; the default is maxRows "+
		"where rows are neither sorted nor aggregated", 1, 10000, 0)},
	{name: "aggregateBy", flag: "aggregate-by", schema: list(pattern(`^[A-Za-z.]+$`, text("", 100)),
		"Of flows: sums by these columns instead of the flows (src.workload, dst.service)", 0, 8)},
	{name: "syscalls", flag: "syscall", schema: list(pattern(`^%?[a-z0-9_]+$`, text("", 40)),
		"Of the kind syscalls: only these calls, or groups %file, %net, %process, %memory", 0, 40)},
	{name: "errorsOnly", flag: "errors-only", schema: boolean("Of the kind syscalls: only calls that fail")},
	{name: "minMilliseconds", flag: "min-duration", unit: "ms",
		schema: integer("Of the kind syscalls: only calls that take as long", 1, 60_000, 0)},
	{name: "top", flag: "top", schema: text("Sums instead of events, as the tool top", 0)},
	{name: "why", flag: "why", schema: text("Verdicts instead of events, as the tool why", 0)},
	{name: "from", flag: "from", schema: text("Begin at this time: since the recording's beginning (90s), or RFC 3339",
		40)},
	{name: "to", flag: "to", schema: text("End at this time", 40)},
	{name: "gpu", flag: "gpu", schema: boolean("Check the GPUs, too")},
}

func text(doc string, most int) *jsonschema.Schema {
	s := &jsonschema.Schema{Type: "string", Description: doc}
	if most > 0 {
		s.MinLength, s.MaxLength = new(1), new(most)
	}
	return s
}

func pattern(expression string, s *jsonschema.Schema) *jsonschema.Schema {
	s.Pattern = expression
	return s
}

func boolean(doc string) *jsonschema.Schema {
	return &jsonschema.Schema{Type: "boolean", Description: doc}
}

// integer has no default where that is 0.
func integer(doc string, least, most, byDefault int) *jsonschema.Schema {
	s := &jsonschema.Schema{Type: "integer", Description: doc, Minimum: new(float64(least)),
		Maximum: new(float64(most))}
	if byDefault != 0 {
		s.Default = json.RawMessage(strconv.Itoa(byDefault))
	}
	return s
}

func list(items *jsonschema.Schema, doc string, least, most int) *jsonschema.Schema {
	return &jsonschema.Schema{Type: "array", Items: items, Description: doc, MinItems: new(least), MaxItems: new(most),
		UniqueItems: true}
}

// arguments are those of a call, which the SDK has validated against the schema.
type arguments map[string]any

func (a arguments) text(name string) string {
	s, _ := a[name].(string)
	return s
}

func (a arguments) number(name string) int {
	n, _ := a[name].(float64)
	return int(n)
}

func (a arguments) list(name string) (all []string) {
	items, _ := a[name].([]any)
	for _, item := range items {
		all = append(all, fmt.Sprint(item))
	}
	return all
}

// flags returns the flags that arguments become.
func (a arguments) flags() (flags []string) {
	for _, p := range parameters {
		value, given := a[p.name]
		if !given || p.flag == "" {
			continue
		}
		switch v := value.(type) {
		case bool:
			flags = append(flags, fmt.Sprintf("--%s=%t", p.flag, v))
		case float64:
			flags = append(flags, fmt.Sprintf("--%s=%d%s", p.flag, int(v), p.unit))
		case []any:
			flags = append(flags, fmt.Sprintf("--%s=%s", p.flag, strings.Join(a.list(p.name), ",")))
		default:
			flags = append(flags, fmt.Sprintf("--%s=%v", p.flag, v))
		}
	}
	return flags
}
