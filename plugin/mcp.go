package plugin

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/orb8-dev/kubectl-orb8/deploy"
	"github.com/orb8-dev/kubectl-orb8/internal/version"
	"github.com/orb8-dev/kubectl-orb8/plugin/mcp"
	"github.com/orb8-dev/kubectl-orb8/plugin/model"
)

// mcpOptions are the flags of mcp, as the user gave them.
type mcpOptions struct {
	tracerOptions
	installNamespace string
	agentsOnly       bool
	recordings       string
	answerBytes      int
	structuredOnly   bool
}

// The bounds of --answer-bytes. The default is some 20,000 tokens.
const minAnswerBytes, defaultAnswerBytes, maxAnswerBytes = 4 << 10, 64 << 10, 1 << 20

func newMCPCommand(streams genericiooptions.IOStreams) *cobra.Command {
	o := &mcpOptions{tracerOptions: tracerOptions{kube: newKubeFlags()}}
	cmd := &cobra.Command{
		Use: "mcp", Args: noArgs,
		Short: "Serve AI assistants over the Model Context Protocol, on standard input and output",
		Long: `Serve an AI assistant, which starts this command and speaks the Model Context Protocol with it on its
standard input and output. Its tools are the commands why, top, trace, query, diff, status, doctor and replay, with
the rights of your kubeconfig. They only observe. Text from the cluster is marked as untrusted data.`,
		Example: `  # What an assistant starts, restricted to one namespace of one cluster
  kubectl orb8 mcp --context staging -n demo

  # The same, and the recordings of a directory
  kubectl orb8 mcp --context staging -n demo --recordings ~/incidents

  # Ask installed agents only, and never start a tracer
  kubectl orb8 mcp --read-only-cluster`,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd, streams) },
	}
	flags := cmd.Flags()
	o.bind(flags)
	flags.Lookup("namespace").Usage = "The only namespace that tools may name (default: any that you may see, " +
		"and the context's where a call names none)"
	flags.StringVar(&o.installNamespace, "orb8-namespace", deploy.DefaultNamespace,
		"Namespace that orb8 is installed in")
	flags.BoolVar(&o.agentsOnly, "read-only-cluster", false, "Ask installed agents only, and start no tracers")
	flags.StringVar(&o.recordings, "recordings", "",
		"Directory with recordings that the assistant may read (default: none, and no tool replay)")
	flags.IntVar(&o.answerBytes, "answer-bytes", defaultAnswerBytes, "Size of an answer's rows at most, in bytes")
	flags.BoolVar(&o.structuredOnly, "structured-only", false, "Do not repeat the structured content of answers as "+
		"text, for assistants that get both")
	return cmd
}

// mcpTracerFlags are those that only tracers have. They do not go with --read-only-cluster, and not with the past.
var mcpTracerFlags = []string{"image", "image-registry", "image-pull-policy", "image-pull-secret", "tracer-namespace",
	"tracer-resources", "tracer-labels", "tracer-annotations", "privileged", "max-nodes"}

func (o *mcpOptions) run(cmd *cobra.Command, streams genericiooptions.IOStreams) error {
	if o.answerBytes < minAnswerBytes || o.answerBytes > maxAnswerBytes {
		return usagef("--answer-bytes %d: want %d to %d", o.answerBytes, minAnswerBytes, maxAnswerBytes)
	}
	if _, err := o.tracerOptions.complete(); err != nil {
		return err
	}
	for _, flag := range mcpTracerFlags {
		if o.agentsOnly && cmd.Flags().Changed(flag) {
			return usagef("--%s: only tracers have it, and --read-only-cluster starts none", flag)
		}
	}
	if isTerminal(streams.In) {
		return usagef("mcp is for AI assistants, which start it and speak with it: docs/mcp.md has configurations")
	}
	own, err := o.pinned(cmd)
	if err != nil {
		return err
	}
	config := mcp.Config{
		Version: version.Version(), Namespace: o.kube.flagNamespace(), AgentsOnly: o.agentsOnly,
		MaxBytes: o.answerBytes, StructuredOnly: o.structuredOnly,
		Trace: traceTopics(), Top: topTopics(), Why: whyTopics(), Query: queryTopics(),
	}
	if o.recordings != "" {
		if config.Recordings, err = mcp.OpenRecordings(o.recordings); err != nil {
			return fmt.Errorf("--recordings: %w", err)
		}
		defer func() { _ = config.Recordings.Close() }()
	}
	config.Run = func(ctx context.Context, c *mcp.Command) mcp.Outcome { return o.runCommand(ctx, own, c) }

	ctx, cancel := context.WithCancel(cmd.Context())
	defer cancel()
	defer watchInterrupts(ctx, cancel)()
	return mcp.New(config).Serve(ctx, streams.In, streams.Out)
}

