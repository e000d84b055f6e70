package plugin

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd/api"

	"github.com/orb8-dev/kubectl-orb8/deploy"
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/calls"
	"github.com/orb8-dev/kubectl-orb8/plugin/complete"
	"github.com/orb8-dev/kubectl-orb8/plugin/launch"
	"github.com/orb8-dev/kubectl-orb8/plugin/model"
	"github.com/orb8-dev/kubectl-orb8/plugin/render"
)

// addCompletions makes the values of all flags and all arguments below root complete.
func addCompletions(root *cobra.Command) {
	cluster := &complete.Cluster{
		Config: func(cmd *cobra.Command) (*rest.Config, string, error) { return resolveCluster(givenKubeFlags(cmd)) },
		Kubeconfig: func(cmd *cobra.Command) (*api.Config, error) {
			return givenKubeFlags(cmd).rules().Load()
		},
	}
	flags := flagCompletions(cluster)
	eachCommand(root, func(cmd *cobra.Command) {
		if cmd.ValidArgsFunction == nil {
			cmd.ValidArgsFunction = argumentCompletion(cmd, cluster)
		}
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			function := firstOf(flags, name(cmd)+" --"+f.Name, "--"+f.Name)
			if function == nil && slices.Contains(freeText, f.Name) {
				function = complete.Nothing
			}
			if _, has := cmd.GetFlagCompletionFunc(f.Name); function != nil && !has {
				_ = cmd.RegisterFlagCompletionFunc(f.Name, function) // the flag exists, and has none yet
			}
		})
	})
}

// eachCommand calls f for a command and all of its subcommands.
func eachCommand(cmd *cobra.Command, f func(*cobra.Command)) {
	f(cmd)
	for _, sub := range cmd.Commands() {
		eachCommand(sub, f)
	}
}

// firstOf returns what a list has under the first of the keys that it has.
func firstOf[V any](list map[string]V, keys ...string) (v V) {
	for _, key := range keys {
		if v, found := list[key]; found {
			return v
		}
	}
	return v
}

// name is that of a command below kubectl orb8: "trace network".
func name(cmd *cobra.Command) string {
	return strings.TrimPrefix(strings.TrimPrefix(cmd.CommandPath(), cmd.Root().CommandPath()), " ")
}

// freeText lists flags whose values nobody can guess: numbers, times, addresses, names of things that do not exist yet.
var freeText = []string{
	"answer-bytes", "as", "as-group", "as-uid", "as-user-extra", "authority-secret", "before", "cache-dir", "count",
	"cuda-library", "dns-port", "duration", "files", "from", "group", "history-memory", "history-resource",
	"history-url", "image", "image-pull-secret", "image-registry", "interval", "last", "limit", "max-bytes",
	"max-nodes", "max-packets", "min-duration", "nvml-library", "oldest-kernel", "otlp-ca-secret",
	"otlp-client-secret", "otlp-endpoint", "otlp-headers-secret", "otlp-metrics-interval", "otlp-updates",
	"pod-resources", "proxy-url", "replicas", "request-timeout", "rotate-bytes", "server", "since", "snaplen",
	"speed", "timeout", "tls-server-name", "to", "token", "tracer-annotations", "tracer-labels", "tracer-resources",
	"until", "window",
}

