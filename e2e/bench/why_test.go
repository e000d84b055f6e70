//go:build bench

package bench

import (
	"fmt"
	"testing"
	"time"
)

// TestWhy_Cost measures what a session of why, which watches all that verdicts need, costs pods that do nothing but
// send requests to each other.
func TestWhy_Cost(t *testing.T) {
	e := need(t)
	ns, client, server := pairOn(t, e, e.Nodes[0], e.Nodes[0])
	to := at(server, t)
	ratios := compareWith(t, e, 1, func() float64 {
		var runs []float64
		for range 3 {
			const length = time.Second
			p := client.Exec(t, "load", "-to", to, "-conns", "4", "-for", length.String())[0].Performance
			runs = append(runs, float64(p.Requests)/length.Seconds())
		}
		return median(runs)
	}, "why", "-n", ns, "--window", "5m", "-o", "json")
	low, high := interval(ratios)
	row(t, fmt.Sprintf("requests per second with a session of why relative to without, one tracer per kernel (median "+
		"of %d pairs)", pairs), fmt.Sprintf("%.1f %% (%.1f–%.1f %%)", 100*median(ratios), 100*low, 100*high),
		"≥ 97 %")
}

// TestWhy_FirstWords measures how long after the window why answers. The window begins when all nodes stream.
func TestWhy_FirstWords(t *testing.T) {
	e := need(t)
	ns, _, _ := pair(t, e)
	const window = 5 * time.Second
	var starts []float64
	beyond := medianOf(func() time.Duration {
		began := time.Now()
		tr := e.Trace(t, "why", "client", "-n", ns, "--window", window.String())
		tr.AwaitStreaming(t, 1)
		streaming := time.Now()
		tr.AwaitLines(t, 1)
		took := time.Since(streaming)
		starts = append(starts, streaming.Sub(began).Seconds())
		tr.Wait(t)
		return took - window
	})
	row(t, "first words of `why POD` after its window (median of 10)", fmt.Sprintf("%.2f s", beyond), "≤ 2 s")
	row(t, "from its start to the begin of the window", fmt.Sprintf("%.2f s", median(starts)), "")
}
