package plugin

import (
	"context"
	"io"
	"sync"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/plugin/advice"
	"github.com/orb8-dev/kubectl-orb8/plugin/graph"
	"github.com/orb8-dev/kubectl-orb8/plugin/live"
	"github.com/orb8-dev/kubectl-orb8/plugin/model"
	"github.com/orb8-dev/kubectl-orb8/plugin/render"
)

func runTop(parent context.Context, c *topConfig) error {
	if c.question != nil {
		return runTopSince(parent, c)
	}
	return runSession(parent, c.traceConfig, func(s engine, in intake) live.Consumer {
		if c.count == 0 {
			return newTopScreen(c, s, in)
		}
		return newTopTables(c, s, in)
	})
}

// topTables counts events, and prints what they came to: a table for each window.
type topTables struct {
	intake
	config *topConfig
	model  *model.Model
	advice *advice.Advice

	printing sync.WaitGroup
	err      error // of printing; read when that is over
}

func newTopTables(c *topConfig, s engine, in intake) *topTables {
	t := &topTables{
		intake: in,
		config: c,
		model:  liveModel(c.topic, s),
		advice: advice.NewTop(),
	}
	t.printing.Go(func() {
		t.err = t.printAll(s)
		s.End(live.ErrDone)
	})
	return t
}

func (t *topTables) Show(ev *event.Event) error {
	t.advice.Add(ev)
	if t.take(ev) {
		t.model.Add(ev, time.Now())
	}
	return nil
}

func (t *topTables) Close() error {
	t.printing.Wait()
	t.end()
	t.reporter.lines(t.advice.Lines())
	return t.err
}

// printAll prints the tables as their windows end; where the session ends before, one of what there is.
func (t *topTables) printAll(s engine) error {
	select {
	case <-s.Settled():
	case <-s.Running().Done():
		return nil
	}
	window := time.NewTicker(t.config.window)
	defer window.Stop()
	for n := range t.config.count {
		began := time.Now()
		t.model.Mark(began)
		select {
		case <-window.C:
		case <-s.Running().Done():
			if time.Since(began) < time.Second {
				return nil
			}
		}
		if err := t.print(n, time.Now()); err != nil || s.Running().Err() != nil {
			return err
		}
	}
	return nil
}

// print prints the table with a number.
func (t *topTables) print(n int, now time.Time) error {
	if t.config.graph != "" {
		return draw(t.config, t.model, now, t.reporter)
	}
	p, err := t.config.open()
	if err != nil {
		return err
	}
	if people := t.config.output; n > 0 && (people == "" || people == "table" || people == "wide") {
		if _, err := io.WriteString(t.config.streams.Out, "\n"); err != nil {
			return err
		}
	}
	q := t.config.asked()
	q.Window = 0 // since Mark
	return printRows(p, t.model.Rows(q, now))
}

// printRows prints a table, and what is left of it.
func printRows(p render.Printer, rows model.Table) error {
	for _, r := range append(rows.Rows, rows.Others) {
		if r.Event == nil {
			continue
		}
		if err := p.Print(r.Event); err != nil {
			return err
		}
	}
	return p.Close()
}

// draw prints the graph of clients and servers.
func draw(c *topConfig, m *model.Model, now time.Time, r *reporter) error {
	g, left := graph.Calls(m.Edges(0, now), c.viewed)
	if left > 0 {
		r.Logf("note: %d more calls are not in the picture", left)
	}
	write := map[string]func(io.Writer) error{"dot": g.DOT, "mermaid": g.Mermaid, "svg": g.SVG}
	return write[c.graph](c.streams.Out)
}
