package plugin

import (
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// The commands of advise turn what was observed into objects to apply. Each has a file plugin/advise*.go, adds itself
// in newAdviseCommand, embeds adviseOptions, and calls observe once. The events come from one of three sources:
//
//   - --from FILE: a recording of trace --record (advisefile.go)
//   - --since TIME: the history of installed agents (advisepast.go)
//   - neither: a session that observes for --duration (adviselive.go)
//
// With --from and --since, traceConfig.client reads the cluster as it is now; it is nil where there is no kubeconfig.
// A new command goes into newRoot (the first one with the group), the pages of docs, flagGroups, flagValues (keys such
// as "advise --from" are for all commands of the group) and flagCompletions.

// adviseDuration is how long a session observes without --duration.
const adviseDuration = 5 * time.Minute

// adviseSource is what events an advice is made of.
type adviseSource struct {
	// command is the name of the command: "advise networkpolicy".
	command string
	// kinds are traced: flow, syscall (with traceOptions.syscalls), …. Those of needs must have been observed; an entry
	// may be alternatives, with | between. The observation is incomplete without one of the others.
	kinds, needs []string
	// record is the command that records what the advice needs, for errors: "trace network,dns"; empty: they name none.
	record string
}

// adviseOptions are the flags that the commands of advise share, as the user gave them: the pods, and the source of the
// observation.
type adviseOptions struct {
	traceOptions
	sinceOptions
	of   *adviseSource
	from string
}

// newAdviseOptions returns the options of a command.
func newAdviseOptions(streams genericiooptions.IOStreams, of *adviseSource) adviseOptions {
	return adviseOptions{of: of, traceOptions: traceOptions{
		outputOptions: outputOptions{streams: streams},
		tracerOptions: tracerOptions{kube: newKubeFlags()},
	}}
}

// bind adds the flags. Formats are the command's own: it adds --output.
func (o *adviseOptions) bind(flags *pflag.FlagSet) {
	o.bindSession(flags)
	o.sinceOptions.bind(flags)
	flags.StringVar(&o.from, "from", "", "Read this recording of trace --record instead of observing now (-: "+
		"standard input)")
	flags.BoolVar(&o.failOnLoss, "fail-on-loss", false, "Exit with code 4 if any event was lost")
	o.duration = adviseDuration
	duration := flags.Lookup("duration")
	duration.DefValue = adviseDuration.String()
	duration.Usage = "How long to observe, counted from when the first node streams (0: until ^C)"
	flags.Lookup("record").Usage = "Also write the observed events to this new file, for --from and kubectl orb8 replay"
}

// adviseConfig is what a command of advise runs on: every flag resolved, nothing contacted yet.
type adviseConfig struct {
	// traceConfig is that of a session. With --from, only streams, failOnLoss and kinds are set, and client and rest
	// where there is a kubeconfig.
	*traceConfig
	of   *adviseSource
	from string
	past *pastConfig
	// selected selects the pods of a recording.
	selected adviseTargets
	// offline is why there is no client; nil: there is one.
	offline error
}

// complete resolves the options. What is wrong with them is a usage error.
func (o *adviseOptions) complete(changed func(flag string) bool, targets []string) (*adviseConfig, error) {
	o.names = targets
	c := &adviseConfig{of: o.of, from: o.from}
	if o.from != "" {
		return c, o.completeFile(c, changed)
	}
	past, err := o.sinceOptions.check(&o.traceOptions, changed)
	if err != nil {
		return nil, err
	}
	if err := checkNames(o.names, o.allNamespaces); err != nil {
		return nil, err
	}
	own := o.traceOptions
	own.output = "" // that of advise is no format of events
	if past {
		own.mode = modeCluster
	}
	if c.traceConfig, err = own.complete(o.of.kinds...); err != nil {
		return nil, err
	}
	if past {
		c.past, err = c.traceConfig.past(&o.sinceOptions, "", adviseInterval)
	}
	return c, err
}

// adviseInterval is the time between two updates of a flow in an answer about the past: only its last state counts.
func adviseInterval(length time.Duration) time.Duration { return max(length, time.Minute) }

// newAdviseCommand returns the group of the commands that give advice.
func newAdviseCommand(subcommands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "advise",
		Short: "Write network policies, seccomp profiles, requests and limits from observed behaviour",
		Long: `Write network policies, seccomp profiles, requests and limits from the observed behaviour of pods: from
a recording (--from), the history of installed agents (--since), or a session of tracers (--duration). The advice covers
only observed behaviour, so observe for long enough: through a rollout, a backup, the busiest hour. Warnings on stderr
say what is incomplete.`,
		Example: `  # NetworkPolicies for a namespace, from what its pods do in the next ten minutes
  kubectl orb8 advise networkpolicy -n shop --duration 10m > policies.yaml

  # Seccomp profiles of a deployment: restart it while this runs
  kubectl orb8 advise seccomp deploy/web -n shop --duration 10m --dir profiles

  # Requests and limits, by the last six hours of the installed agents
  kubectl orb8 advise resources -n shop --since 6h`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(subcommands...)
	return cmd
}

// adviser takes the events of an observation, in the order of time. It does not keep them.
type adviser func(ev *event.Event)
