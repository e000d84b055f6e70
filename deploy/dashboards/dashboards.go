// Package dashboards holds Grafana dashboards and Prometheus alerts for orb8's metrics, as data. The files in
// docs/dashboards are generated from it.
//
// Names of metrics are those of docs/metrics.md; a test checks it. Other tests parse the expressions with Prometheus'
// parser and the dashboards with Grafana's schema (e2e/stores/prometheus), and evaluate all on a Prometheus that has
// scraped orb8 (e2e/stores). No test renders a dashboard.
package dashboards

import (
	"regexp"
	"strings"
)

//go:generate go test . -run Files -update

// Dashboard is a page of Grafana.
type Dashboard struct {
	// Name is that of the file, and of the URL.
	Name, Title, Description string
	Variables                []Variable
	Rows                     []Row
}

// Variable is a selection at the top of a dashboard: a label's values. All are selected at first.
type Variable struct {
	// Name is that of the variable and of the label.
	Name, Title string
	// Metric has the values.
	Metric string
}

// Row is a part of a dashboard.
type Row struct {
	Title  string
	Panels []Panel
}

// Panel is a picture of one or more queries.
type Panel struct {
	// Type is Grafana's name of the plugin.
	Type, Title, Description string
	// Unit is Grafana's name of the values' unit.
	Unit    string
	Queries []Query
}

// Types of panels.
const (
	timeSeries = "timeseries"
	stat       = "stat"
	table      = "table"
)

// Query is an expression in PromQL, which may use the variables of the dashboard and $__rate_interval.
type Query struct {
	Expr string
	// Legend names a series, with its labels in {{ }}.
	Legend string
}

// All are the dashboards.
func All() []Dashboard {
	return []Dashboard{clusterDashboard(), workloadDashboard(), nodeDashboard(), dnsDashboard(), gpuDashboard(),
		orb8Dashboard()}
}

// Queries are the queries of all panels.
func (d *Dashboard) Queries() (all []Query) {
	for _, r := range d.Rows {
		for _, p := range r.Panels {
			all = append(all, p.Queries...)
		}
	}
	return all
}

var variable = regexp.MustCompile(`\$(\w+)`)

// Evaluable returns the expression with everything selected, and with a window in place of $__rate_interval.
func (q *Query) Evaluable(window string) string {
	return variable.ReplaceAllStringFunc(q.Expr, func(name string) string {
		if name == "$__rate_interval" {
			return window
		}
		return ".*"
	})
}

// Variables of dashboards.
var (
	namespaceVariable = Variable{"namespace", "Namespace", "orb8_network_sent_bytes_total"}
	workloadVariable  = Variable{"workload", "Workload", "orb8_network_sent_bytes_total"}
	nodeVariable      = Variable{"node", "Node", "orb8_agent_info"}
)

// graph is a panel with time series.
func graph(title, unit string, queries ...Query) Panel {
	return Panel{Type: timeSeries, Title: title, Unit: unit, Queries: queries}
}

// figure is a panel with the last value of an expression.
func figure(title, unit, expr string) Panel {
	return Panel{Type: stat, Title: title, Unit: unit, Queries: []Query{{Expr: expr}}}
}

// about adds a description.
func (p Panel) about(description string) Panel {
	p.Description = description
	return p
}

// by returns the labels of a legend.
func by(labels string) string {
	if labels == "" {
		return ""
	}
	var names []string
	for label := range strings.SplitSeq(labels, ", ") {
		names = append(names, "{{"+label+"}}")
	}
	return strings.Join(names, " ")
}

// sum is the beginning of a sum by labels, or of all.
func sum(labels string) string {
	if labels == "" {
		return "sum "
	}
	return "sum by (" + labels + ") "
}

// rate is a query for the growth of a counter a second, summed by labels.
func rate(metric, selector, labels string) Query {
	return Query{sum(labels) + "(rate(" + metric + "{" + selector + "}[$__rate_interval]))", by(labels)}
}

// top is rate for the ten largest.
func top(metric, selector, labels string) Query {
	q := rate(metric, selector, labels)
	return Query{"topk(10, " + q.Expr + ")", q.Legend}
}

// value is a query for a gauge, summed by labels.
func value(metric, selector, labels string) Query {
	return Query{sum(labels) + "(" + metric + "{" + selector + "})", by(labels)}
}

// topValue is value for the ten largest.
func topValue(metric, selector, labels string) Query {
	q := value(metric, selector, labels)
	return Query{"topk(10, " + q.Expr + ")", q.Legend}
}

// ratio divides the growth of two counters.
func ratio(part, whole, selector, labels string) Query {
	return Query{rate(part, selector, labels).Expr + " / " + rate(whole, selector, labels).Expr, by(labels)}
}

// named replaces the legend.
func (q Query) named(legend string) Query {
	q.Legend = legend
	return q
}

// quantile estimates a quantile of a histogram: of the native one, or where Prometheus has none of the classic one.
func quantile(q, metric, selector, labels string) Query {
	estimate := func(more, suffix string) string {
		return "histogram_quantile(" + q + ", " + sum(strings.Trim(labels+", "+more, ", ")) + "(rate(" + metric +
			suffix + "{" + selector + "}[$__rate_interval])))"
	}
	legend := "p" + strings.TrimPrefix(q, "0.")
	if labels != "" {
		legend += " " + by(labels)
	}
	return Query{estimate("", "") + " or " + estimate("le", "_bucket"), legend}
}

// topQuantile is quantile for the ten largest.
func topQuantile(q, metric, selector, labels string) Query {
	return Query{"topk(10, " + quantile(q, metric, selector, labels).Expr + ")", by(labels)}
}

// quantiles are the median and the 99th percentile.
func quantiles(metric, selector, labels string) []Query {
	return []Query{quantile("0.5", metric, selector, labels), quantile("0.99", metric, selector, labels)}
}
