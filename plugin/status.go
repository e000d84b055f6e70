package plugin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/orb8-dev/kubectl-orb8/deploy"
	"github.com/orb8-dev/kubectl-orb8/event/orbit"
	"github.com/orb8-dev/kubectl-orb8/internal/version"
	"github.com/orb8-dev/kubectl-orb8/plugin/install"
)

func newStatusCommand(streams genericiooptions.IOStreams) *cobra.Command {
	kube := newKubeFlags()
	var output string
	var noHeaders bool
	cmd := &cobra.Command{
		Use: "status", Short: "Show the agents and servers of an installation", Args: noArgs,
		Long: `Show the agents of an installation by node, and its servers: whether they are ready, their versions,
restarts, and why they are not ready. Then what the servers know of the agents: events since their start and lost
ones, the history and how far it reaches back, CPU time and memory, the clock, the end of the certificate, and the
kinds that they record. The exit code is 3 where some agents or servers are not ready, 1 where none is.`,
		Example: `  # Agents that are not ready
  kubectl orb8 status -o json |
      jq -r 'select(.component == "agent") | select(.ready | not) |
        [.node, .reason] | @tsv'`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "" && output != "json" {
				return usagef("--output %q: want json, or nothing", output)
			}
			return withInstaller(cmd.Context(), kube, streams, false, func(
				ctx context.Context, i *install.Installer,
			) error {
				s, err := i.Status(ctx)
				if err != nil {
					return err
				}
				var answer *orbit.NodesAnswer
				var unknown error
				if slices.ContainsFunc(s.Pods, func(p install.Pod) bool {
					return p.Component == deploy.ComponentServer && p.Ready
				}) { // else the table says why nobody knows
					answer, unknown = askNodes(ctx, i.Config, i.Client, s.Namespace)
				}
				states := agentStates(answer)
				if output == "json" {
					err = errors.Join(s.WriteJSON(streams.Out), writeAgentsJSON(streams.Out, states))
				} else {
					err = s.WriteTable(userTerminal().Writer(streams.Out), !noHeaders)
				}
				if err == nil && output == "" && len(states) > 0 {
					fmt.Fprintln(streams.Out)
					err = writeAgents(userTerminal().Writer(streams.Out), states, time.Now(), !noHeaders)
				}
				if err != nil {
					return err
				}
				if unknown != nil {
					i.Logf("the states of the agents are not known: %v", unknown)
				}
				for _, line := range agentLines(states) {
					i.Logf("%s", line)
				}
				lines, health := s.Verdict(version.Version())
				for _, line := range lines {
					i.Logf("%s", line)
				}
				switch health {
				case install.Down:
					return &exitError{ExitError, nil}
				case install.Degraded:
					return &exitError{ExitSomeFailed, nil}
				}
				return nil
			})
		},
	}
	kube.AddFlags(cmd.Flags())
	cmd.Flags().Lookup("namespace").Usage = "Namespace of the installation (default: where it is)"
	cmd.Flags().StringVarP(&output, "output", "o", "", "Output format: json")
	cmd.Flags().BoolVar(&noHeaders, "no-headers", false, "Print no header line")
	return cmd
}
