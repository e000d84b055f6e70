package plugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/orb8-dev/kubectl-orb8/deploy"
	"github.com/orb8-dev/kubectl-orb8/internal/kube"
	"github.com/orb8-dev/kubectl-orb8/internal/version"
	"github.com/orb8-dev/kubectl-orb8/plugin/install"
)

// Values of --dry-run, as kubectl has them.
const (
	dryRunNone   = "none"
	dryRunClient = "client"
	dryRunServer = "server"
)

// installOptions are the flags of install and upgrade.
type installOptions struct {
	kube    *kubeFlags
	streams genericiooptions.IOStreams
	upgrade bool

	image           string
	registry        registryOption
	pullSecrets     []string
	historyMemory   string
	kinds           []string
	replicas        int32
	nodeSelector    map[string]string
	aggregateToView bool
	metricsAuth     string
	serviceMonitor  bool
	podMonitor      bool
	oldestKernel    string
	privileged      bool
	runtimeClass    string
	authoritySecret string
	otlp            otlpOptions
	history         deploy.History

	dryRun         string
	output         string
	timeout        time.Duration
	force          bool
	forceConflicts bool
}

func newInstallCommand(streams genericiooptions.IOStreams) *cobra.Command {
	o := &installOptions{kube: newKubeFlags(), streams: streams}
	cmd := &cobra.Command{
		Use: "install", Short: "Install agents and servers, for history and for users without rights on nodes",
		Args: noArgs,
		Long: `Install orb8 in the cluster: an agent on each node, which records what its pods do, and servers, which
answer for the whole cluster and show to each user what the user may see. The namespace is orb8-system unless -n names
another one.

install can be repeated: it applies what differs, with the values that were given before, and leaves the rest as it
is. It does not change the version of an installation: upgrade does. --dry-run=client -o yaml prints the objects.
The agents have wide rights on their nodes; see docs/SECURITY.md.`,
		Example: `  # Install, and wait until all agents and servers are ready
  kubectl orb8 install

  # See first what would be installed
  kubectl orb8 install --dry-run=client -o yaml

  # More history, and no record of system resources and GPUs
  kubectl orb8 install --history-memory 128Mi --kinds flow,tcp,dns,drop`,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	o.bind(cmd.Flags())
	return cmd
}

func newUpgradeCommand(streams genericiooptions.IOStreams) *cobra.Command {
	o := &installOptions{kube: newKubeFlags(), streams: streams, upgrade: true}
	cmd := &cobra.Command{
		Use: "upgrade", Short: "Upgrade the installation to the version of this plugin, one node at a time",
		Args: noArgs,
		Long: `Upgrade the installation to the version of this plugin, with the values that were given before and those
given now. Agents are replaced one node at a time, servers one after the other, so that running commands continue.
Objects that the new version does not have are deleted.

An installation of a newer version, or of one that is no release, is changed with --force only.`,
		Example: `  kubectl orb8 upgrade`,
		RunE:    func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	o.bind(cmd.Flags())
	cmd.Flags().BoolVar(&o.force, "force", false, "Also change an installation of a newer or unknown version")
	return cmd
}

func (o *installOptions) bind(flags *pflag.FlagSet) {
	o.kube.AddFlags(flags)
	flags.Lookup("namespace").Usage = "Namespace of the installation (default: where it is, else " +
		deploy.DefaultNamespace + ")"
	defaults := deploy.Default("", version.Version(), version.Image())
	flags.StringVar(&o.image, "image", "", "Image of agents and servers (default "+version.Image()+")")
	o.registry.bind(flags)
	flags.StringSliceVar(&o.pullSecrets, "image-pull-secret", nil,
		"Secret in the installation's namespace with the registry's credentials (may be repeated)")
	flags.StringVar(&o.historyMemory, "history-memory", defaults.HistoryMemory.String(),
		"Memory that each agent keeps events in")
	flags.StringSliceVar(&o.kinds, "kinds", defaults.Kinds, "Kinds of events that agents record, of "+
		strings.Join(deploy.Kinds(), ", ")+"; arguments of exec and syscall may hold secrets")
	flags.Int32Var(&o.replicas, "replicas", defaults.Replicas, "Number of servers")
	flags.StringToStringVar(&o.nodeSelector, "node-selector", nil,
		"Labels of the nodes with agents, KEY=VALUE (default all nodes)")
	flags.BoolVar(&o.aggregateToView, "aggregate-to-view", false,
		"Let everyone with the ClusterRole view, edit or admin in a namespace see its events, except sensitive ones")
	flags.StringVar(&o.metricsAuth, "metrics-auth", deploy.MetricsAuthKubernetes, "Who may scrape metrics: kubernetes "+
		"(whom the ClusterRole orb8-metrics is bound to) or none (everyone)")
	flags.BoolVar(&o.serviceMonitor, "service-monitor", false,
		"Add ServiceMonitors, by which the Prometheus Operator scrapes agents and servers")
	flags.BoolVar(&o.podMonitor, "pod-monitor", false, "Add PodMonitors in their place")
	flags.StringVar(&o.oldestKernel, "oldest-kernel", "", "The nodes' oldest kernel, such as 5.10, for which agents "+
		"need more capabilities (default: as the nodes report)")
	flags.BoolVar(&o.privileged, "privileged", false,
		"Run agents privileged, for platforms where capabilities are not enough")
	flags.StringVar(&o.runtimeClass, "gpu-runtime-class", "",
		"RuntimeClass of agents, which provides the devices of GPUs; every selected node must have it")
	flags.StringVar(&o.authoritySecret, "authority-secret", "", "Secret with the certificate authority that servers "+
		"use, such as one of cert-manager (default: servers make their own)")
	o.otlp.bind(flags)
	flags.StringVar(&o.history.URL, "history-url", "", "Let servers read what agents no longer hold from this "+
		"VictoriaLogs; \"\" switches it off (see docs/history.md)")
	flags.StringVar(&o.history.Resource, "history-resource", "", "Attributes that the resource of records in the "+
		"store must have, NAME=VALUE with commas between, where several clusters share it")
	flags.StringVar(&o.dryRun, "dry-run", dryRunNone, "none, client (print what would be applied, without asking the "+
		"cluster) or server (let the API server check it)")
	flags.StringVarP(&o.output, "output", "o", "", "Output format: yaml, or nothing")
	flags.DurationVar(&o.timeout, "timeout", 5*time.Minute, "Time until all agents and servers must be ready")
	flags.BoolVar(&o.forceConflicts, "force-conflicts", false, "Overwrite fields that others have changed")
}

func (o *installOptions) run(cmd *cobra.Command) error {
	switch {
	case o.dryRun != dryRunNone && o.dryRun != dryRunClient && o.dryRun != dryRunServer:
		return usagef("--dry-run %q: want none, client or server", o.dryRun)
	case o.output != "" && o.output != "yaml":
		return usagef("--output %q: want yaml, or nothing", o.output)
	case o.timeout <= 0:
		return usagef("--timeout %v: want more than 0", o.timeout)
	}
	options := &install.Options{
		Defaults: deploy.Default(deploy.DefaultNamespace, version.Version(), version.Image()),
		Override: func(v *deploy.Values) error { return o.override(cmd.Flags(), v) },
		Upgrade:  o.upgrade, Force: o.force, ForceConflicts: o.forceConflicts, DryRun: o.dryRun == dryRunServer,
		Timeout: o.timeout,
	}
	if namespace := o.kube.flagNamespace(); namespace != "" {
		options.Defaults.Namespace = namespace
	}
	// Wrong flags are reported before the first request.
	values := *options.Defaults
	if err := errors.Join(options.Override(&values), wrongFlag(values.Validate())); err != nil {
		return err
	}
	if o.dryRun == dryRunClient {
		objects, err := install.Objects(&values, version.Image())
		if err != nil {
			return err
		}
		return o.print(objects, " (dry run)")
	}
	return withInstaller(cmd.Context(), o.kube, o.streams, o.output != "", func(
		ctx context.Context, i *install.Installer,
	) error {
		if err := useInstalled(ctx, i, o.kube, &options.Defaults.Namespace); err != nil {
			return err
		}
		defer noteVersion(ctx, i.Client, i.Logf)()
		objects, err := i.Install(ctx, options)
		if o.output != "" && len(objects) > 0 {
			err = errors.Join(o.print(objects, ""), err)
		}
		if rollout := (*install.RolloutError)(nil); errors.As(err, &rollout) && rollout.Ready > 0 {
			return &exitError{ExitSomeFailed, err}
		}
		return wrongFlag(err)
	})
}

// override sets the values that flags were given for.
func (o *installOptions) override(flags *pflag.FlagSet, v *deploy.Values) error {
	for flag, set := range map[string]func(){
		"image":             func() { v.Image = o.image },
		"image-pull-secret": func() { v.ImagePullSecrets = o.pullSecrets },
		"kinds":             func() { v.Kinds = o.kinds },
		"replicas":          func() { v.Replicas = o.replicas },
		"node-selector":     func() { v.NodeSelector = maps.Clone(o.nodeSelector) },
		"aggregate-to-view": func() { v.AggregateToView = o.aggregateToView },
		"metrics-auth":      func() { v.MetricsAuth = o.metricsAuth },
		"service-monitor":   func() { v.ServiceMonitor = o.serviceMonitor },
		"pod-monitor":       func() { v.PodMonitor = o.podMonitor },
		"oldest-kernel":     func() { v.OldestKernel = o.oldestKernel },
		"privileged":        func() { v.Privileged = o.privileged },
		"gpu-runtime-class": func() { v.GPURuntimeClass = o.runtimeClass },
		"authority-secret":  func() { v.AuthoritySecret = o.authoritySecret },
	} {
		if flags.Changed(flag) {
			set()
		}
	}
	image, err := o.registry.image(o.image, "", version.Image())
	if err != nil {
		return err
	}
	if image != version.Image() {
		v.Image = image
	}
	o.overrideHistory(flags, v)
	if err := o.otlp.override(flags, v); err != nil {
		return err
	}
	if !flags.Changed("history-memory") {
		return nil
	}
	memory, err := resource.ParseQuantity(o.historyMemory)
	if err != nil {
		return usagef("--history-memory %q: want a quantity such as 64Mi", o.historyMemory)
	}
	v.HistoryMemory = memory
	return nil
}

// overrideHistory sets the values of the history store that flags were given for.
func (o *installOptions) overrideHistory(flags *pflag.FlagSet, v *deploy.Values) {
	next := deploy.History{}
	if v.History != nil {
		next = *v.History
	}
	if flags.Changed("history-url") {
		next.URL = o.history.URL
	}
	if flags.Changed("history-resource") {
		next.Resource = o.history.Resource
	}
	v.History = &next
	if next.URL == "" && (flags.Changed("history-url") || next.Resource == "") {
		v.History = nil
	}
}

// valueFlags are the flags of values.
var valueFlags = map[string]string{
	"namespace": "--namespace", "image": "--image", "kinds": "--kinds", "replicas": "--replicas",
	"historyMemory": "--history-memory", "nodeSelector": "--node-selector", "oldestKernel": "--oldest-kernel",
	"authoritySecret": "--authority-secret", "metricsAuth": "--metrics-auth",
	"otlp.endpoint": "--otlp-endpoint", "otlp.protocol": "--otlp-protocol",
	"otlp.signals": "--otlp-signals", "otlp.metricsInterval": "--otlp-metrics-interval",
	"otlp.kinds": "--otlp-kinds", "otlp.updates": "--otlp-updates", "otlp.headersSecret": "--otlp-headers-secret",
	"otlp.caSecret": "--otlp-ca-secret", "otlp.clientSecret": "--otlp-client-secret",
	"history.url": "--history-url", "history.resource": "--history-resource",
}

// wrongFlag makes a wrong value a usage error that names its flag.
func wrongFlag(err error) error {
	var wrong *deploy.ValueError
	if !errors.As(err, &wrong) {
		return err
	}
	return usagef("%s %s: want %s", valueFlags[wrong.Field], wrong.Value, wrong.Want)
}

// print writes objects as YAML, or their names.
func (o *installOptions) print(objects []*unstructured.Unstructured, note string) error {
	for _, u := range objects {
		if o.output == "" {
			kind := u.GroupVersionKind().GroupKind()
			if _, err := fmt.Fprintf(o.streams.Out, "%s/%s created%s\n", strings.ToLower(kind.String()), u.GetName(),
				note); err != nil {
				return err
			}
			continue
		}
		unstructured.RemoveNestedField(u.Object, "metadata", "managedFields")
		text, err := yaml.Marshal(u.Object)
		if err != nil {
			return err
		}
		if _, err := io.WriteString(o.streams.Out, "---\n"+string(text)); err != nil {
			return err
		}
	}
	return nil
}

// waitInterval and stuckTime are those of Installers; tests shorten them.
var waitInterval, stuckTime = time.Second, 30 * time.Second

// withInstaller calls f with an Installer of the cluster. quiet: results go to stderr, since stdout has objects.
func withInstaller(
	parent context.Context, flags *kubeFlags, streams genericiooptions.IOStreams, quiet bool,
	f func(context.Context, *install.Installer) error,
) error {
	config, _, err := resolveCluster(flags)
	if err != nil {
		return err
	}
	// The objects of an installation take some dozens of requests.
	config.QPS, config.Burst = 100, 200
	config.WarningHandler = rest.NoWarnings{}
	i, err := newInstaller(config)
	if err != nil {
		return err
	}
	progress, results := newReporter(streams.ErrOut), newReporter(streams.Out)
	if quiet {
		results = progress
	}
	i.Logf, i.Resultf = progress.Logf, results.Logf
	i.Interval, i.StuckTime = waitInterval, stuckTime
	ctx, stop := interruptible(parent)
	defer stop()
	if err = f(ctx, i); ctx.Err() != nil && err != nil {
		return &exitError{ExitInterrupted, nil}
	}
	return err
}

func newInstaller(config *rest.Config) (*install.Installer, error) {
	client, err := kube.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	objects, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	lister, err := metadata.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	return &install.Installer{
		Config: config, Client: client, Dynamic: objects, Discover: install.Discover(client),
		List: install.List(lister),
	}, nil
}

// useInstalled replaces the namespace by that of the installation, unless -n names one.
func useInstalled(
	ctx context.Context, i *install.Installer, flags *kubeFlags, namespace *string,
) error {
	if named := flags.flagNamespace(); named != "" {
		*namespace = named
		return nil
	}
	found, err := i.Find(ctx)
	if err == nil && found != nil {
		*namespace = found.Namespace
	}
	return err
}
