package plugin

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/filter"
	"github.com/orb8-dev/kubectl-orb8/plugin/live"
	"github.com/orb8-dev/kubectl-orb8/plugin/why"
)

const (
	// whyWindow is how long pods are watched; minWhyWindow is what a verdict needs at the least.
	whyWindow, minWhyWindow = 30 * time.Second, 5 * time.Second
	maxWhyWindow            = time.Hour
)

// whySources are the event kinds that verdicts use.
var whySources = []string{"gpu", "resources", "flow"}

// whyOptions are the flags of why gpu.
type whyOptions struct {
	traceOptions
	sinceOptions
	window time.Duration
}

func (o *whyOptions) bind(flags *pflag.FlagSet) {
	o.traceOptions.bind(flags)
	o.gpu.bind(flags)
	o.sinceOptions.bind(flags)
	flags.DurationVar(&o.window, "window", whyWindow,
		fmt.Sprintf("How long to watch before there are verdicts: %v or more", minWhyWindow))
	flags.Lookup("output").Usage += "; text by default"
	flags.Lookup("filter").Usage = `Show only verdicts for which a CEL expression holds: 'verdict == "abandoned"'`
	flags.Lookup("sort-by").Usage = "Sort verdicts by a field (shares.network, or -shares.network for largest " +
		"first); not in the default output"
	flags.Lookup("record").Usage = "Keep the events that verdicts stand on in this new file as well, for kubectl " +
		"orb8 replay"
	flags.Lookup("interval").Usage = "Time between two readings of GPUs, resources and flows"
	// --window replaces --duration.
	_ = flags.MarkHidden("duration")
}

// whyConfig is what why gpu runs on.
type whyConfig struct {
	*traceConfig
	window time.Duration
	rows   *filter.Filter
	// question is about the past; nil: about what happens now.
	question *pastConfig
}

// printing is how its verdicts are printed.
func (c *whyConfig) printing() verdictConfig {
	return verdictConfig{
		out:     c.streams.Out,
		output:  c.output,
		open:    c.open,
		viewed:  c.viewed,
		rows:    c.rows,
		targets: c.query.String(),
		named:   len(c.query.Names) > 0,
	}
}

func newWhyCommand(streams genericiooptions.IOStreams) *cobra.Command {
	cmd := &cobra.Command{
		Use: "why", Short: "Say what pods wait for, with the evidence", Args: noArgs,
		Example: `  # Why the GPUs of a training job are idle
  kubectl orb8 why gpu job/train -n ml`,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	o := &whyOptions{traceOptions: traceOptions{
		outputOptions: outputOptions{streams: streams},
		tracerOptions: tracerOptions{kube: newKubeFlags()},
		rows:          event.KindByName("gpuVerdict"),
	}}
	gpu := &cobra.Command{
		Use: "gpu [POD | KIND/NAME ...]",
		Short: "Explain what the time of pods' GPUs goes to: a verdict for each pod, with evidence, shares and " +
			"confidence",
		Long: `Trace pods with GPUs for a while, and report for each what the time of its GPUs goes to: work, or waits
for the network, storage, CPUs, copies, launches or other GPUs, and whether a GPU is abandoned, throttled or failing.
Verdicts are hypotheses that fit the evidence. With --since, judge the past, which the agents of "kubectl orb8 install"
have recorded.`,
		Example: `  # Why a training job is slow
  kubectl orb8 why gpu job/train -n ml

  # GPUs of the whole cluster that are held and not used, watched for a minute
  kubectl orb8 why gpu -A --window 1m --filter 'verdict == "abandoned"' -o wide

  # What a job waited for in ten minutes of the night, as the installed agents have recorded it
  kubectl orb8 why gpu job/train -n ml --since 2026-11-30T03:00:00Z --until 2026-11-30T03:10:00Z

  # What each pod of a namespace waits for, as JSON
  kubectl orb8 why gpu -n ml -o json | jq -c '{pod, verdict, confidence, share: .shares[.verdict]}'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.names = args
			c, err := o.complete(cmd.Flags().Changed)
			if err != nil {
				return err
			}
			return runWhy(cmd.Context(), c)
		},
	}
	o.bind(gpu.Flags())
	cmd.AddCommand(gpu)
	return cmd
}

// complete resolves the options. What is wrong with them is a usage error.
func (o *whyOptions) complete(changed func(flag string) bool) (*whyConfig, error) {
	past, err := o.sinceOptions.check(&o.traceOptions, changed)
	switch {
	case err != nil:
		return nil, err
	case changed("duration"):
		return nil, usagef("--duration: --window says how long why gpu watches")
	case o.window < minWhyWindow || o.window > maxWhyWindow:
		return nil, usagef("--window %v: want %v to %v", o.window, minWhyWindow, maxWhyWindow)
	case o.output == "" && (o.sortBy != "" || o.noHeaders):
		return nil, usagef("--sort-by and --no-headers go with --output")
	}
	c := &whyConfig{window: o.window}
	if c.rows, err = o.compile([]*event.Kind{o.rows}); err != nil {
		return nil, err
	}
	own := o.traceOptions
	own.filter = ""
	if past {
		own.mode = modeCluster
	}
	if c.traceConfig, err = own.complete(whySources...); err != nil || !past {
		return c, err
	}
	c.question, err = c.past(&o.sinceOptions, "", why.Slot)
	return c, err
}

// runWhy watches for the window and prints the verdicts.
func runWhy(parent context.Context, c *whyConfig) error {
	if c.question != nil {
		return runWhySince(parent, c)
	}
	var v *whyView
	err := runSession(parent, c.traceConfig, func(s engine, in intake) live.Consumer {
		v = newWhyView(c, s, in)
		return v
	})
	if v == nil {
		return err
	}
	return v.conclude(err)
}

// whyView watches for the window, and prints the verdicts when the session has ended.
type whyView struct {
	verdicts
	// begun: all nodes stream, and the window begins.
	begun, restarted atomic.Bool
	waiting          sync.WaitGroup
}

func newWhyView(c *whyConfig, s engine, in intake) *whyView {
	v := &whyView{verdicts: newVerdicts(in, c.printing(), why.New(c.window))}
	v.watch.TraceFlows()
	v.waiting.Go(func() {
		defer s.End(live.ErrDone)
		select {
		case <-s.Settled():
		case <-s.Running().Done():
			return
		}
		v.begun.Store(true)
		v.reporter.Logf("watching for %v", c.window)
		window := time.NewTimer(c.window)
		defer window.Stop()
		select {
		case <-window.C:
		case <-s.Running().Done():
		}
	})
	return v
}

func (v *whyView) Show(ev *event.Event) error {
	if v.begun.Load() && !v.restarted.Swap(true) {
		v.watch.Restart()
	}
	return v.verdicts.Show(ev)
}

// Close prints the verdicts, or returns why there are none.
func (v *whyView) Close() error {
	v.waiting.Wait()
	return v.verdicts.Close()
}
