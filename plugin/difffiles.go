package plugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/history"
	"github.com/orb8-dev/kubectl-orb8/internal/plural"
	"github.com/orb8-dev/kubectl-orb8/plugin/advice"
	"github.com/orb8-dev/kubectl-orb8/plugin/diff"
	"github.com/orb8-dev/kubectl-orb8/plugin/live"
)

// diffFile is one of two recordings that are compared.
type diffFile struct {
	name, path string
	file       *os.File // nil: standard input
	reader     *history.Reader
	profile    *diff.Profile
	lost       bool
	// cut is the error at which reading ended early.
	cut error
}

// compareFiles prints the differences between two recordings.
func (o *diffOptions) compareFiles(parent context.Context, before, after string) error {
	ctx, end := context.WithCancelCause(parent)
	defer end(live.ErrDone)
	defer watchInterrupts(parent, func() { end(live.ErrInterrupted) })()
	r := newReporter(o.streams.ErrOut)
	files := [2]*diffFile{{name: "before", path: before}, {name: "after", path: after}}
	if before == "-" && after == "-" {
		return usagef("diff: only one of the recordings can be standard input")
	}
	for _, f := range files {
		if err := f.open(o.streams.In, r); err != nil {
			return err
		}
		defer f.close()
	}
	if isSameFile(files[0], files[1]) {
		r.Logf("note: both are the same file")
	}
	kinds, notes := diff.CommonKinds(files[0].recording(), files[1].recording())
	if len(kinds) == 0 {
		return fmt.Errorf("diff: no kind of events can be compared: %s holds %s, %s holds %s", before,
			strings.Join(files[0].reader.Session.Kinds, ", "), after, strings.Join(files[1].reader.Session.Kinds, ", "))
	}
	for _, f := range files {
		if err := f.read(ctx, kinds, r); err != nil {
			return err
		}
	}
	for _, note := range notes {
		r.Logf("note: %s", note)
	}
	c := diffPrinter{diffOptions: o, reporter: r, viewed: commonNamespace(files[0], files[1]),
		before: files[0].profile, after: files[1].profile}
	if err := c.print(); err != nil {
		return err
	}
	for _, f := range files {
		if f.cut != nil {
			return fmt.Errorf("diff %s: %w; what stands before is compared", f.path, f.cut)
		}
	}
	if o.failOnLoss && (files[0].lost || files[1].lost) {
		return &exitError{ExitLost, errLost}
	}
	return nil
}

// open reads the metadata of a recording.
func (f *diffFile) open(stdin io.Reader, r *reporter) (err error) {
	in := stdin
	if f.path != "-" {
		if f.file, err = os.Open(f.path); err != nil {
			return fmt.Errorf("diff: %w", err)
		}
		in = f.file
	}
	if f.reader, err = history.NewReader(in); err != nil {
		f.close()
		return fmt.Errorf("diff %s: %w", f.path, err)
	}
	f.reader.Damaged = func(e *history.DamageError) { r.Logf("%s: %v: what it holds is passed over", f.path, e) }
	return nil
}

func (f *diffFile) close() {
	if f.reader != nil {
		f.reader.Close()
	}
	if f.file != nil {
		f.file.Close()
	}
}

func (f *diffFile) recording() *diff.Recording {
	s := &f.reader.Session
	return &diff.Recording{Targets: s.Targets, Namespace: s.Namespace, Kinds: s.Kinds}
}

// read takes all events of a recording, and reports what it is.
func (f *diffFile) read(ctx context.Context, kinds []string, r *reporter) error {
	f.profile = diff.NewProfile(kinds, diff.Period{})
	view := &profileView{profile: f.profile}
	p := newPlayer(view)
	var readErr error
	for ctx.Err() == nil {
		ev, err := f.reader.NextReusing()
		if err != nil {
			if err != io.EOF {
				readErr = err
			}
			break
		}
		p.note(ev)
		view.add(ev)
	}
	if errors.Is(context.Cause(ctx), live.ErrInterrupted) {
		return &exitError{ExitInterrupted, nil}
	}
	n, reason := f.reader.Refused()
	p.noteRefused(n)
	if n > 0 {
		r.Logf("%s: %s refused (first: %v)", f.path, plural.Count(n, "event"), reason)
	}
	if f.profile.Length() == 0 {
		if readErr != nil {
			return fmt.Errorf("diff %s: %w", f.path, readErr)
		}
		return fmt.Errorf("diff %s: it holds no events", f.path)
	}
	tally := &advice.Tally{Events: view.events, Traced: len(p.nodes), Nodes: len(p.nodes),
		Took: f.profile.Length(), Losses: p.lost.All(), Gaps: p.gaps.until(p.newest)}
	f.lost = tally.Lost()
	r.Logf("%s: %s, from %s on: %s", f.name, f.reader.Session.Targets,
		f.reader.Session.Started.Format(time.RFC3339), tally)
	switch {
	case readErr == io.ErrUnexpectedEOF:
		r.Logf("%s has no end: its recorder was killed, or its disk was full; all that it had written is compared",
			f.path)
	case readErr != nil:
		f.cut = readErr
	}
	return nil
}

// isSameFile reports whether both paths lead to one file.
func isSameFile(a, b *diffFile) bool {
	if a.file == nil || b.file == nil {
		return false
	}
	x, errX := a.file.Stat()
	y, errY := b.file.Stat()
	return errX == nil && errY == nil && os.SameFile(x, y)
}

// commonNamespace is the namespace that both recordings are viewed in; empty: there is none.
func commonNamespace(a, b *diffFile) string {
	if n := a.reader.Session.Namespace; n == b.reader.Session.Namespace {
		return n
	}
	return ""
}

// profileView adds events to a profile.
type profileView struct {
	profile *diff.Profile
	events  int
}

func (v *profileView) add(ev *event.Event) {
	v.profile.Add(ev)
	if ev.GetNodeStatus() == nil && ev.GetLost() == nil {
		v.events++
	}
}

// Show adds one event.
func (v *profileView) Show(ev *event.Event) error {
	v.add(ev)
	return nil
}

// Close does nothing: the profile is complete.
func (v *profileView) Close() error { return nil }

// Shown returns the number of events.
func (v *profileView) Shown() int { return v.events }
