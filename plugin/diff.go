package plugin

import (
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/orb8-dev/kubectl-orb8/event"
)

const (
	// diffWindow is the default length of both times of --before.
	diffWindow, minDiffWindow, maxDiffWindow = 10 * time.Minute, 10 * time.Second, 24 * time.Hour
)

// diffOptions are the flags of diff, as the user gave them.
type diffOptions struct {
	outputOptions
	pastTargets
	before, window time.Duration
	all            bool
}

func (o *diffOptions) bind(flags *pflag.FlagSet) {
	o.outputOptions.bind(flags)
	o.pastTargets.bind(flags)
	flags.DurationVar(&o.before, "before", 0, "Compare the last minutes (--window) with as many minutes, this "+
		"time earlier (1h), from the records of installed agents")
	flags.DurationVar(&o.window, "window", diffWindow, "With --before: length of both times")
	flags.BoolVar(&o.all, "all", false, "Show also what is within the variation of the recordings, and all that "+
		"appeared or vanished workloads did")
	flags.Lookup("output").Usage += "; by workload by default"
	flags.Lookup("filter").Usage = `Show only differences for which a CEL expression holds: 'topic == "peer"'`
	flags.Lookup("sort-by").Usage = "Sort differences by a field (name, or -after for largest first); not in the " +
		"default output"
}

func newDiffCommand(streams genericiooptions.IOStreams) *cobra.Command {
	o := &diffOptions{outputOptions: outputOptions{streams: streams},
		pastTargets: pastTargets{kube: newKubeFlags()}}
	cmd := &cobra.Command{
		Use:   "diff BEFORE AFTER | --before TIME [POD | KIND/NAME ...]",
		Short: "Compare two recordings: what appeared, vanished or changed, by workload",
		Long: `Compare two recordings of trace --record by workload: peers, amounts, failures, DNS names, programs and
system calls that appeared, vanished or changed. Amounts are per second. Differences within the variation of the
recordings are left out. With --before, compare the last minutes with as many minutes that time earlier, from the
records of the agents of "kubectl orb8 install". One of the files may be -, standard input.`,
		Example: `  # What a rollout has changed
  kubectl orb8 trace network,tcp,dns,exec -n demo --duration 2m --record before.orb8
  kubectl rollout restart deploy/web -n demo
  kubectl orb8 trace network,tcp,dns,exec -n demo --duration 2m --record after.orb8
  kubectl orb8 diff before.orb8 after.orb8

  # New peers and DNS names only, as JSON
  kubectl orb8 diff before.orb8 after.orb8 --filter 'change == "appeared" && topic in ["peer", "dns"]' -o json

  # The last ten minutes, and ten minutes of an hour ago, as the installed agents have recorded them
  kubectl orb8 diff --before 1h -n demo`,
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, args) },
	}
	o.bind(cmd.Flags())
	return cmd
}

// run compares two files, or two times.
func (o *diffOptions) run(cmd *cobra.Command, args []string) error {
	rows := []*event.Kind{event.KindByName("difference")}
	if _, err := o.compile(rows); err != nil {
		return err
	}
	if _, err := o.open(rows, ""); err != nil {
		return usage(err)
	}
	if o.output == "" && (o.sortBy != "" || o.noHeaders) {
		return usagef("--sort-by and --no-headers go with --output")
	}
	if cmd.Flags().Changed("before") {
		o.names = args
		return o.comparePast(cmd.Context())
	}
	if len(args) != 2 {
		return usagef("diff: want two files, or --before with a time, got %d files (see %s --help)", len(args),
			cmd.CommandPath())
	}
	for _, flag := range []string{"namespace", "all-namespaces", "selector", "container", "node", "window",
		"orb8-namespace"} {
		if cmd.Flags().Changed(flag) {
			return usagef("--%s goes with --before; of recordings, --filter selects differences", flag)
		}
	}
	return o.compareFiles(cmd.Context(), args[0], args[1])
}
