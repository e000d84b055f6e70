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
	"github.com/orb8-dev/kubectl-orb8/event/calls"
	"github.com/orb8-dev/kubectl-orb8/filter"
	"github.com/orb8-dev/kubectl-orb8/plugin/live"
)

const (
	// whyWindow is how long pods are watched; minWhyWindow is what a verdict needs at the least.
	whyWindow, minWhyWindow = 30 * time.Second, 5 * time.Second
	maxWhyWindow            = time.Hour
)

// whyOptions are the flags of why and why gpu.
type whyOptions struct {
	traceOptions
	sinceOptions
	of     *subject
	window time.Duration
	follow bool
}

func (o *whyOptions) bind(flags *pflag.FlagSet) {
	o.traceOptions.bind(flags)
	if o.of == whyGPUs {
		o.gpu.bind(flags)
	} else {
		flags.BoolVar(&o.follow, "follow", true,
			"Also report on the pods that a verdict blames, up to three in a chain")
	}
	o.sinceOptions.bind(flags)
	flags.DurationVar(&o.window, "window", whyWindow,
		fmt.Sprintf("How long to watch before reporting: %v or more", minWhyWindow))
	flags.Lookup("output").Usage += "; text by default"
	example := map[*subject]string{
		whyPods: "'!healthy && confidence != \"low\"'", whyGPUs: `'verdict == "abandoned"'`,
	}[o.of]
	flags.Lookup("filter").Usage = "Show only verdicts for which a CEL expression holds: " + example
	flags.Lookup("sort-by").Usage = "Sort verdicts by a field (shares." + map[*subject]string{
		whyPods: "cpuLimit", whyGPUs: "network",
	}[o.of] + ", or with - before it for largest first); not in the default output"
	flags.Lookup("record").Usage = "Also write the events behind the verdicts to this new file, for kubectl " +
		"orb8 replay"
	flags.Lookup("interval").Usage = "Time between two readings of " + map[*subject]string{
		whyPods: "resources and flows", whyGPUs: "GPUs, resources and flows",
	}[o.of]
	// --window replaces --duration.
	_ = flags.MarkHidden("duration")
}