// runCommand runs a command of the plugin in this process.
func (o *mcpOptions) runCommand(ctx context.Context, own []ownFlag, c *mcp.Command) mcp.Outcome {
	root := newRoot(genericiooptions.IOStreams{In: c.In, Out: c.Out, ErrOut: c.ErrOut})
	cmd, _, err := root.Find(c.Words)
	if err != nil {
		return mcp.Outcome{Code: ExitError, Error: err.Error()}
	}
	args := slices.Clone(c.Words)
	for _, f := range own {
		args = append(args, f.forCommand(cmd, c.FromInstalledAgents)...)
	}
	if o.agentsOnly && cmd.Flags().Lookup("mode") != nil {
		args = append(args, "--mode="+modeCluster)
	}
	args = append(args, c.Flags...)
	root.SetArgs(append(append(args, "--"), c.Args...))
	code, message := execute(withInterrupt(ctx, c.Interrupt), root)
	return mcp.Outcome{Code: code, Error: message}
}

// ownFlag is a flag of the mcp command that was set, for the commands that it runs.
type ownFlag struct {
	name   string
	values []string
}

// pinned returns the flags that were set, and the context: who selects another one in the kubeconfig does not mean the
// assistant's cluster.
func (o *mcpOptions) pinned(cmd *cobra.Command) ([]ownFlag, error) {
	own := ownFlags(cmd)
	file, err := o.kube.rules().Load()
	if err != nil {
		return nil, err
	}
	if file.CurrentContext != "" && !cmd.Flags().Changed("context") {
		own = append(own, ownFlag{"context", []string{file.CurrentContext}})
	}
	return own, nil
}

// ownFlags returns the flags that were set.
func ownFlags(cmd *cobra.Command) (own []ownFlag) {
	cmd.Flags().Visit(func(f *pflag.Flag) {
		values := []string{f.Value.String()}
		switch f.Value.Type() {
		case "stringArray":
			values, _ = cmd.Flags().GetStringArray(f.Name) // it is one
		case "stringSlice":
			values, _ = cmd.Flags().GetStringSlice(f.Name)
		case "stringToString":
			pairs, _ := cmd.Flags().GetStringToString(f.Name)
			values = nil
			for key, value := range pairs {
				values = append(values, key+"="+value)
			}
		}
		own = append(own, ownFlag{f.Name, values})
	})
	return own
}

// forCommand returns the flag for a command; nothing where that has none of this name.
func (f ownFlag) forCommand(cmd *cobra.Command, past bool) (args []string) {
	name := f.name
	switch {
	case past && slices.Contains(mcpTracerFlags, name):
		return nil
	case cmd.Name() != "status":
	case name == "namespace": // of the target pods
		return nil
	case name == "orb8-namespace":
		name = "namespace"
	}
	if cmd.Flags().Lookup(name) == nil {
		return nil
	}
	for _, value := range f.values {
		args = append(args, "--"+name+"="+value)
	}
	return args
}

// traceTopics and the like are what the tools of mcp are about.
func traceTopics() (topics []mcp.Topic) {
	for i := range traceCommands {
		t := &traceCommands[i]
		topics = append(topics, mcp.Topic{Name: t.name, Words: []string{"trace", t.name}, Kind: t.kind})
	}
	return topics
}

func topTopics() (topics []mcp.Topic) {
	for _, t := range topCommands {
		topics = append(topics, mcp.Topic{Name: t.name, Words: []string{"top", t.name},
			Kind: model.TopicByName(t.name).Row.Name})
	}
	return topics
}

func whyTopics() (topics []mcp.Topic) {
	for _, of := range subjects {
		topics = append(topics, mcp.Topic{Name: of.name, Words: strings.Fields(of.command), Kind: of.rows,
			Follows: of == whyPods})
	}
	return topics
}

func queryTopics() (topics []mcp.Topic) {
	for i := range queryCommands {
		q := &queryCommands[i]
		topics = append(topics, mcp.Topic{Name: q.name, Words: []string{"query", q.name}, Kind: q.kind})
	}
	return topics
}
