package dashboards_test

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/orb8-dev/kubectl-orb8/deploy/dashboards"
)

var update = flag.Bool("update", false, "write the generated files")

const docs = "../../docs"

// files are the generated ones by name.
func files(t *testing.T) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	add := func(name string, text []byte, err error) {
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		all[name] = text
	}
	for _, d := range dashboards.All() {
		text, err := d.JSON()
		add(d.Name+".json", text, err)
	}
	text, err := dashboards.Rules()
	add("alerts.yaml", text, err)
	text, err = dashboards.PrometheusRule()
	add("prometheusrule.yaml", text, err)
	return all
}

func TestFilesAreCurrent(t *testing.T) {
	folder := filepath.Join(docs, "dashboards")
	want := files(t)
	if *update {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, text := range want {
			if err := os.WriteFile(filepath.Join(folder, name), text, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		got, err := os.ReadFile(filepath.Join(folder, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != string(want[e.Name()]) {
			t.Errorf("%s: run go test ./deploy/dashboards -run Files -update", e.Name())
		}
		delete(want, e.Name())
	}
	for name := range want {
		t.Errorf("%s is not there", name)
	}
}

// catalog are the labels of the metrics of docs/metrics.md.
func catalog(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(docs, "metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	all, labels := map[string]string{}, ""
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "## ") || line == "Without labels:\n" {
			labels = ""
		}
		if strings.HasPrefix(line, "Labels: ") {
			labels = strings.NewReplacer("Labels: ", "", "`", "", ".", "", "\n", "").Replace(line)
		}
		if m := metricRow.FindStringSubmatch(line); m != nil {
			all[m[1]] = labels
			if m[2] == "histogram" {
				all[m[1]+"_bucket"] = labels
			}
		}
	}
	if len(all) < 100 {
		t.Fatalf("%d metrics in docs/metrics.md", len(all))
	}
	return all
}

var (
	metricRow = regexp.MustCompile("^\\| `(\\w+)` \\| (\\w+) \\|")
	// name is a metric of orb8's, or of its processes.
	name = regexp.MustCompile(`\b(orb8|process|DCGM)_\w+`)
)

func TestExpressions_UseKnownMetrics(t *testing.T) {
	known := catalog(t)
	check := func(where, expr string) {
		names := name.FindAllString(expr, -1)
		if len(names) == 0 && !strings.Contains(expr, "up{") {
			t.Errorf("%s: no metric in %s", where, expr)
		}
		for _, n := range names {
			if _, ok := known[n]; !ok {
				t.Errorf("%s: %s is not in docs/metrics.md", where, n)
			}
		}
	}
	for _, d := range dashboards.All() {
		names := map[string]bool{"__rate_interval": true}
		for _, v := range d.Variables {
			names[v.Name] = true
			check(d.Name, v.Metric)
			if labels := strings.Split(known[v.Metric], ", "); v.Name != "node" && !slices.Contains(labels, v.Name) {
				t.Errorf("%s: %s has no label %s", d.Name, v.Metric, v.Name)
			}
		}
		for _, q := range d.Queries() {
			check(d.Name, q.Expr)
			for _, m := range regexp.MustCompile(`\$(\w+)`).FindAllStringSubmatch(q.Expr, -1) {
				if !names[m[1]] {
					t.Errorf("%s: no variable $%s: %s", d.Name, m[1], q.Expr)
				}
			}
			if e := q.Evaluable("1m"); strings.Contains(e, "$") {
				t.Errorf("%s: %s", d.Name, e)
			}
		}
	}
	for _, g := range dashboards.Groups() {
		for _, a := range g.Alerts {
			check(a.Name, a.Expr())
		}
	}
}

// Each alert has a section of the runbooks, and the other way round.
func TestAlerts_HaveRunbooks(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(docs, "runbooks.md"))
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^### (\w+)$`).FindAllStringSubmatch(string(text), -1) {
		sections[m[1]] = true
	}
	for _, g := range dashboards.Groups() {
		for _, a := range g.Alerts {
			if !sections[a.Name] {
				t.Errorf("docs/runbooks.md has no section ### %s", a.Name)
			}
			delete(sections, a.Name)
			if !strings.HasSuffix(a.Runbook(), "#"+strings.ToLower(a.Name)) || a.Summary == "" || a.Description == "" {
				t.Errorf("%s: %+v", a.Name, a)
			}
		}
	}
	for name := range sections {
		t.Errorf("docs/runbooks.md: there is no alert %s", name)
	}
}
