package plugin

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/history"
	"github.com/orb8-dev/kubectl-orb8/plugin/live"
	"github.com/orb8-dev/kubectl-orb8/plugin/model"
	"github.com/orb8-dev/kubectl-orb8/plugin/render"
	"github.com/orb8-dev/kubectl-orb8/plugin/tui"
)

func topicNames() (names []string) {
	for _, t := range model.Topics() {
		names = append(names, t.Name)
	}
	return names
}

// replayTop counts the events of a recording: for a screen that goes with them, or for a table at the end.
type replayTop struct {
	intake
	model *model.Model
	rows  *rowConfig
	// newest is the time of the newest event, ns: the clock of what is shown.
	newest atomic.Int64

	printer render.Printer // nil: there is a screen
	showing sync.WaitGroup
	err     error
}

// openTop makes what counts a session's events.
func (o *replayOptions) openTop(
	ctx context.Context, end context.CancelCauseFunc, s *history.Session, in intake,
) (*player, error) {
	t := model.TopicByName(o.top)
	if t == nil {
		return nil, usagef("--top %q: want one of %s%s", o.top, strings.Join(topicNames(), ", "),
			didYouMean(o.top, topicNames()))
	}
	if !slices.ContainsFunc(t.Sources, func(k string) bool { return slices.Contains(s.Kinds, k) }) {
		return nil, usagef("--top %s is of %s events, the recording holds %s", t.Name, strings.Join(t.Sources, " and "),
			strings.Join(s.Kinds, ", "))
	}
	rows, err := o.resolve(t, o.sortBy)
	if err != nil {
		return nil, err
	}
	if rows.window = o.window; !slices.Contains(model.Windows(), rows.window) {
		return nil, usagef("--window %v: want 10s, 1m, 5m, or 0 for all", o.window)
	}
	v := &replayTop{intake: in, model: model.New(t, model.Options{Started: s.Started}), rows: rows}
	v.newest.Store(s.Started.UnixNano())
	if !hasScreen(o.streams) || o.output != "" {
		own := o.outputOptions
		own.sortBy, own.columns = "", rows.group.Columns
		if v.printer, err = own.open([]*event.Kind{t.Row}, s.Namespace); err != nil {
			return nil, usage(err)
		}
		return newPlayer(v), nil
	}
	lean()
	screen := rows.screen(v.model)
	screen.Namespace, screen.Title, screen.In, screen.Out = s.Namespace,
		s.Targets+", recorded "+s.Started.Format(time.DateTime), o.streams.In, o.streams.Out
	notes, done := in.reporter.toScreen()
	screen.Notes = notes
	screen.Now = func() time.Time { return time.Unix(0, v.newest.Load()) }
	v.showing.Go(func() {
		v.err = tui.Run(ctx, screen)
		done()
		if errors.Is(v.err, tui.ErrInterrupted) {
			v.err = nil
			end(live.ErrInterrupted)
		}
		end(live.ErrDone)
	})
	return newPlayer(v), nil
}

func (v *replayTop) Show(ev *event.Event) error {
	if !v.take(ev) {
		return nil
	}
	at := int64(ev.GetTime())
	if at == 0 {
		at = v.newest.Load()
	}
	v.newest.Store(max(at, v.newest.Load()))
	v.model.Add(ev, time.Unix(0, at))
	return nil
}

// Close prints the table, or waits for the user to leave the screen.
func (v *replayTop) Close() error {
	v.showing.Wait()
	v.end()
	if v.printer == nil {
		return v.err
	}
	return printRows(v.printer, v.model.Rows(v.rows.asked(), v.now()))
}

// now is just after the newest event.
func (v *replayTop) now() time.Time { return time.Unix(0, v.newest.Load()).Add(time.Nanosecond) }
