package plugin

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/orb8-dev/kubectl-orb8/event/session"
	"github.com/orb8-dev/kubectl-orb8/internal/kube"
	"github.com/orb8-dev/kubectl-orb8/internal/version"
	"github.com/orb8-dev/kubectl-orb8/plugin/launch"
)

func newVersionCommand(streams genericiooptions.IOStreams) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use: "version", Short: "Print the version, the protocol it speaks and the tracer image it starts", Args: noArgs,
		Example: `  # The image that tracers run, for a mirror
  kubectl orb8 version -o json | jq -r .tracerImage`,
		RunE: func(*cobra.Command, []string) error {
			v := struct {
				Version  string `json:"version"`
				Protocol int    `json:"protocol"`
				Image    string `json:"tracerImage"`
			}{version.Version(), session.Protocol, version.TracerImage()}
			switch output {
			case "":
				_, err := fmt.Fprintf(streams.Out, "kubectl orb8 %s (protocol %d, tracer image %s)\n", v.Version,
					v.Protocol, v.Image)
				return err
			case "json":
				return json.NewEncoder(streams.Out).Encode(v)
			}
			return usagef("--output %q: want json, or nothing", output)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "Output format: json")
	return cmd
}

func newCleanupCommand(streams genericiooptions.IOStreams) *cobra.Command {
	flags := newKubeFlags()
	var all bool
	cmd := &cobra.Command{
		Use: "cleanup", Short: "Remove what interrupted sessions left: finished Jobs, and those past their deadline",
		Args: noArgs,
		Long: `Remove tracer Jobs that are finished or past their deadline. Running sessions are not affected. Pods of
ended sessions on nodes that are not ready or deleted would stay Terminating: they are deleted without a grace period,
and listed. This needs the right to delete pods.
cleanup is rarely necessary: a tracer and its Job end within seconds of the client.`,
		Example: `  # Everywhere you may
  kubectl orb8 cleanup -A`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, namespace, err := resolveCluster(flags)
			if err != nil {
				return err
			}
			client, err := kube.NewForConfig(config)
			if err != nil {
				return err
			}
			if all {
				namespace = ""
			}
			swept, err := launch.Sweep(cmd.Context(), client, namespace, time.Now())
			for _, name := range swept {
				fmt.Fprintf(streams.Out, "job.batch %s deleted\n", name)
			}
			removed, podErr := launch.SweepPods(cmd.Context(), client, namespace, time.Now())
			for _, line := range removed {
				fmt.Fprintln(streams.Out, oneLine(line))
			}
			err = errors.Join(err, podErr)
			if len(swept)+len(removed) == 0 && err == nil {
				fmt.Fprintln(streams.ErrOut, "nothing to clean up")
			}
			return err
		},
	}
	flags.AddFlags(cmd.Flags())
	cmd.Flags().BoolVarP(&all, "all-namespaces", "A", false, "Remove those of all namespaces")
	return cmd
}
