package plugin

import (
	"context"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/orb8-dev/kubectl-orb8/internal/version"
	"github.com/orb8-dev/kubectl-orb8/plugin/install"
)

func newStatusCommand(streams genericiooptions.IOStreams) *cobra.Command {
	kube := genericclioptions.NewConfigFlags(true)
	var output string
	var noHeaders bool
	cmd := &cobra.Command{
		Use: "status", Short: "Show the agents and servers of an installation", Args: noArgs,
		Long: `Show the agents of an installation by node, and its servers: whether they are ready, their versions,
restarts, and why they are not ready. The exit code is 3 where some agents or servers are not ready, 1 where none is.`,
		Example: `  # Agents that are not ready
  kubectl orb8 status -o json | jq -r 'select(.component == "agent" and (.ready | not)) | [.node, .reason] | @tsv'`,
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
				if output == "json" {
					err = s.WriteJSON(streams.Out)
				} else {
					err = s.WriteTable(streams.Out, !noHeaders)
				}
				if err != nil {
					return err
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
	cmd.Flags().StringVarP(&output, "output", "o", "", "Output format: json")
	cmd.Flags().BoolVar(&noHeaders, "no-headers", false, "Print no header line")
	return cmd
}
