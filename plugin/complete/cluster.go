package complete

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd/api"

	"github.com/orb8-dev/kubectl-orb8/cluster"
	"github.com/orb8-dev/kubectl-orb8/cluster/targets"
	"github.com/orb8-dev/kubectl-orb8/internal/kube"
)

// Cluster completes names of the cluster of a command.
type Cluster struct {
	// Config returns the configuration of the API server and the namespace of the command.
	Config func(cmd *cobra.Command) (*rest.Config, string, error)
	// Kubeconfig returns the kubeconfig files of the command, merged.
	Kubeconfig func(cmd *cobra.Command) (*api.Config, error)
}

const (
	// page is how many objects one request lists, and maxListed how many are completed.
	page, maxListed = 500, 5000
)

var (
	namespaces     = corev1.SchemeGroupVersion.WithResource("namespaces")
	nodes          = corev1.SchemeGroupVersion.WithResource("nodes")
	pods           = corev1.SchemeGroupVersion.WithResource("pods")
	runtimeClasses = nodev1.SchemeGroupVersion.WithResource("runtimeclasses")
)

// isSet reports whether a command has a flag, and that has a value.
func isSet(cmd *cobra.Command, flag string) bool {
	f := cmd.Flags().Lookup(flag)
	return f != nil && f.Value.String() != "" && f.Value.String() != "false"
}

// connect returns the configuration of the API server, which asks the user nothing, and the command's namespace.
func (c *Cluster) connect(cmd *cobra.Command) (*rest.Config, string, error) {
	config, namespace, err := c.Config(cmd)
	if err != nil {
		return nil, "", err
	}
	config = rest.CopyConfig(config)
	config.Timeout, config.QPS, config.WarningHandler = timeout, -1, rest.NoWarnings{}
	if config.ExecProvider != nil {
		config.ExecProvider.StdinUnavailable = true
		config.ExecProvider.StdinUnavailableMessage = "a completion asks nothing"
	}
	if isSet(cmd, "all-namespaces") {
		namespace = ""
	}
	return config, namespace, nil
}

// list calls add for the metadata of the objects of a resource, in the command's namespace where it has one.
func (c *Cluster) list(
	ctx context.Context, cmd *cobra.Command, of schema.GroupVersionResource, namespaced bool,
	add func(*metav1.PartialObjectMetadata),
) {
	config, namespace, err := c.connect(cmd)
	if err != nil {
		return
	}
	client, err := metadata.NewForConfig(config)
	if err != nil {
		return
	}
	var resource metadata.ResourceInterface = client.Resource(of)
	if namespaced {
		resource = client.Resource(of).Namespace(namespace)
	}
	o := metav1.ListOptions{Limit: page}
	for n := 0; n < maxListed; n += page {
		answer, err := resource.List(ctx, o)
		if err != nil {
			return
		}
		for i := range answer.Items {
			add(&answer.Items[i])
		}
		if o.Continue = answer.Continue; o.Continue == "" {
			return
		}
	}
}

// listNames returns the names of a resource's objects.
func (c *Cluster) listNames(
	ctx context.Context, cmd *cobra.Command, of schema.GroupVersionResource, namespaced bool,
) []string {
	var all []string
	c.list(ctx, cmd, of, namespaced, func(o *metav1.PartialObjectMetadata) { all = append(all, o.Name) })
	return names(all)
}

// Namespaces are those of the cluster, or of the kubeconfig's contexts for a user who may not list them.
func (c *Cluster) Namespaces(ctx context.Context, cmd *cobra.Command, _ []string) []string {
	if all := c.listNames(ctx, cmd, namespaces, false); len(all) > 0 {
		return all
	}
	return c.fromKubeconfig(cmd, func(k *api.Config) (all []string) {
		for _, context := range k.Contexts {
			all = append(all, context.Namespace)
		}
		return all
	})
}

// Nodes are those of the cluster.
func (c *Cluster) Nodes(ctx context.Context, cmd *cobra.Command, _ []string) []string {
	return c.listNames(ctx, cmd, nodes, false)
}

