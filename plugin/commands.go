package plugin

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/kubernetes"

	"github.com/orb8-dev/kubectl-orb8/deploy"
	"github.com/orb8-dev/kubectl-orb8/event/session"
	"github.com/orb8-dev/kubectl-orb8/internal/version"
	"github.com/orb8-dev/kubectl-orb8/plugin/launch"
)

func newVersionCommand(streams genericiooptions.IOStreams) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use: "version", Short: "Print the version, the protocol it speaks and the tracer image it starts", Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			v := struct {
				Version  string `json:"version"`
				Protocol int    `json:"protocol"`
				Image    string `json:"tracerImage"`
			}{version.Version(), session.Protocol, version.TracerImage()}
			switch output {
			case "":
				_, err := fmt.Fprintf(streams.Out, "kubectl orb8 %s (protocol %d, tracer image %s)\n", v.Version, v.Protocol, v.Image)
				return err
			case "json":
				return json.NewEncoder(streams.Out).Encode(v)
			}
			return usagef("--output %q: want json, or nothing", output)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "Output format: json")
	cmd.Flags().Bool("client", true, "Print the client's version; there is no other before agents are installed")
	return cmd
}

func newCleanupCommand(streams genericiooptions.IOStreams) *cobra.Command {
	kube := genericclioptions.NewConfigFlags(true)
	var all bool
	cmd := &cobra.Command{
		Use: "cleanup", Short: "Remove what interrupted sessions left: finished Jobs, and those past their deadline", Args: noArgs,
		Long: `Removes tracer Jobs that are finished or past their deadline. Sessions that run, yours or a colleague's, are left alone.
Pods of ended sessions on nodes that are not ready or no more, which would stay Terminating, are removed from the API without a
grace period, and named; that takes the right to delete pods.
There is rarely something to do: a tracer ends by itself within seconds of its client, and its Job with it.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, namespace, err := resolveCluster(kube)
			if err != nil {
				return err
			}
			client, err := kubernetes.NewForConfig(config)
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
	kube.AddFlags(cmd.Flags())
	cmd.Flags().BoolVarP(&all, "all-namespaces", "A", false, "Look in all namespaces")
	return cmd
}

func newRBACCommand(streams genericiooptions.IOStreams) *cobra.Command {
	kube := genericclioptions.NewConfigFlags(true)
	var user, group string
	cmd := &cobra.Command{
		Use: "rbac (--user NAME | --group NAME)", Short: "Print the least Role and RoleBinding that trace needs in a namespace", Args: noArgs,
		Example: `  # Let alice trace namespace demo
  kubectl orb8 rbac -n demo --user alice | kubectl apply -f -`,
		RunE: func(*cobra.Command, []string) error {
			kind, name := "User", user
			switch {
			case (user == "") == (group == ""):
				return usagef("want one of --user and --group")
			case group != "":
				kind, name = "Group", group
			}
			namespace, _, err := kube.ToRawKubeConfigLoader().Namespace()
			if err != nil {
				return err
			}
			quote := func(s string) string {
				b, _ := json.Marshal(s) // a JSON string is a YAML string; a Go string always marshals
				return string(b)
			}
			_, err = strings.NewReplacer(`"{{NAMESPACE}}"`, quote(namespace), `"{{KIND}}"`, quote(kind), `"{{NAME}}"`, quote(name)).
				WriteString(streams.Out, deploy.RBAC)
			return err
		},
	}
	// Only these of kubectl's flags: --user here is who the Role is for, not which of the kubeconfig's users asks.
	flags := cmd.Flags()
	flags.StringVar(kube.KubeConfig, "kubeconfig", "", "Path to the kubeconfig file")
	flags.StringVar(kube.Context, "context", "", "The kubeconfig context, for its namespace")
	flags.StringVarP(kube.Namespace, "namespace", "n", "", "The namespace to grant")
	flags.StringVar(&user, "user", "", "The user to grant it to")
	flags.StringVar(&group, "group", "", "The group to grant it to")
	return cmd
}
