package plugin

import (
	"errors"
	"fmt"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/safe"
	"github.com/orb8-dev/kubectl-orb8/filter"
	"github.com/orb8-dev/kubectl-orb8/internal/plural"
	"github.com/orb8-dev/kubectl-orb8/plugin/diff"
	"github.com/orb8-dev/kubectl-orb8/plugin/render"
)

// diffPrinter prints the differences between two profiles.
type diffPrinter struct {
	*diffOptions
	reporter      *reporter
	viewed        string
	before, after *diff.Profile

	kinds   []*event.Kind
	filter  *filter.Filter
	printer render.Printer
	owner   string // whose differences the printer prints
	shown   int
	owners  map[string]bool
}

// print compares and prints. It returns an error of the output.
func (c *diffPrinter) print() (err error) {
	c.kinds, c.owners = []*event.Kind{event.KindByName("difference")}, map[string]bool{}
	if c.filter, err = c.compile(c.kinds); err != nil {
		return err
	}
	if c.output != "" {
		if c.printer, err = c.open(c.kinds, c.viewed); err != nil {
			return usage(err)
		}
	}
	if note := diff.ClusterNote(c.before, c.after); note != "" {
		c.reporter.Logf("note: %s", note)
	}
	leftOut, err := diff.Compare(c.before, c.after, c.all, c.row)
	if c.printer != nil && err == nil {
		err = c.printer.Close()
	}
	switch {
	case errors.Is(err, render.ErrClosed): // nobody reads any more
		return nil
	case err != nil:
		return fmt.Errorf("write output: %w", err)
	}
	for _, line := range append(c.before.Notes("before"), c.after.Notes("after")...) {
		c.reporter.Logf("note: %s", line)
	}
	c.reporter.Logf("%s", c.summary(leftOut))
	return nil
}

// row prints one difference that the filter matches. Without --output, a line names the workload of those that follow.
func (c *diffPrinter) row(ev *event.Event) error {
	match, err := c.filter.Match(ev)
	if err != nil {
		c.reporter.LogOncef("filter: %v: such differences are not shown", err)
	}
	if !match {
		return nil
	}
	c.shown++
	owner := string(event.AppendOwner(nil, ev, &event.View{Namespace: c.viewed}))
	c.owners[owner] = true
	if c.output == "" && (c.printer == nil || owner != c.owner) {
		if err := c.next(owner); err != nil {
			return err
		}
	}
	return c.printer.Print(ev)
}

// diffColumns are those of the default output, below the workload.
var diffColumns = []string{"change", "name", "measure", "before", "after", "deviation"}

// next begins the table of a workload.
func (c *diffPrinter) next(owner string) (err error) {
	var head []byte
	if c.printer != nil {
		if err := c.printer.Close(); err != nil {
			return err
		}
		head = append(head, '\n')
	}
	c.owner = owner
	head = append(safe.AppendText(head, owner), '\n')
	if _, err = userTerminal().Writer(c.streams.Out).Write(head); err != nil {
		return err
	}
	own := c.outputOptions
	own.columns = diffColumns
	c.printer, err = own.open(c.kinds, c.viewed)
	return err
}

// summary is the closing line.
func (c *diffPrinter) summary(leftOut int) string {
	line := "no difference"
	if c.shown > 0 {
		line = plural.Count(c.shown, "difference") + " of " + plural.Count(len(c.owners), "workload")
	}
	if leftOut > 0 {
		line += fmt.Sprintf("; %d within the variation of the recordings left out: --all shows them", leftOut)
	}
	return line
}
