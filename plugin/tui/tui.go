// Package tui is the screen of kubectl orb8 top. It knows neither Kubernetes nor streams: its Source may be a running
// session or a recording.
package tui

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/plugin/model"
	"github.com/orb8-dev/kubectl-orb8/plugin/terminal"
)

// Source supplies the rows of the screen; *model.Model is one. Its methods are called from any goroutine.
type Source interface {
	Rows(model.Query, time.Time) model.Table
	Detail(model.Query, time.Time) model.Detail
	Edges(time.Duration, time.Time) []model.Edge
	Status(time.Time) model.Status
}

// Options select the screen's rows and terminal.
type Options struct {
	Source Source
	Topic  *model.Topic
	// Group, Window, Sort and Descending are initial values, which keys change.
	Group      *model.Group
	Window     time.Duration
	Sort       *event.Column
	Descending bool
	// Namespace is the namespace whose names are shown without it. Title names the targets: `pods in namespace "shop"`.
	Namespace, Title string
	// Now is the time of a query; nil: time.Now.
	Now func() time.Time
	// Every is the refresh interval; 0: a second.
	Every time.Duration
	// Export writes rows in a format, "json" or "csv", and returns the name of the file.
	Export func(format string, rows []*event.Event) (string, error)
	// Notes are the lines that trace prints to stderr.
	Notes <-chan string

	// Terminal is what the terminal can show.
	Terminal terminal.Terminal

	In  io.Reader
	Out io.Writer
	// Env is the environment with the terminal's capabilities (TERM, COLORTERM, NO_COLOR); nil: the process's.
	Env []string
}

// ErrInterrupted is the error of Run after ^C.
var ErrInterrupted = errors.New("interrupted")

// Run shows the screen until the user quits or ctx ends, and then restores the terminal. Its error is ErrInterrupted or
// the terminal's.
func Run(ctx context.Context, o Options) error {
	options := []tea.ProgramOption{
		tea.WithContext(ctx), tea.WithInput(o.In), tea.WithOutput(o.Out), tea.WithoutSignalHandler(),
	}
	if o.Env != nil {
		options = append(options, tea.WithEnvironment(o.Env))
	}
	s := newScreen(o)
	last, err := tea.NewProgram(s, options...).Run()
	switch {
	case ctx.Err() != nil:
		return nil
	case err != nil:
		return fmt.Errorf("screen: %w", err)
	}
	if last.(*screen).interrupted {
		return ErrInterrupted
	}
	return nil
}
