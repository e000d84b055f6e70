package plugin

import (
	"context"
	"errors"
	"io"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/orb8-dev/kubectl-orb8/event/session"
	"github.com/orb8-dev/kubectl-orb8/plugin/doctor"
	"github.com/orb8-dev/kubectl-orb8/plugin/launch"
)

func newDoctorCommand(streams genericiooptions.IOStreams) *cobra.Command {
	o := &tracerOptions{kube: newKubeFlags()}
	var node, output string
	var noHeaders, gpus bool
	var gpuFlags gpuOptions
	cmd := &cobra.Command{
		Use: "doctor", Short: "Check whether tracers can run here, and print the fix for each failure",
		Args: noArgs,
		Long: `Check your rights and whether the cluster admits a tracer, and load all probes in a tracer on each node.
The tracers are deleted afterwards. Each failure is shown with its fix. The exit code is 1 where no session can run,
3 where some nodes cannot be traced.`,
		Example: `  # All nodes, with the rights you have in namespace demo
  kubectl orb8 doctor -n demo

  # What GPUs trace gpu could read, by which library, or why not
  kubectl orb8 doctor -n ml --gpu

  # One node, as JSON
  kubectl orb8 doctor --node worker-3 -o json | jq -r 'select(.status != "ok") | [.check, .detail, .fix] | @tsv'`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "" && output != "json" {
				return usagef("--output %q: want json, or nothing", output)
			}
			c, err := o.complete()
			if err != nil {
				return err
			}
			var kinds []string
			if gpus {
				kinds = []string{"gpu"}
			}
			if c.gpu, err = gpuFlags.complete(kinds); err != nil {
				return err
			}
			c.runtimeClass = gpuFlags.class()
			if err := c.connect(o.kube); err != nil {
				return err
			}
			ctx, stop := interruptible(cmd.Context())
			defer stop()
			findings, err := c.examine(ctx, node)
			if err != nil {
				if ctx.Err() != nil {
					return &exitError{ExitInterrupted, nil}
				}
				return err
			}
			if output == "json" {
				err = doctor.WriteJSON(streams.Out, findings)
			} else {
				err = doctor.WriteTable(userTerminal().Writer(streams.Out), findings, !noHeaders)
			}
			if err != nil {
				return err
			}
			line, err := doctor.Verdict(findings)
			newReporter(streams.ErrOut).Logf("%s", line)
			switch {
			case errors.Is(err, doctor.ErrNoSession):
				return &exitError{ExitError, nil}
			case errors.Is(err, doctor.ErrSomeNodes):
				return &exitError{ExitSomeFailed, nil}
			}
			return err
		},
	}
	o.bind(cmd.Flags())
	cmd.Flags().StringVar(&node, "node", "", "Check only this node")
	cmd.Flags().BoolVar(&gpus, "gpu", false, "Also check the GPUs: driver, library, device files, as trace gpu does")
	gpuFlags.bind(cmd.Flags())
	cmd.Flags().StringVarP(&output, "output", "o", "", "Output format: json")
	cmd.Flags().BoolVar(&noHeaders, "no-headers", false, "Print no header line")
	return cmd
}

// examine runs doctor's examination in a real cluster.
func (c *tracerConfig) examine(ctx context.Context, node string) ([]doctor.Finding, error) {
	commands := map[string]string{"packet": "capture"}
	for _, t := range traceCommands {
		commands[t.kind] = "trace " + t.name
	}
	spec := c.spec()
	spec.Config = &session.Config{Gpu: c.gpu}
	config := doctor.Config{
		Host: c.rest.Host, Namespace: c.namespace, Spec: spec, Node: node, MaxNodes: c.maxNodes, Commands: commands,
		Grant: grantCommand(c.namespace, c.tracerNamespace),
	}
	return doctor.Examine(ctx, config, doctor.Dependencies{
		Client: c.client,
		Launch: func(ctx context.Context, id string) doctor.Launcher {
			return launch.New(ctx, c.client, c.tracerNamespace, id)
		},
		Log: func(ctx context.Context, pod string) (io.ReadCloser, error) {
			return launch.FollowLog(ctx, c.client, c.tracerNamespace, pod)
		},
	})
}