// flagCompletions are the completions of flags, by "--FLAG", and "COMMAND --FLAG" where that differs.
func flagCompletions(c *complete.Cluster) map[string]complete.Func {
	one, list := complete.One, complete.List
	words := func(all ...string) complete.Func { return one(complete.Words(all...)) }
	kinds := list(complete.Words(deploy.Kinds()...))
	syscalls := list(complete.Words(append(calls.Groups(), calls.Names()...)...))
	runtimeClass := one(complete.Join(complete.Words("none\tno RuntimeClass"), c.RuntimeClasses))
	all := map[string]complete.Func{
		"--context": one(c.Contexts), "--cluster": one(c.Clusters), "--user": one(c.Users),
		"--kubeconfig": complete.Files, "--certificate-authority": complete.Files, "--registry-ca": complete.Files,
		"--client-certificate": complete.Files, "--client-key": complete.Files, "--record": complete.Files,
		"--write": complete.Files,
		"--dir":   complete.Directories, "--recordings": complete.Directories,

		"--namespace": one(c.Namespaces), "--tracer-namespace": one(c.Namespaces),
		"--orb8-namespace": one(c.Namespaces), "--node": one(c.Nodes), "--container": one(c.Containers),
		"--selector": list(c.PodLabels), "--node-selector": list(c.NodeLabels), "--gpu-runtime-class": runtimeClass,

		"--filter": complete.Filter(eventKinds), "--sort-by": complete.SortBy(shownKinds),
		"--aggregate-by": list(complete.Words(event.GroupFields()...)),
		"--syscall":      syscalls, "--allow": syscalls, "--profile": complete.Files,
		"advise seccomp --output": words("json"), "advise resources --output": words("json"),
		"advise seccomp --from": complete.Files, "advise resources --from": complete.Files,

		"--mode": words(modeAuto+"\tagents where they can answer, else tracers", modeEphemeral+"\tstart tracers",
			modeCluster+"\task the installed agents"),
		"--image-pull-policy": words("Always", "IfNotPresent", "Never"), "--graph": words(graphFormats...),
		"--top": words(topicNames()...), "--why": words(subjectNames()...),
		"--dry-run": words(dryRunNone, dryRunClient, dryRunServer), "--kinds": kinds, "--otlp-kinds": kinds,
		"--metrics-auth":  words(deploy.MetricsAuthKubernetes, deploy.MetricsAuthNone),
		"--otlp-protocol": words("grpc", "http"), "--otlp-signals": list(complete.Words("logs", "metrics")),

		"--output": complete.Output(render.Formats(), shownKinds), "install --output": words("yaml"),
		"upgrade --output": words("yaml"), "status --output": words("json"), "doctor --output": words("json"),
		"advise networkpolicy --from": complete.Files, "--policy": complete.Files,
		"advise networkpolicy --output": words("yaml", "json"),
		"--format":                      words(formatNetworkPolicy, formatCilium+"\twith names of hosts"),
		"version --output":              words("json"), "image list --output": words("name"),
		"image save --output": complete.Files, "--platform": list(complete.Words("linux/amd64", "linux/arm64")),

		"capture --filter": words("tcp port", "udp port", "port", "host", "net", "icmp", "icmp6"),
		"rbac --user":      complete.Nothing, "rbac --viewer": words("user:", "group:", "sa:"),
		"replay --group": func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
			if t := model.TopicByName(flagValue(cmd, "top")); t != nil {
				return words(groupNames(t)...)(cmd, args, word)
			}
			return complete.Nothing(cmd, args, word)
		},
	}
	automatic := one(complete.Join(complete.Words(launch.RuntimeClassAuto+"\tnvidia, where the cluster has it",
		"none\tno RuntimeClass"), c.RuntimeClasses))
	for _, command := range []string{"trace", "trace gpu", "top gpu", "why gpu", "doctor"} {
		all[command+" --gpu-runtime-class"] = automatic
	}
	for _, t := range model.Topics() {
		all["top "+t.Name+" --group"] = words(groupNames(t)...)
		all["top "+t.Name+" --window"] = words("10s", "1m", "5m")
	}
	return all
}

// argumentCompletion returns the completion of a command's arguments.
func argumentCompletion(cmd *cobra.Command, c *complete.Cluster) complete.Func {
	path := name(cmd)
	parent, _, isSub := strings.Cut(path, " ")
	switch {
	case path == "trace":
		return func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return c.Targets(cmd, args[1:], word)
			}
			if !strings.Contains(word, ",") {
				return nil, cobra.ShellCompDirectiveNoFileComp // the subcommands are completed without this
			}
			return complete.List(complete.Words(traceNames()...))(cmd, args, word)
		}
	case isSub && slices.Contains([]string{"trace", "top", "why", "query", "advise"}, parent):
		return c.Targets
	case path == "capture":
		return c.Targets
	case path == "replay":
		return func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return complete.Nothing(cmd, args, word)
			}
			return complete.Files(cmd, args, word)
		}
	case path == "diff":
		return func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
			switch {
			case cmd.Flags().Changed("before"):
				return c.Targets(cmd, args, word)
			case len(args) < 2:
				return complete.Files(cmd, args, word)
			}
			return complete.Nothing(cmd, args, word)
		}
	}
	return complete.Nothing
}

