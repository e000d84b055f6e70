package plugin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/orb8-dev/kubectl-orb8/collect/losses"
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/history"
	"github.com/orb8-dev/kubectl-orb8/internal/plural"
	"github.com/orb8-dev/kubectl-orb8/plugin/advice"
	"github.com/orb8-dev/kubectl-orb8/plugin/live"
	"github.com/orb8-dev/kubectl-orb8/plugin/render"
)

// replayOptions are the flags of replay, as the user gave them.
type replayOptions struct {
	outputOptions
	rowOptions
	speed    float64
	from, to string
	top, why string
}

func newReplayCommand(streams genericiooptions.IOStreams) *cobra.Command {
	o := &replayOptions{outputOptions: outputOptions{streams: streams}}
	cmd := &cobra.Command{
		Use: "replay FILE", Short: "Show the events of a recording of trace --record, without a cluster",
		Long: `Show the events of a recording as trace shows them, without a cluster. Filters, columns and formats may
differ from those of the trace. A truncated recording is shown up to its end. FILE - is standard input.`,
		Example: `  # Record events, and look at them later or elsewhere
  kubectl orb8 trace network,dns,tcp -n demo --duration 5m --record incident.orb8
  kubectl orb8 replay incident.orb8 --filter 'kind == "tcp" && outcome == "reset"'

  # Ten seconds from the second minute on, at the original speed
  kubectl orb8 replay incident.orb8 --from 1m --to 1m10s --speed 1

  # As JSON
  kubectl orb8 replay incident.orb8 -o json | jq -r .kind | sort | uniq -c

  # On the screen of top, ten times as fast
  kubectl orb8 replay incident.orb8 --top network --speed 10

  # What pods' GPUs waited for in the second minute
  kubectl orb8 replay train.orb8 --why gpu --from 1m --to 2m`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("replay: want one file, got %d (see %s --help)", len(args), cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd.Context(), args[0]) },
	}
	o.outputOptions.bind(cmd.Flags())
	o.rowOptions.bind(cmd.Flags(), "With --top: count together by",
		"With --top: how far back rates and amounts reach (0: all)")
	cmd.Flags().StringVar(&o.top, "top", "",
		"Show what happened most instead of each event, as top does: "+strings.Join(topicNames(), ", "))
	cmd.Flags().
		StringVar(&o.why, "why", "", "Say what pods waited for instead, as why does: "+strings.Join(subjectNames(),
			", "))
	cmd.Flags().Float64Var(&o.speed, "speed", 0,
		"How fast to show it: 1 as it happened, 10 ten times as fast, 0 as fast as it goes")
	cmd.Flags().StringVar(&o.from, "from", "",
		"Begin at this time: since the recording's beginning (90s, 5m), or RFC 3339")
	cmd.Flags().StringVar(&o.to, "to", "", "End at this time")
	return cmd
}

func (o *replayOptions) run(parent context.Context, path string) error {
	ctx, end := context.WithCancelCause(parent)
	defer end(live.ErrDone)
	defer watchInterrupts(parent, func() { end(live.ErrInterrupted) })()
	stopReader := watchReader(o.streams.Out, func() { end(live.ErrDone) })
	defer stopReader()

	if o.speed < 0 || o.speed != o.speed {
		return usagef("--speed %v: want 0 or more", o.speed)
	}
	in := o.streams.In
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return fmt.Errorf("replay: %w", err)
		}
		defer f.Close()
		in = f
	}
	reader, err := history.NewReader(in)
	if err != nil {
		return fmt.Errorf("replay %s: %w", path, err)
	}
	defer reader.Close()
	r := newReporter(o.streams.ErrOut)
	reader.Damaged = func(e *history.DamageError) { r.Logf("%s: %v: what it holds is passed over", path, e) }
	p, err := o.open(ctx, end, &reader.Session, r)
	if err != nil {
		return err
	}
	if err := o.seek(reader); err != nil {
		return err
	}
	readErr, outputErr := p.play(ctx, reader, o.speed)
	n, reason := reader.Refused()
	p.noteRefused(n)
	// A printer returns its error again when it is closed.
	outputErr = cmp.Or(outputErr, p.view.Close())
	if n > 0 {
		r.Logf("%s: %s refused (first: %v)", path, plural.Count(n, "event"), reason)
	}
	tally := &advice.Tally{
		Events: p.view.Shown(), Traced: len(p.nodes), Nodes: len(p.nodes), Took: time.Duration(p.newest - p.oldest),
		Losses: p.lost.All(), Gaps: p.gaps.until(p.newest),
	}
	r.Logf("%s", tally)

	switch {
	case outputErr != nil && !errors.Is(outputErr, render.ErrClosed):
		return fmt.Errorf("write output: %w", outputErr)
	case errors.Is(context.Cause(ctx), live.ErrInterrupted):
		return &exitError{ExitInterrupted, nil}
	case outputErr != nil || ctx.Err() != nil: // nobody reads any more
		return nil
	case readErr == io.ErrUnexpectedEOF:
		r.Logf("%s has no end: its recorder was killed, or its disk was full; all that it had written is shown", path)
	case readErr != nil:
		return fmt.Errorf("replay %s: %w; what stands before is shown", path, readErr)
	}
	if p.nothing != nil && p.nothing() != nil {
		return p.nothing()
	}
	if o.failOnLoss && tally.Lost() {
		return &exitError{ExitLost, errLost}
	}
	return nil
}

