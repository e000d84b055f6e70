package metrics

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"
)

//go:generate go test . -run Docs -update

// introduction is the text before the tables; ~ stands for the backquote.
var introduction = strings.ReplaceAll(`# Metrics

<!-- Written by ~go test ./agent/metrics -run Docs -update~ from agent/metrics/catalog.go; do not edit. -->

The agents of persistent mode serve these metrics on port 9091, path ~/metrics~, by HTTPS.
[operations.md](operations.md#prometheus) explains how Prometheus reaches them. A metric is there only if the agent
records its kind of event (~kinds~ in the agent's configuration) and the value is known: unknown is absent, not 0.

An agent counts at the sockets of its own node's pods. What a socket has sent counts as sent by its pod, what it has
received as received by its pod. A byte between two observed pods is counted once as sent and once as received, so that
sums over all nodes are those over all pods.

## Labels

Metrics of workloads have the labels ~namespace~ and ~workload~, which is that of events: ~deploy/web~, ~job/train~, or
~pod/NAME~ where nothing owns the pod. With ~metrics.pods~ in the configuration, ~pod~ is added.

~peer~ of flows is the kind of the other end's address: ~private~, ~public~, ~loopback~ or ~multicast~. With
~metrics.peerAddresses~, it is the address itself for the ~metrics.topPeers~ (20) peers of each workload with the most
traffic, and ~other~ for the rest.

~metrics.maxSeries~ (10,000) bounds the series of an agent, and one family of metrics gets at most half of them. Where
there is no room, those with the most traffic get series of their own, and the rest is counted with ~workload="other"~.
~orb8_metrics_folded_total~ counts it. Series end a minute after their workload's last pod on the node.

Histograms have native buckets (schema 2) for scrapes by protobuf, and classic ones for all.
`, "~", "`")

// Markdown returns the reference of all metrics.
func Markdown() []byte {
	var b bytes.Buffer
	b.WriteString(introduction)
	for i := range families {
		f := &families[i]
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n", f.name, wrap(f.doc))
		if len(f.labels) > 0 {
			b.WriteString(wrap("Labels: `"+strings.Join(f.labels, "`, `")+"`.") + "\n\n")
		}
		b.WriteString("| metric | type | meaning |\n|---|---|---|\n")
		for _, m := range f.metrics {
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", m.name, m.kind, strings.ReplaceAll(m.help, "|", "\\|"))
		}
	}
	return b.Bytes()
}

// wrap breaks a paragraph into lines of at most 120 columns.
func wrap(paragraph string) string {
	var b strings.Builder
	column := 0
	for word := range strings.FieldsSeq(paragraph) {
		width := utf8.RuneCountInString(word)
		switch {
		case column == 0:
		case column+1+width > 120:
			b.WriteByte('\n')
			column = 0
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += width
	}
	return b.String()
}