// traceNames are the names of what can be traced.
func traceNames() (names []string) {
	for i := range traceCommands {
		names = append(names, traceCommands[i].name)
	}
	return names
}

// flagValue is the value of a flag of a command; empty: it has no such flag.
func flagValue(cmd *cobra.Command, flag string) string {
	if f := cmd.Flags().Lookup(flag); f != nil {
		return f.Value.String()
	}
	return ""
}

// givenKubeFlags are the flags for the cluster and the user that a command line has so far.
func givenKubeFlags(cmd *cobra.Command) *kubeFlags {
	k := newKubeFlags()
	own := pflag.NewFlagSet("", pflag.ContinueOnError)
	k.AddFlags(own)
	cmd.Flags().Visit(func(f *pflag.Flag) {
		target := own.Lookup(f.Name)
		switch {
		case target == nil, name(cmd) == "rbac" && f.Name == "user": // the subject of a Role
		case f.Value.Type() == "stringArray":
			given, _ := cmd.Flags().GetStringArray(f.Name) // it is one
			for _, value := range given {
				_ = target.Value.Set(value) // a string array takes any text
			}
		default:
			_ = target.Value.Set(f.Value.String()) // it is the value of such a flag
		}
	})
	return k
}

// eventKinds are the kinds that a command's filter is about, shownKinds those that it prints.
func eventKinds(cmd *cobra.Command, args []string) []*event.Kind {
	path := name(cmd)
	parent, sub, _ := strings.Cut(path, " ")
	switch parent {
	case "top":
		if t := model.TopicByName(sub); t != nil {
			return kindsNamed(t.Sources)
		}
	case "why":
		if sub == "gpu" {
			return kindsNamed([]string{whyGPUs.rows})
		}
		return kindsNamed([]string{whyPods.rows})
	case "diff":
		return kindsNamed([]string{"difference"})
	case "replay":
		if s := subjectByName(flagValue(cmd, "why")); s != nil {
			return kindsNamed([]string{s.rows})
		}
		return kindsNamed(nil)
	case "query":
		i := slices.IndexFunc(queryCommands, func(q queryCommand) bool { return q.name == sub })
		if i >= 0 {
			return kindsNamed([]string{queryCommands[i].kind})
		}
	case "trace":
		if sub == "" && len(args) > 0 {
			sub = args[0]
		}
		kinds, err := parseKinds(cmd, sub)
		if err != nil {
			return kindsNamed(nil)
		}
		if i := slices.Index(kinds, "syscall"); i >= 0 && flagValue(cmd, "summary") == "true" {
			kinds[i] = "syscallSummary"
		}
		return kindsNamed(kinds)
	}
	return nil
}

func shownKinds(cmd *cobra.Command, args []string) []*event.Kind {
	path := name(cmd)
	topic := flagValue(cmd, "top")
	if sub, isTop := strings.CutPrefix(path, "top "); isTop {
		topic = sub
	}
	if t := model.TopicByName(topic); t != nil {
		return []*event.Kind{t.Row}
	}
	if flagValue(cmd, "aggregate-by") != "" {
		return kindsNamed([]string{"flowSum"})
	}
	return eventKinds(cmd, args)
}

// kindsNamed returns the kinds with these names, or all kinds of events for nil.
func kindsNamed(names []string) (kinds []*event.Kind) {
	for _, k := range event.Kinds() {
		if names == nil && !k.Row || slices.Contains(names, k.Name) {
			kinds = append(kinds, k)
		}
	}
	return kinds
}
