// Package plugin is `kubectl orb8`: its commands, from the user's words to what is printed and the exit code.
package plugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/klog/v2"
)

// Exit codes.
const (
	ExitOK          = 0
	ExitError       = 1
	ExitUsage       = 2
	ExitSomeFailed  = 3
	ExitLost        = 4
	ExitInterrupted = 130
)

// exitError ends the program with a code. err is nil if the message was printed already.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

func usage(err error) error {
	if err == nil {
		return nil
	}
	return &exitError{ExitUsage, err}
}

func usagef(format string, args ...any) error { return usage(fmt.Errorf(format, args...)) }

// Main runs the plugin and returns its exit code. It is the one place that prints an error.
func Main(args []string, in io.Reader, out, errOut io.Writer) int {
	discardClientLogs()
	preferLists()

	root := newCommand(args, genericiooptions.IOStreams{In: in, Out: out, ErrOut: errOut})
	root.SetArgs(args)
	code, message := execute(context.Background(), root)
	if message != "" {
		fmt.Fprintln(errOut, "error: "+userTerminal().Line(message))
	}
	return code
}

// execute runs a command line. It returns the exit code, and the error's text if the command has not printed it.
func execute(ctx context.Context, root *cobra.Command) (code int, message string) {
	err := root.ExecuteContext(ctx)
	if err == nil {
		return ExitOK, ""
	}
	exit := (*exitError)(nil)
	if !errors.As(err, &exit) {
		exit = &exitError{ExitError, err}
	}
	if exit.err != nil {
		message = oneLine(explain(exit.err))
	}
	return exit.code, message
}

// discardClientLogs discards client-go's log of retries and cancelled requests; its calls return the errors that
// matter. Only the zero logger discards everything: klog writes errors to stderr even if its output is redirected.
var discardClientLogs = sync.OnceFunc(func() { klog.SetLogger(klog.Logger{}) })

// NewCommand returns the root command with all subcommands, their help and their completions.
func NewCommand(streams genericiooptions.IOStreams) *cobra.Command {
	root := newRoot(streams)
	addCompletions(root)
	groupHelp(root)
	return root
}

// newCommand is NewCommand for a command line. Most show no help and complete nothing, and what is for these takes four
// times as long as all else.
func newCommand(args []string, streams genericiooptions.IOStreams) *cobra.Command {
	if len(args) > 0 && (args[0] == cobra.ShellCompRequestCmd || args[0] == cobra.ShellCompNoDescRequestCmd) {
		return NewCommand(streams)
	}
	root := newRoot(streams)
	root.SetHelpFunc(func(cmd *cobra.Command, args []string) {
		groupHelp(root) // sets another function
		cmd.HelpFunc()(cmd, args)
	})
	root.SetUsageFunc(func(cmd *cobra.Command) error {
		groupHelp(root)
		return cmd.UsageFunc()(cmd)
	})
	return root
}

// newRoot returns the root command with all subcommands, without help and completions.
func newRoot(streams genericiooptions.IOStreams) *cobra.Command {
	root := &cobra.Command{
		Use:   "orb8",
		Short: "See what pods do on the network, in the kernel and on the GPU, right now",
		Long: `kubectl orb8 shows what pods are doing right now, with nothing installed: it starts short-lived tracer
pods on the pods' nodes, shows their events, and deletes them.`,
		Example: `  # Who talks to whom in namespace demo
  kubectl orb8 trace network -n demo

  # What one deployment sends, as JSON lines
  kubectl orb8 trace network deploy/web -n demo -o json | jq -r '[.src.pod, .dst.pod, .bytesSent] | @tsv'`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		// kubectl runs the plugin as kubectl-orb8, and people type kubectl orb8.
		Annotations: map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl orb8"},
	}
	root.SetIn(streams.In)
	// Of the commands' own output, their help.
	root.SetOut(userTerminal().Writer(streams.Out))
	root.SetErr(userTerminal().Writer(streams.ErrOut))
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usagef("%w: see %s --help", err, cmd.CommandPath())
	})
	root.AddCommand(newTraceCommand(streams), newTopCommand(streams), newWhyCommand(streams),
		newCaptureCommand(streams), newQueryCommand(streams), newReplayCommand(streams), newDiffCommand(streams),
		newAdviseCommand(newAdvisePolicyCommand(streams), newAdviseSeccompCommand(streams),
			newAdviseResourcesCommand(streams)),
		newMCPCommand(streams), newInstallCommand(streams),
		newUpgradeCommand(streams), newUninstallCommand(streams), newStatusCommand(streams), newDoctorCommand(streams),
		newCleanupCommand(streams), newRBACCommand(streams), newCompletionCommand(streams), newImageCommand(streams),
		newVersionCommand(streams))
	return root
}

// noArgs refuses what is no subcommand, and names the nearest.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := ""
	cmd.SuggestionsMinimumDistance = 2 // cobra's own default, which it sets only where it prints the error itself
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		hint = fmt.Sprintf(", did you mean %q?", near[0])
	}
	return usagef("unknown command %q for %q%s: see %s --help", args[0], cmd.CommandPath(), hint, cmd.CommandPath())
}