// open makes what shows a session's events.
func (o *replayOptions) open(
	ctx context.Context, end context.CancelCauseFunc, s *history.Session, r *reporter,
) (*player, error) {
	var kinds []*event.Kind
	for _, name := range s.Kinds {
		if k := event.KindByName(name); k != nil {
			kinds = append(kinds, k)
		} else {
			r.Logf("note: this kubectl orb8 does not know events of the kind %q: those are not shown", name)
		}
	}
	if len(kinds) == 0 {
		return nil, fmt.Errorf("the recording, of kubectl orb8 %s, holds no kind of event that this one knows",
			s.Version)
	}
	if o.why != "" {
		return o.openWhy(s, r)
	}
	f, err := o.compile(kinds)
	if err != nil {
		return nil, err
	}
	if o.top != "" {
		return o.openTop(ctx, end, s, intake{reporter: r, filter: f})
	}
	if o.group != "" || o.window != 0 || o.limit != 0 {
		return nil, usagef("--group, --window and --limit go with --top")
	}
	printer, err := o.outputOptions.open(kinds, s.Namespace)
	if err != nil {
		return nil, usage(err)
	}
	r.Logf("%s, recorded from %s on by kubectl orb8 %s", s.Targets, s.Started.Format(time.RFC3339), s.Version)
	return newPlayer(newView(intake{reporter: r, filter: f}, printer, o.showStatus())), nil
}

// seek limits the reader to the time from --from to --to.
func (o *replayOptions) seek(reader *history.Reader) error {
	from, err := parseTime("--from", o.from, reader.Session.Started)
	if err != nil {
		return err
	}
	to, err := parseTime("--to", o.to, reader.Session.Started)
	if err != nil {
		return err
	}
	if to != 0 && to <= from {
		return usagef("--to %s is not after --from %s", o.to, o.from)
	}
	reader.Only(from, to)
	return nil
}

// parseTime reads a time, ns since the Unix epoch; 0 for none.
func parseTime(flag, text string, started time.Time) (uint64, error) {
	if text == "" {
		return 0, nil
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		d, err := time.ParseDuration(text)
		if err != nil {
			return 0, usagef("%s %q: want a time since the recording's beginning (90s, 5m) or RFC 3339 (%s)", flag,
				text,
				started.Format(time.RFC3339))
		}
		t = started.Add(d)
	}
	return uint64(max(t.UnixNano(), 1)), nil
}

// player shows the events of a recording.
type player struct {
	view  live.Consumer
	nodes map[string]bool
	lost  losses.Tally
	gaps  replayGaps
	// nothing is the error of a view without any result; nil: none.
	nothing func() error
	// oldest and newest are the times of the events that were shown, ns since the Unix epoch.
	oldest, newest uint64
}

func newPlayer(v live.Consumer) *player {
	return &player{view: v, nodes: map[string]bool{}, gaps: replayGaps{}}
}

// play shows the events of a reader until its end, which is no error, or until ctx ends.
func (p *player) play(ctx context.Context, reader *history.Reader, speed float64) (readErr, outputErr error) {
	began := time.Now()
	wait := time.NewTimer(0)
	defer wait.Stop()
	for ctx.Err() == nil {
		ev := new(event.Event) // printers that sort keep it
		if err := reader.Next(ev); err != nil {
			if err == io.EOF {
				err = nil
			}
			return err, nil
		}
		p.note(ev)
		if speed > 0 {
			if late := time.Duration(float64(p.newest-p.oldest) / speed); late > time.Since(began) {
				wait.Reset(late - time.Since(began))
				select {
				case <-ctx.Done():
					return nil, nil
				case <-wait.C:
				}
			}
		}
		if err := p.view.Show(ev); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

func (p *player) note(ev *event.Event) {
	if t := ev.GetTime(); t != 0 {
		if p.oldest == 0 {
			p.oldest, p.newest = t, t
		}
		p.newest = max(p.newest, t)
	}
	if ev.GetNode() != "" {
		p.nodes[ev.GetNode()] = true
	}
	p.gaps.note(ev)
	if ev.GetLost() != nil {
		p.lost.Add(losses.Of(ev))
	}
}

// noteRefused counts the events that the reader refused as lost: no node can be trusted to be theirs.
func (p *player) noteRefused(n uint64) {
	if n > 0 {
		p.lost.Add(losses.Loss{Node: "recording", Stage: event.LossStage_LOSS_STAGE_DECODE, Count: n})
	}
}