// whyConfig is what why and why gpu run on.
type whyConfig struct {
	*traceConfig
	of     *subject
	window time.Duration
	follow bool
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

// newWhyOptions returns the flags of a command that gives verdicts of something.
func newWhyOptions(streams genericiooptions.IOStreams, of *subject) *whyOptions {
	return &whyOptions{of: of, traceOptions: traceOptions{
		outputOptions: outputOptions{streams: streams},
		tracerOptions: tracerOptions{kube: newKubeFlags()},
		rows:          event.KindByName(of.rows),
	}}
}

// run runs the command.
func (o *whyOptions) run(cmd *cobra.Command, args []string) error {
	o.names = args
	c, err := o.complete(cmd.Flags().Changed)
	if err != nil {
		return err
	}
	return runWhy(cmd.Context(), c)
}

func newWhyCommand(streams genericiooptions.IOStreams) *cobra.Command {
	o, gpuOptions := newWhyOptions(streams, whyPods), newWhyOptions(streams, whyGPUs)
	cmd := &cobra.Command{
		Use:   "why [POD | KIND/NAME ...]",
		Short: "Say what is wrong with pods: a verdict for each, with its evidence and the command that shows more",
		Long: `Watch pods for a while, and report for each what is wrong with it: a limit, a crowded node, memory, a
disk, DNS, connections that fail and to whom, lost packets, crashes and their causes, failing probes; or that it is
healthy. Verdicts are hypotheses that fit the evidence. With --since, report on the past, from the records of the agents
of "kubectl orb8 install".`,
		Example: `  # What is wrong with a deployment
  kubectl orb8 why deploy/web -n shop

  # What is wrong in a namespace, as a table of the pods that are not healthy
  kubectl orb8 why -n shop -o wide --filter '!healthy'

  # What was wrong in ten minutes of the night, from the records of the installed agents
  kubectl orb8 why deploy/web -n shop --since 2026-11-30T03:00:00Z --until 2026-11-30T03:10:00Z

  # The cause and the next command for each pod, as JSON
  kubectl orb8 why -n shop -o json | jq -c '{pod, verdict, confidence, peer, next}'`,
		Args: cobra.ArbitraryArgs,
		RunE: o.run,
	}
	o.bind(cmd.Flags())
	gpu := &cobra.Command{
		Use: "gpu [POD | KIND/NAME ...]",
		Short: "Explain what pods' GPUs spend their time on: a verdict for each pod, with evidence, shares and " +
			"confidence",
		Long: `Trace pods with GPUs for a while, and report for each what its GPUs spend their time on: work, or waits
for the network, storage, CPUs, copies, launches or other GPUs, and whether a GPU is abandoned, throttled or failing.
Verdicts are hypotheses that fit the evidence. With --since, report on the past, from the
records of the agents of "kubectl orb8 install".`,
		Example: `  # Why a training job is slow
  kubectl orb8 why gpu job/train -n ml

  # GPUs of the whole cluster that are held and not used, watched for a minute
  kubectl orb8 why gpu -A --window 1m --filter 'verdict == "abandoned"' -o wide

  # What a job waited for in ten minutes of the night, from the records of the installed agents
  kubectl orb8 why gpu job/train -n ml --since 2026-11-30T03:00:00Z --until 2026-11-30T03:10:00Z

  # What each pod of a namespace waits for, as JSON
  kubectl orb8 why gpu -n ml -o json | jq -c '{pod, verdict, confidence, share: .shares[.verdict]}'`,
		RunE: gpuOptions.run,
	}
	gpuOptions.bind(gpu.Flags())
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
		return nil, usagef("--duration: --window says how long %s watches", o.of.command)
	case o.window < minWhyWindow || o.window > maxWhyWindow:
		return nil, usagef("--window %v: want %v to %v", o.window, minWhyWindow, maxWhyWindow)
	case o.output == "" && (o.sortBy != "" || o.noHeaders):
		return nil, usagef("--sort-by and --no-headers go with --output")
	}
	c := &whyConfig{of: o.of, window: o.window, follow: o.follow}
	if c.rows, err = o.compile([]*event.Kind{o.rows}); err != nil {
		return nil, err
	}
	own := o.traceOptions
	own.filter = ""
	if past {
		own.mode = modeCluster
	}
	if c.traceConfig, err = own.complete(o.of.sources...); err != nil {
		return c, err
	}
	c.alsoRecorded = o.of.adds
	if c.syscalls != nil { // not by the flags: agents answer, too
		if c.syscalls.Names, err = calls.Expand(fileCalls); err != nil {
			return nil, err
		}
		c.syscalls.ErrorsOnly = true
	}
	if !past {
		return c, nil
	}
	c.question, err = c.past(&o.sinceOptions, "", o.of.slot)
	return c, err
}

// fileCalls are the system calls whose errors a program may end for.
var fileCalls = []string{
	"open",
	"openat",
	"openat2",
	"creat",
	"execve",
	"execveat",
	"mkdir",
	"mkdirat",
	"chdir",
	"rename",
	"renameat",
	"renameat2",
}

// runWhy watches for the window and prints the verdicts.
func runWhy(parent context.Context, c *whyConfig) error {
	if c.question != nil {
		return runWhySince(parent, c)
	}
	if c.of == whyPods {
		return runWhyPods(parent, c)
	}
	return runWhyLive(parent, c, nil)
}

// runWhyLive watches for the window. set, if not nil, changes the view before the first event.
func runWhyLive(parent context.Context, c *whyConfig, set func(*whyView)) error {
	var v *whyView
	err := runSession(parent, c.traceConfig, func(s engine, in intake) live.Consumer {
		v = newWhyView(c, s, in)
		if set != nil {
			set(v)
		}
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
	v := &whyView{verdicts: newVerdicts(in, c.printing(), c.of, c.window)}
	v.watch.Observe(kindNames(c.kinds)...)
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
