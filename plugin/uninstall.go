package plugin

import (
	"context"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/orb8-dev/kubectl-orb8/deploy"
	"github.com/orb8-dev/kubectl-orb8/plugin/install"
)

func newUninstallCommand(streams genericiooptions.IOStreams) *cobra.Command {
	kube := newKubeFlags()
	var timeout time.Duration
	cmd := &cobra.Command{
		Use: "uninstall", Short: "Remove agents, servers and everything else of orb8 from the cluster",
		Args: noArgs,
		Long: `Remove everything that install and the servers made, also what is outside of the namespace, and the
bindings of viewers that kubectl orb8 rbac --viewer printed. uninstall waits until all of it is gone, by listing all API
resources, and fails at the end of --timeout. It can be repeated.

The namespace is deleted if install made it and it has no objects of others.`,
		Example: `  kubectl orb8 uninstall`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if timeout <= 0 {
				return usagef("--timeout %v: want more than 0", timeout)
			}
			return withInstaller(cmd.Context(), kube, streams, false, func(
				ctx context.Context, i *install.Installer,
			) error {
				namespace := deploy.DefaultNamespace
				if err := useInstalled(ctx, i, kube, &namespace); err != nil {
					return err
				}
				some, err := i.Uninstall(ctx, namespace, timeout)
				switch {
				case err != nil:
					return err
				case some:
					i.Logf("nothing of orb8 is left in the cluster")
				default:
					i.Logf("nothing of orb8 is in the cluster")
				}
				return nil
			})
		},
	}
	kube.AddFlags(cmd.Flags())
	cmd.Flags().Lookup("namespace").Usage = "Namespace of the installation (default: where it is)"
	cmd.Flags().DurationVar(&timeout, "timeout", 2*time.Minute, "Time until all objects must be gone")
	return cmd
}
