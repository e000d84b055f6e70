package plugin

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/orb8-dev/kubectl-orb8/plugin/helptext"
)

// The groups of flags in help.
const (
	groupWhat   = "What to show"
	groupWhen   = "When, and for how long"
	groupHow    = "How to show it"
	groupWhere  = "Where events come from"
	groupGPU    = "GPUs on the nodes"
	groupGrant  = "What to grant"
	groupPolicy = "Admission policies"
	groupSetup  = "What to install"
	groupExport = "Metrics, export and older history"
	groupApply  = "How to apply it"
	groupFile   = "Where the file is"
	groupImages = "Images and their registry"
	groupKube   = "Cluster and user"
)

// flagTitles are the groups of flags in the order of help.
var flagTitles = []string{groupGrant, groupPolicy, groupSetup, groupExport, groupApply, groupFile, groupImages,
	groupWhat, groupWhen, groupHow, groupWhere, groupGPU, groupKube}

// FlagTitles returns the groups of flags in the order of help, for the manual pages.
func FlagTitles() []string { return slices.Clone(flagTitles) }

// flagGroups lists the flags of each group, as "FLAG", or "COMMAND --FLAG" where a command has another meaning.
var flagGroups = map[string][]string{
	groupWhat: {"all-namespaces", "namespace", "selector", "container", "node", "filter", "syscall", "errors-only",
		"min-duration", "summary", "dns-port", "group", "limit", "last", "aggregate-by", "top", "why", "gpu",
		"follow", "diff --all", "allow", "patch", "snaplen"},
	groupWhen: {"duration", "max-packets", "max-bytes", "interval", "since", "until", "before", "window", "once",
		"count", "from", "to", "speed"},
	groupHow: {"output", "no-headers", "sort-by", "graph", "record", "reverse-dns", "fail-on-loss", "answer-bytes",
		"structured-only", "format", "audit", "policy", "profile", "advise --dir", "advise --force"},
	groupWhere: {"mode", "orb8-namespace", "max-nodes", "image", "image-registry", "image-pull-policy",
		"image-pull-secret", "tracer-namespace", "tracer-resources", "tracer-labels", "tracer-annotations",
		"privileged", "read-only-cluster", "recordings", "advise --from"},
	groupGPU: {"nvml-library", "cuda-library", "gpu-runtime-class", "pod-resources"},
	groupGrant: {"rbac --user", "rbac --group", "rbac --viewer", "rbac --sensitive", "rbac --all-namespaces",
		"rbac --namespace", "rbac --orb8-namespace", "rbac --tracer-namespace"},
	groupPolicy: {"rbac --admission-policy", "rbac --image", "rbac --image-registry", "rbac --gpu",
		"rbac --gpu-runtime-class", "rbac --oldest-kernel", "rbac --tracer-labels", "rbac --tracer-annotations"},
	groupSetup: {"install --namespace", "install --image", "install --image-registry", "install --image-pull-secret",
		"install --privileged", "install --gpu-runtime-class", "history-memory", "kinds", "replicas", "node-selector",
		"aggregate-to-view", "oldest-kernel", "authority-secret"},
	groupExport: {"metrics-auth", "service-monitor", "pod-monitor", "otlp-endpoint", "otlp-protocol", "otlp-insecure",
		"otlp-signals", "otlp-metrics-interval", "otlp-kinds", "otlp-updates", "otlp-headers-secret", "otlp-ca-secret",
		"otlp-client-secret", "history-url", "history-resource"},
	groupApply:  {"install --output", "dry-run", "timeout", "force", "force-conflicts"},
	groupFile:   {"dir", "image save --output", "write", "rotate-bytes", "files", "capture --force"},
	groupImages: {"image save --image-registry", "image list --image-registry", "all", "platform", "registry-ca"},
	groupKube: {"kubeconfig", "context", "cluster", "user", "request-timeout", "server", "certificate-authority",
		"tls-server-name", "insecure-skip-tls-verify", "proxy-url", "disable-compression", "client-certificate",
		"client-key", "token", "as", "as-uid", "as-group", "as-user-extra", "cache-dir"},
}

