package stores

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/deploy/dashboards"
)

// PrometheusServer is a running Prometheus.
type PrometheusServer struct{ url string }

// StartPrometheus builds Prometheus and runs it on this host until the test ends. root is the root of this
// repository, more are further arguments.
func StartPrometheus(t testing.TB, root, config string, more ...string) *PrometheusServer {
	t.Helper()
	path := filepath.Join(t.TempDir(), "prometheus.yml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	address := FreeAddress(t, loopback)
	Prometheus.Start(t, root, append(more, "--config.file="+path, "--storage.tsdb.path="+t.TempDir(),
		"--web.listen-address="+address, "--log.level=warn")...)
	p := &PrometheusServer{"http://" + address}
	p.Await(t, "its answer", func(ctx context.Context) bool {
		_, err := p.Query(ctx, "1")
		return err == nil
	})
	return p
}

// Sample is a value of a query.
type Sample struct {
	Labels map[string]string
	Value  float64
}

// Query evaluates an expression now.
func (p *PrometheusServer) Query(ctx context.Context, expr string) ([]Sample, error) {
	var result []struct {
		Metric    map[string]string
		Value     [2]any
		Histogram [2]any
	}
	raw, err := p.get(ctx, "query", url.Values{"query": {expr}})
	if err != nil {
		return nil, err
	}
	var data struct {
		ResultType string
		Result     json.RawMessage
	}
	if err := json.Unmarshal(raw, &data); err != nil {
		return nil, err
	}
	if data.ResultType == "scalar" {
		return nil, nil
	}
	if err := json.Unmarshal(data.Result, &result); err != nil {
		return nil, err
	}
	var all []Sample
	for _, r := range result {
		text, _ := r.Value[1].(string) // of histograms there is none
		value, err := strconv.ParseFloat(text, 64)
		if err != nil {
			value = math.NaN()
		}
		all = append(all, Sample{r.Metric, value})
	}
	return all, nil
}

// get asks the HTTP API.
func (p *PrometheusServer) get(ctx context.Context, path string, values url.Values) (json.RawMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+"/api/v1/"+path+"?"+values.Encode(), nil)
	if err != nil {
		return nil, err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	var a struct {
		Error string
		Data  json.RawMessage
	}
	if err := json.NewDecoder(answer.Body).Decode(&a); err != nil {
		return nil, fmt.Errorf("%s: %w", answer.Status, err)
	}
	if a.Error != "" || answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", answer.Status, a.Error)
	}
	return a.Data, nil
}

// Sum is the sum of all values of an expression.
func (p *PrometheusServer) Sum(t testing.TB, expr string) (sum float64) {
	t.Helper()
	samples, err := p.Query(t.Context(), expr)
	if err != nil {
		t.Fatalf("%s: %v", expr, err)
	}
	for _, s := range samples {
		sum += s.Value
	}
	return sum
}

// Await waits until done.
func (p *PrometheusServer) Await(t testing.TB, what string, done func(context.Context) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for !done(ctx) {
		select {
		case <-ctx.Done():
			t.Fatalf("Prometheus: no %s within 2 minutes", what)
		case <-tick.C:
		}
	}
}

// Exception is a reason why some metrics have no data.
type Exception struct {
	// Metrics matches names of metrics.
	Metrics *regexp.Regexp
	Reason  string
}

// CheckExpressions evaluates every expression of dashboards and alerts. Each must have data, except where an alert says
// why not, or an exception matches. window is the one of rates; it holds at least two scrapes. To be found, rare series
// must be older than a scrape.
func (p *PrometheusServer) CheckExpressions(t testing.TB, window string, exceptions []Exception) {
	t.Helper()
	evaluated, without := 0, 0
	check := func(where, expr, sparse string) {
		t.Helper()
		evaluated++
		samples, err := p.Query(t.Context(), expr)
		if err != nil {
			t.Errorf("%s: %s: %v", where, expr, err)
			return
		}
		for _, s := range samples {
			if !math.IsNaN(s.Value) {
				return
			}
		}
		for _, e := range exceptions {
			if e.Metrics.MatchString(expr) && sparse == "" {
				sparse = e.Reason
			}
		}
		if sparse == "" {
			t.Errorf("%s: no data for %s", where, expr)
			return
		}
		without++
		t.Logf("%s: no data: %s", where, sparse)
	}
	for _, d := range dashboards.All() {
		for _, v := range d.Variables {
			check(d.Name, fmt.Sprintf("count by (%s) (%s)", v.Name, v.Metric), "")
		}
		for _, q := range d.Queries() {
			check(d.Name, q.Evaluable(window), "")
		}
	}
	for _, g := range dashboards.Groups() {
		for _, a := range g.Alerts {
			check(a.Name, a.Value, a.Sparse)
			if _, err := p.Query(t.Context(), a.Expr()); err != nil {
				t.Errorf("%s: %v", a.Name, err)
			}
		}
	}
	t.Logf("%d expressions evaluated, %d of them without data, as expected", evaluated, without)
}

// CheckRules checks that Prometheus has evaluated its rules without an error.
func (p *PrometheusServer) CheckRules(t testing.TB) {
	t.Helper()
	var last string
	p.Await(t, "evaluated rules", func(ctx context.Context) bool {
		raw, err := p.get(ctx, "rules", nil)
		if err != nil {
			return false
		}
		var rules struct {
			Groups []struct {
				Rules []struct{ Name, Health, LastError string }
			}
		}
		if err := json.Unmarshal(raw, &rules); err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, g := range rules.Groups {
			for _, r := range g.Rules {
				n++
				if r.Health == "err" {
					t.Fatalf("%s: %s", r.Name, r.LastError)
				}
				if r.Health != "ok" {
					return false
				}
			}
		}
		last = fmt.Sprintf("%d rules evaluated", n)
		return n > 0
	})
	t.Log(last)
}
