// Package tui is the screen of kubectl orb8 top: rows and columns in, pictures out. It knows no Kubernetes and no
// streams: who gives it rows may be a running session or a recording.
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
)

// Source answers what the screen asks. Its methods may be called from any goroutine. *model.Model is one.
type Source interface {
	Rows(model.Query, time.Time) model.Table
	Detail(model.Query, time.Time) model.Detail
	Edges(time.Duration, time.Time) []model.Edge
	Status(time.Time) model.Status
}

// Options say what the screen shows.
type Options struct {
	Source Source
	Topic  *model.Topic
	// Group, Window, Sort and Descending are what it begins with.
	Group      *model.Group
	Window     time.Duration
	Sort       *event.Column
	Descending bool
	// Namespace is the one whose names are shown without it; Title is what is looked at: `pods in namespace "shop"`.
	Namespace, Title string
	// Now is the time that rows are asked for as of; nil: time.Now.
	Now func() time.Time
	// Every is how often they are asked for; 0: each second.
	Every time.Duration
	// Export writes rows in a format, "json" or "csv", and returns the name of the file.
	Export func(format string, rows []*event.Event) (string, error)
	// Notes are what a trace would print to stderr.
	Notes <-chan string

	In  io.Reader
	Out io.Writer
	// Env is the environment that tells what the terminal can do; nil: that of the process.
	Env []string
}

// ErrInterrupted is what Run returns where the user ended it with ^C.
var ErrInterrupted = errors.New("interrupted")

// Run shows the screen until the user leaves it or ctx ends; then the terminal is as it was.
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