// flagValues lists what stands for the values of flags, where that is not their type.
var flagValues = map[string][]string{
	"NAME": {"namespace", "node", "container", "context", "cluster", "user", "tracer-namespace", "orb8-namespace",
		"image-pull-secret", "authority-secret", "gpu-runtime-class", "tls-server-name", "as", "as-group",
		"otlp-headers-secret", "otlp-ca-secret", "otlp-client-secret"},
	"FILE": {"kubeconfig", "certificate-authority", "client-certificate", "client-key", "record",
		"registry-ca", "image save --output", "advise --from", "policy", "profile", "write"},
	"DIRECTORY":      {"dir", "recordings"},
	"REGISTRY":       {"image-registry"},
	"OS/ARCH,...":    {"platform"},
	"PATH":           {"nvml-library", "cuda-library", "pod-resources"},
	"FORMAT":         {"output", "graph", "format"},
	"FIELD":          {"sort-by"},
	"FIELD,...":      {"aggregate-by"},
	"EXPRESSION":     {"filter"},
	"LABELS":         {"selector"},
	"IMAGE":          {"image"},
	"URL":            {"server", "proxy-url", "history-url"},
	"ADDRESS":        {"otlp-endpoint"},
	"TIME":           {"since", "until", "before", "from", "to", "request-timeout", "otlp-updates"},
	"KIND,...":       {"kinds", "otlp-kinds"},
	"CALL,...":       {"syscall", "allow"},
	"PORT,...":       {"dns-port"},
	"KEY=VALUE":      {"as-user-extra"},
	"MODE":           {"mode", "dry-run", "metrics-auth"},
	"PROTOCOL":       {"otlp-protocol"},
	"SIGNAL,...":     {"otlp-signals"},
	"GROUP":          {"group"},
	"TOPIC":          {"top", "why"},
	"POLICY":         {"image-pull-policy"},
	"QUANTITY":       {"history-memory", "max-bytes", "rotate-bytes"},
	"VERSION":        {"oldest-kernel"},
	"UID":            {"as-uid"},
	"TOKEN":          {"token"},
	"SUBJECT":        {"viewer"},
	"NAME=VALUE,...": {"history-resource"},
}

// The groups of commands.
const (
	commandsLive    = "live"
	commandsPast    = "past"
	commandsInstall = "install"
	commandsHelp    = "help"
)

// commandGroups are the groups of commands, by the name of the command.
var commandGroups = map[string]string{
	"trace": commandsLive, "top": commandsLive, "why": commandsLive, "capture": commandsLive, "mcp": commandsLive,
	"advise": commandsLive, "query": commandsPast, "replay": commandsPast, "diff": commandsPast,
	"install": commandsInstall, "upgrade": commandsInstall, "status": commandsInstall, "uninstall": commandsInstall,
	"doctor": commandsHelp, "cleanup": commandsHelp, "rbac": commandsHelp, "image": commandsHelp,
}

// groupHelp groups commands and flags in the help of root and everything below.
func groupHelp(root *cobra.Command) {
	root.AddGroup(&cobra.Group{ID: commandsLive, Title: "See what happens now, with nothing installed"},
		&cobra.Group{ID: commandsPast, Title: "See what happened"},
		&cobra.Group{ID: commandsInstall, Title: "Record all the time"},
		&cobra.Group{ID: commandsHelp, Title: "Rights and problems"})
	groups, values := byFlag(flagGroups), byFlag(flagValues)
	eachCommand(root, func(cmd *cobra.Command) {
		if cmd.Parent() == root {
			cmd.GroupID = commandGroups[cmd.Name()]
		}
		describeFields(cmd)
		path := name(cmd)
		if path == "upgrade" {
			path = "install"
		}
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			own := path + " --" + f.Name
			parent, _, _ := strings.Cut(path, " ")
			shared := parent + " --" + f.Name
			if group := firstOf(groups, own, shared, f.Name); group != "" {
				helptext.SetGroup(f, group)
			}
			if value := firstOf(values, own, shared, f.Name); value != "" {
				helptext.SetPlaceholder(f, value)
			}
		})
	})
	helptext.Install(root, flagTitles)
}

// byFlag turns lists of flags around: the key of each flag.
func byFlag(lists map[string][]string) map[string]string {
	keys := map[string]string{}
	for key, flags := range lists {
		for _, flag := range flags {
			keys[flag] = key
		}
	}
	return keys
}
