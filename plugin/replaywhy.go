package plugin

import (
	"slices"
	"strings"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/filter"
	"github.com/orb8-dev/kubectl-orb8/history"
	"github.com/orb8-dev/kubectl-orb8/plugin/render"
)

// openWhy returns a view that judges all events of a recording as one window.
func (o *replayOptions) openWhy(s *history.Session, r *reporter) (*player, error) {
	of := subjectByName(o.why)
	if of == nil {
		return nil, usagef("--why %q: want %s%s", o.why, strings.Join(subjectNames(), " or "),
			didYouMean(o.why, subjectNames()))
	}
	switch {
	case !slices.ContainsFunc(of.needs, func(kind string) bool { return slices.Contains(s.Kinds, kind) }):
		return nil, usagef("--why %s is of %s events, the recording holds %s", of.name, strings.Join(of.sources, ", "),
			strings.Join(s.Kinds, ", "))
	case o.top != "":
		return nil, usagef("--why and --top: want one of them")
	case o.group != "" || o.window != 0 || o.limit != 0:
		return nil, usagef("--group, --window and --limit go with --top; --from and --to say what --why looks at")
	case o.output == "" && (o.sortBy != "" || o.noHeaders):
		return nil, usagef("--sort-by and --no-headers go with --output")
	}
	kinds := []*event.Kind{event.KindByName(of.rows)}
	rows, err := o.compile(kinds)
	if err != nil {
		return nil, err
	}
	c := verdictConfig{out: o.streams.Out, output: o.output, viewed: s.Namespace, rows: rows, targets: s.Targets}
	c.open = func() (render.Printer, error) { return o.outputOptions.open(kinds, s.Namespace) }
	if _, err := c.open(); err != nil {
		return nil, usage(err)
	}
	all, err := filter.Compile("", nil)
	if err != nil {
		return nil, err
	}
	for _, kind := range of.sources {
		if !slices.Contains(s.Kinds, kind) {
			r.Logf("note: the recording holds no %s events: what they tell is not known", kind)
		}
	}
	v := newVerdicts(intake{reporter: r, filter: all}, c, of, 0)
	v.watch.Observe(s.Kinds...)
	r.Logf("%s, recorded from %s on by kubectl orb8 %s", s.Targets, s.Started.Format(time.RFC3339), s.Version)
	p := newPlayer(&v)
	p.nothing = func() error { return v.nothing }
	return p, nil
}
