package plugin

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"golang.org/x/term"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/plugin/advice"
	"github.com/orb8-dev/kubectl-orb8/plugin/live"
	"github.com/orb8-dev/kubectl-orb8/plugin/model"
	"github.com/orb8-dev/kubectl-orb8/plugin/remote"
	"github.com/orb8-dev/kubectl-orb8/plugin/render"
	"github.com/orb8-dev/kubectl-orb8/plugin/terminal"
	"github.com/orb8-dev/kubectl-orb8/plugin/tui"
)

// userTerminal is the terminal that the environment describes.
func userTerminal() terminal.Terminal { return terminal.FromEnvironment(os.Getenv) }

// hasScreen reports whether input and output are a terminal that can show a screen.
func hasScreen(s genericiooptions.IOStreams) bool {
	return isTerminal(s.In) && isTerminal(s.Out) && !userTerminal().Dumb
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// lean trades CPU time for memory: a screen is left open, and most of what it holds lives long.
func lean() { debug.SetGCPercent(30) }

// liveModel returns the model of a session. Agents have counted before it began, and tracers have not.
func liveModel(topic *model.Topic, s engine) *model.Model {
	_, agents := s.(*remote.Session)
	return model.New(topic, model.Options{Started: time.Now(), Past: agents})
}

// topScreen counts events in a model and shows its rows on a screen.
type topScreen struct {
	intake
	model  *model.Model
	advice *advice.Advice

	showing sync.WaitGroup
	err     error // of the screen; read when that is over
}

func newTopScreen(c *topConfig, s engine, in intake) *topScreen {
	t := &topScreen{intake: in, model: liveModel(c.topic, s), advice: advice.NewTop()}
	lean()
	notes, done := t.reporter.toScreen()
	o := c.screen(t.model)
	o.Namespace, o.Title, o.In, o.Out, o.Notes = c.viewed, c.query.String(), c.streams.In, c.streams.Out, notes
	t.showing.Go(func() {
		err := tui.Run(s.Running(), o)
		done()
		switch {
		case errors.Is(err, tui.ErrInterrupted):
			s.End(live.ErrInterrupted)
		default:
			t.err = err
			s.End(live.ErrReaderGone)
		}
	})
	return t
}

// screen returns the options of a screen with the rows of source.
func (c *rowConfig) screen(source tui.Source) tui.Options {
	return tui.Options{
		Source: source, Topic: c.topic, Group: c.group, Window: c.window, Sort: c.sort, Descending: c.descending,
		Terminal: userTerminal(),
		Export: func(format string, rows []*event.Event) (string, error) {
			return export(c.topic, format, rows, time.Now())
		},
	}
}

// export writes rows to a new file in the current directory.
func export(t *model.Topic, format string, rows []*event.Event, now time.Time) (name string, err error) {
	name = fmt.Sprintf("orb8-top-%s-%s.%s", t.Name, now.Format("20060102-150405"), format)
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	p, err := render.New(render.Options{Out: f, Output: format, Kinds: []*event.Kind{t.Row}})
	if err != nil {
		return "", err
	}
	for _, r := range rows {
		if err := p.Print(r); err != nil {
			return "", err
		}
	}
	return name, p.Close()
}

func (t *topScreen) Show(ev *event.Event) error {
	t.advice.Add(ev)
	if t.take(ev) {
		t.model.Add(ev, time.Now())
	}
	return nil
}

func (t *topScreen) Close() error {
	t.showing.Wait()
	t.end()
	t.reporter.lines(t.advice.Lines())
	return t.err
}