// RuntimeClasses are those of the cluster.
func (c *Cluster) RuntimeClasses(ctx context.Context, cmd *cobra.Command, _ []string) []string {
	return c.listNames(ctx, cmd, runtimeClasses, false)
}

// PodLabels are the labels of the pods, KEY=VALUE.
func (c *Cluster) PodLabels(ctx context.Context, cmd *cobra.Command, _ []string) []string {
	return c.labels(ctx, cmd, pods, true)
}

// NodeLabels are the labels of the nodes, KEY=VALUE.
func (c *Cluster) NodeLabels(ctx context.Context, cmd *cobra.Command, _ []string) []string {
	return c.labels(ctx, cmd, nodes, false)
}

func (c *Cluster) labels(
	ctx context.Context, cmd *cobra.Command, of schema.GroupVersionResource, namespaced bool,
) []string {
	all := map[string]bool{}
	c.list(ctx, cmd, of, namespaced, func(o *metav1.PartialObjectMetadata) {
		for key, value := range o.Labels {
			all[key+"="+value] = true
		}
	})
	return names(slices.Collect(maps.Keys(all)))
}

// Containers are those of the pods among the arguments, or of all pods where there is none.
func (c *Cluster) Containers(ctx context.Context, cmd *cobra.Command, args []string) []string {
	config, namespace, err := c.connect(cmd)
	if err != nil {
		return nil
	}
	client, err := kube.NewForConfig(config)
	if err != nil {
		return nil
	}
	answer, err := client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{Limit: page})
	if err != nil {
		return nil
	}
	named := func(pod *corev1.Pod) bool {
		return slices.Contains(args, pod.Name) || slices.Contains(args, "pod/"+pod.Name)
	}
	some := slices.ContainsFunc(answer.Items, func(p corev1.Pod) bool { return named(&p) })
	var all []string
	for i := range answer.Items {
		if pod := &answer.Items[i]; !some || named(pod) {
			all = append(all, targets.ContainerNames(pod)...)
		}
	}
	return names(all)
}

// Targets completes pods and KIND/NAME. It completes nothing with --all-namespaces, where names mean nothing.
func (c *Cluster) Targets(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	if isSet(cmd, "all-namespaces") {
		return nil, noFiles
	}
	of, before, typed := pods, "", word
	kind, name, slash := strings.Cut(word, "/")
	if slash {
		var known bool
		if of, known = cluster.TargetResource(kind); !known {
			return nil, noFiles
		}
		before, typed = kind+"/", name
	}
	words := Candidates(func(ctx context.Context, cmd *cobra.Command, _ []string) []string {
		return c.listNames(ctx, cmd, of, true)
	}).match(cmd, args, before, typed)
	words = slices.DeleteFunc(words, func(w string) bool { return slices.Contains(args, w) })
	if slash {
		return words, noFiles
	}
	kinds := matching(cluster.TargetKinds(isSet(cmd, "since")), "", word)
	if len(words) == 0 && len(kinds) > 0 {
		return kinds, noFiles | cobra.ShellCompDirectiveNoSpace
	}
	return append(words, kinds...), noFiles
}

// Contexts are those of the kubeconfig.
func (c *Cluster) Contexts(_ context.Context, cmd *cobra.Command, _ []string) []string {
	return c.fromKubeconfig(cmd, func(k *api.Config) []string { return slices.Collect(maps.Keys(k.Contexts)) })
}

// Clusters are those of the kubeconfig.
func (c *Cluster) Clusters(_ context.Context, cmd *cobra.Command, _ []string) []string {
	return c.fromKubeconfig(cmd, func(k *api.Config) []string { return slices.Collect(maps.Keys(k.Clusters)) })
}

// Users are those of the kubeconfig.
func (c *Cluster) Users(_ context.Context, cmd *cobra.Command, _ []string) []string {
	return c.fromKubeconfig(cmd, func(k *api.Config) []string { return slices.Collect(maps.Keys(k.AuthInfos)) })
}

func (c *Cluster) fromKubeconfig(cmd *cobra.Command, of func(*api.Config) []string) []string {
	k, err := c.Kubeconfig(cmd)
	if err != nil {
		return nil
	}
	return names(of(k))
}
