package plugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/orb8-dev/kubectl-orb8/event/calls"
	"github.com/orb8-dev/kubectl-orb8/internal/plural"
	"github.com/orb8-dev/kubectl-orb8/plugin/advise/manifest"
	"github.com/orb8-dev/kubectl-orb8/plugin/advise/seccomp"
)

// adviseSeccompOptions are the flags of advise seccomp, as the user gave them.
type adviseSeccompOptions struct {
	adviseOptions
	output, profile, dir string
	allow                []string
	audit, patch, force  bool
}

func (o *adviseSeccompOptions) bind(flags *pflag.FlagSet) {
	o.adviseOptions.bind(flags)
	flags.StringVarP(&o.output, "output", "o", "", "Output format: json, one object for each container; YAML "+
		"documents by default")
	flags.BoolVar(&o.audit, "audit", false, "Compare the profile of --profile with the observed calls: which of them "+
		"it would refuse, and what else it allows")
	flags.StringVar(&o.profile, "profile", "", "With --audit: the profile to compare, in JSON (-: standard input)")
	flags.StringSliceVar(&o.allow, "allow", nil, "Allow these calls or groups as well: %file, %net, %process, %memory")
	flags.BoolVar(&o.patch, "patch", false, "Print only the patches of the workloads")
	flags.StringVar(&o.dir, "dir", "", "Write the profiles and the patches to files in this directory")
	flags.BoolVar(&o.force, "force", false, "With --dir: replace existing files")
}

func newAdviseSeccompCommand(streams genericiooptions.IOStreams) *cobra.Command {
	of := &adviseSource{command: "advise seccomp", record: "trace syscalls --summary"}
	o := &adviseSeccompOptions{adviseOptions: newAdviseOptions(streams, of)}
	cmd := &cobra.Command{
		Use:   "seccomp [POD | KIND/NAME ...]",
		Short: "Write seccomp profiles that allow the observed system calls",
		Long: `Print a seccomp profile for each container, and a patch that makes the kubelet load it. The profile
allows the observed system calls, and those that the container runtime needs to start the container. Observe from before
the containers start: restart the pods during the session. Copy the profiles to /var/lib/kubelet/seccomp on each
node.`,
		Example: `  # Profiles of a deployment: restart it while this runs
  kubectl orb8 advise seccomp deploy/web -n demo --duration 10m --dir profiles

  # From a recording
  kubectl orb8 trace syscalls -n demo --summary --duration 10m --record calls.orb8
  kubectl orb8 advise seccomp --from calls.orb8

  # What a profile would refuse
  kubectl orb8 advise seccomp deploy/web -n demo --from calls.orb8 --audit --profile web.json`,
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, args) },
	}
	o.bind(cmd.Flags())
	return cmd
}

// adviseSeccomp is what advise seccomp runs on.
type adviseSeccomp struct {
	*adviseConfig
	options *adviseSeccompOptions
	allow   []string
	audit   *seccomp.Profile
}

func (o *adviseSeccompOptions) run(cmd *cobra.Command, args []string) error {
	changed := cmd.Flags().Changed
	switch {
	case o.output != "" && o.output != "json":
		return usagef("--output %q: want json, or nothing", o.output)
	case o.audit && o.profile == "":
		return usagef("--audit needs --profile FILE, the profile to compare with the observed calls")
	case o.profile != "" && !o.audit:
		return usagef("--profile goes with --audit")
	case o.audit && (o.patch || o.dir != "" || len(o.allow) > 0):
		return usagef("--audit prints no profile: it does not go with --patch, --dir or --allow")
	case o.dir != "" && (o.output != "" || o.patch):
		return usagef("--dir writes profiles and patches to files: it does not go with --output or --patch")
	case o.patch && o.output != "":
		return usagef("--patch prints YAML: it does not go with --output")
	case o.force && o.dir == "":
		return usagef("--force goes with --dir")
	}
	run := &adviseSeccomp{options: o}
	var err error
	if run.allow, err = calls.Expand(o.allow); err != nil {
		return usagef("--allow: %w", err)
	}
	if o.audit {
		if run.audit, err = o.readProfile(); err != nil {
			return err
		}
	}
	o.chooseKinds()
	if run.adviseConfig, err = o.complete(changed, args); err != nil {
		return err
	}
	return run.run(cmd.Context())
}

// chooseKinds selects the kinds of the source: counts of a session, single calls of the history, both of a recording.
func (o *adviseSeccompOptions) chooseKinds() {
	o.syscalls.summary = false
	switch {
	case o.from != "":
		o.of.kinds, o.of.needs = seccomp.Kinds, []string{"syscallSummary|syscall"}
	case o.since != "" || o.until != "":
		o.of.kinds, o.of.needs = []string{"syscall"}, []string{"syscall"}
	default:
		o.syscalls.summary = true
		o.of.kinds, o.of.needs = []string{"syscall"}, []string{"syscallSummary"}
	}
}

// maxProfileFile bounds a profile that is read.
const maxProfileFile = 1<<20 + 1

// readProfile reads the profile of --profile.
func (o *adviseSeccompOptions) readProfile() (*seccomp.Profile, error) {
	in := o.streams.In
	switch {
	case o.profile == "-" && o.from == "-":
		return nil, usagef("only one of --from and --profile can be standard input")
	case o.profile != "-":
		f, err := os.Open(o.profile)
		if err != nil {
			return nil, fmt.Errorf("--profile: %w", err)
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, maxProfileFile))
	if err != nil {
		return nil, fmt.Errorf("--profile %s: %w", o.profile, err)
	}
	p, err := seccomp.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("--profile %s: %w", o.profile, err)
	}
	return p, nil
}

// run observes, and prints profiles or the result of the audit.
func (c *adviseSeccomp) run(ctx context.Context) error {
	observed := seccomp.NewObserved()
	seen, ended := c.observe(ctx, observed.Add)
	if seen == nil {
		return ended
	}
	r := newReporter(c.streams.ErrOut)
	for _, why := range seen.incomplete {
		r.Logf("warning: the observation is incomplete: %s: calls that were missed will be refused; observe again", why)
	}
	if n := observed.Refused(); n > 0 {
		r.Logf("note: %s of no container that has a name, as of a pod's sandbox: in no profile",
			plural.Count(n, "event"))
	}
	if c.audit != nil {
		return errors.Join(c.printAudit(observed, r), ended)
	}
	all := observed.Advise(seccomp.Options{Length: seen.length(), Allow: c.allow})
	if len(all) == 0 {
		return fmt.Errorf("%s: no container made a call that has a name", c.of.command)
	}
	var owners []manifest.Owner
	for _, a := range all {
		owners = append(owners, a.Owner)
	}
	specs, err := c.readSpecs(ctx, owners)
	if err != nil {
		r.Logf("note: %v: the patches take no container for an init container", err)
	}
	for _, a := range all {
		for _, w := range a.Warnings {
			r.Logf("warning: %s, container %s: %s", a.Owner, a.Container, w)
		}
	}
	p := &seccompPrinter{streams: c.streams, specs: specs, patch: c.options.patch}
	switch {
	case c.options.dir != "":
		err = p.write(c.options.dir, c.options.force, all)
	case c.options.output == "json":
		err = p.printJSON(all, seen)
	default:
		err = p.printYAML(all)
	}
	if err != nil {
		return err
	}
	return ended
}
