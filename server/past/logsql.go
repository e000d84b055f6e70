package past

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event/otlp"
)

// Names of fields that VictoriaLogs gives to parts of a record that are no attributes.
const (
	fieldTime  = "_time"
	fieldEvent = "event_name"
	fieldScope = "scope.name"
)

// reports are kinds that every answer has.
var reports = []string{"lost", "nodeStatus"}

// formsOf returns the names of the records of kinds, and of reports.
func formsOf(kinds []string) (names []string) {
	for _, kind := range append(slices.Clone(kinds), reports...) {
		if name := otlp.EventName(kind); otlp.FormOf(name) != nil && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// is is the condition that a field has a value, in that it has one of several.
func is(field, value string) string { return quote(field) + ":=" + quote(value) }

func in(field string, values []string) string {
	quoted := make([]string, len(values))
	for i, v := range values {
		quoted[i] = quote(v)
	}
	return quote(field) + ":in(" + strings.Join(quoted, ",") + ")"
}

// filter is the short part of the conditions. The store limits a query to 16 KiB.
func (s *Selection) filter(g segment, resource map[string]string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "_time:[%s, %s) {%s=%s} %s", timeText(g.from), timeText(g.to), quote(otlp.Service),
		quote(otlp.AgentValue), is(fieldScope, otlp.Scope))
	for _, name := range slices.Sorted(maps.Keys(resource)) {
		b.WriteString(" " + is(name, resource[name]))
	}
	return b.String() + " " + in(fieldEvent, formsOf(s.Kinds))
}

// conditions are the others: names, of which there may be many.
func (s *Selection) conditions(g segment) string {
	all := []string{"*"}
	if s.Node != "" {
		all = append(all, is(otlp.Node, s.Node))
	}
	if len(g.without) > 0 {
		all = append(all, "!"+in(otlp.Node, g.without))
	}
	var own []string
	if len(s.Namespaces) > 0 {
		own = append(own, in(otlp.Namespace, s.Namespaces))
	}
	if len(s.Pods)+len(s.Workloads) > 0 {
		own = append(own, "("+in(otlp.Pod, s.Pods)+" or "+in(otlp.Workload, s.Workloads)+")")
	}
	if s.Container != "" {
		own = append(own, is(otlp.Container, s.Container))
	}
	if len(own) > 0 {
		all = append(all, "("+is(otlp.Namespace, "")+" or "+strings.Join(own, " ")+")")
	}
	return strings.Join(all, " ")
}

// fields is the pipe that leaves only what an event is made of.
func (r *read) fields() string {
	names := map[string]struct{}{}
	for name := range r.kinds {
		for _, attribute := range otlp.FormOf(name).Attributes() {
			names[attribute] = struct{}{}
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, " | fields %s, %s, %s", fieldTime, fieldEvent, quote(otlp.Node))
	for _, name := range slices.Sorted(maps.Keys(names)) {
		b.WriteString("," + quote(name))
	}
	return b.String()
}

func timeText(ns uint64) string {
	return time.Unix(0, int64(min(ns, 1<<62))).UTC().Format("2006-01-02T15:04:05.000000000Z")
}

// bucket is a part of a time, and how many rows it has.
type bucket struct {
	span
	rows int
}

// count counts the rows of a segment.
func (r *read) count(g segment, step time.Duration) (all []bucket, err error) {
	query := fmt.Sprintf("%s | stats by (%s:%dms) count() rows | limit %d", r.s.filter(g, r.o.Resource), fieldTime,
		step.Milliseconds(), 4*maxBuckets)
	err = r.query(query, g, func() error {
		at, timeErr := otlp.ParseTime(r.row.get(fieldTime))
		n, countErr := strconv.ParseUint(r.row.get("rows"), 10, 40)
		if timeErr != nil || countErr != nil || at < g.from-min(g.from, uint64(step)) || at >= g.to {
			return &storeError{"its answer is no count of rows", printable(clip(r.row.line))}
		}
		all = append(all, bucket{span{max(at, g.from), min(at+uint64(step), g.to)}, int(n)})
		return nil
	})
	slices.SortFunc(all, func(a, b bucket) int {
		if a.from < b.from {
			return -1
		}
		return 1
	})
	return all, err
}

// oldest returns the time of the oldest row; 0: there is none.
func (r *read) oldest() (at uint64, err error) {
	g := segment{span: span{1, r.s.Until}}
	err = r.query(r.s.filter(g, r.o.Resource)+" | stats min("+fieldTime+") first", g, func() error {
		if text := r.row.get("first"); text != "" {
			var wrong error
			if at, wrong = otlp.ParseTime(text); wrong != nil {
				return &storeError{"its answer is no time", printable(clip(r.row.line))}
			}
		}
		return nil
	})
	return at, err
}

func clip(line []byte) []byte { return line[:min(len(line), 200)] }
