// Package prometheus holds tests of docs/dashboards that need Prometheus' parser and Grafana's schema.
package prometheus

import (
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

const docs = "../../../docs"

func dashboards(t *testing.T) map[string][]byte {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(docs, "dashboards", "*.json"))
	if err != nil || len(paths) < 6 {
		t.Fatalf("%d dashboards, %v", len(paths), err)
	}
	all := map[string][]byte{}
	for _, path := range paths {
		if all[filepath.Base(path)], err = os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// Grafana's schema knows every field, and each value is of its type.
func TestDashboards_FollowTheSchema(t *testing.T) {
	plugins.RegisterDefaultPlugins()
	for name, text := range dashboards(t) {
		var d dashboard.Dashboard
		// The SDK returns an error also without a mistake, which then holds none, and drops the panels.
		if mistakes := (cog.BuildErrors)(nil); !errors.As(d.UnmarshalJSONStrict(text), &mistakes) || len(mistakes) > 0 {
			t.Errorf("%s: %v", name, mistakes)
		}
		d = dashboard.Dashboard{}
		if err := json.Unmarshal(text, &d); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := d.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		targets, occupied := 0, map[[2]uint32]string{}
		for _, p := range d.Panels {
			if p.Panel == nil {
				continue
			}
			targets += len(p.Panel.Targets)
			at := p.Panel.GridPos
			for x := at.X; x < at.X+at.W; x++ {
				for y := at.Y; y < at.Y+at.H; y++ {
					if other := occupied[[2]uint32{x, y}]; other != "" || x >= 24 {
						t.Fatalf("%s: %s is at the place of %q, or too far right", name, *p.Panel.Title, other)
					}
					occupied[[2]uint32{x, y}] = *p.Panel.Title
				}
			}
		}
		if targets < 5 {
			t.Errorf("%s has %d queries", name, targets)
		}
	}
}

// catalog are the labels of the metrics of docs/metrics.md.
func catalog(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(docs, "metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile("^\\| `(\\w+)` \\| (\\w+) \\|")
	all, labels := map[string][]string{"up": nil}, []string(nil)
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "## ") || line == "Without labels:\n" {
			labels = nil
		}
		if names, ok := strings.CutPrefix(line, "Labels: "); ok {
			labels = strings.Split(strings.NewReplacer("`", "", ".", "", "\n", "").Replace(names), ", ")
		}
		if m := row.FindStringSubmatch(line); m != nil {
			all[m[1]] = labels
			if m[2] == "histogram" {
				all[m[1]+"_bucket"] = append([]string{"le"}, labels...)
			}
		}
	}
	return all
}

// targetLabels are those that Prometheus adds to what it scrapes.
var targetLabels = []string{"job", "instance", "node", "namespace", "pod"}

// check parses an expression. Its metrics must be in the catalog, with the labels that it selects and groups by.
func check(t *testing.T, where, expr string, known map[string][]string) {
	t.Helper()
	tree, err := parser.NewParser(parser.Options{}).ParseExpr(expr)
	if err != nil {
		t.Errorf("%s: %s: %v", where, expr, err)
		return
	}
	has := func(metric, label string) bool {
		for _, l := range append(known[metric], targetLabels...) {
			if l == label {
				return true
			}
		}
		return false
	}
	parser.Inspect(tree, func(n parser.Node, _ []parser.Node) error {
		switch n := n.(type) {
		case *parser.VectorSelector:
			if _, ok := known[n.Name]; !ok {
				t.Errorf("%s: %s is not in docs/metrics.md", where, n.Name)
			}
			for _, m := range n.LabelMatchers {
				if m.Name != "__name__" && !has(n.Name, m.Name) {
					t.Errorf("%s: %s has no label %s", where, n.Name, m.Name)
				}
			}
		case *parser.AggregateExpr:
			parser.Inspect(n.Expr, func(inner parser.Node, _ []parser.Node) error {
				if v, ok := inner.(*parser.VectorSelector); ok && !strings.Contains(expr, "group_right") {
					for _, label := range n.Grouping {
						if !has(v.Name, label) {
							t.Errorf("%s: %s has no label %s to group by", where, v.Name, label)
						}
					}
				}
				return nil
			})
		}
		return nil
	})
}

var variable = regexp.MustCompile(`\$\w+`)

func TestDashboards_Parse(t *testing.T) {
	known, n := catalog(t), 0
	for name, text := range dashboards(t) {
		var d struct {
			Panels []struct {
				Title   string
				Targets []struct{ Expr string }
			}
		}
		if err := json.Unmarshal(text, &d); err != nil {
			t.Fatal(err)
		}
		for _, p := range d.Panels {
			for _, target := range p.Targets {
				expr := strings.ReplaceAll(target.Expr, "$__rate_interval", "1m")
				check(t, name+": "+p.Title, variable.ReplaceAllString(expr, ".*"), known)
				n++
			}
		}
	}
	t.Logf("%d expressions", n)
	if n < 100 {
		t.Errorf("%d expressions", n)
	}
}

func TestAlerts_Parse(t *testing.T) {
	p := parser.NewParser(parser.Options{})
	groups, errs := rulefmt.ParseFile(filepath.Join(docs, "dashboards", "alerts.yaml"), false,
		model.UTF8Validation, p, slog.New(slog.DiscardHandler))
	for _, err := range errs {
		t.Error(err)
	}
	if groups == nil || len(groups.Groups) < 3 {
		t.Fatalf("%+v", groups)
	}
	known := catalog(t)
	for _, g := range groups.Groups {
		for _, r := range g.Rules {
			check(t, r.Alert, r.Expr, known)
		}
	}
}
