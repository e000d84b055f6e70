package plugin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/orb8-dev/kubectl-orb8/deploy"
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/orbit"
	"github.com/orb8-dev/kubectl-orb8/event/safe"
	"github.com/orb8-dev/kubectl-orb8/internal/plural"
	"github.com/orb8-dev/kubectl-orb8/plugin/door"
	"github.com/orb8-dev/kubectl-orb8/plugin/live"
	"github.com/orb8-dev/kubectl-orb8/plugin/remote"
)

// queryCommand is a subcommand of query.
type queryCommand struct {
	name, kind, short string
	aliases           []string
}

// queryCommands lists what the installed agents can record.
var queryCommands = []queryCommand{
	{"flows", "flow", "Show who talked to whom: each flow in its last state", []string{"network", "net", "flow"}},
	{"tcp", "tcp", "Show what became of TCP connections", []string{"connections"}},
	{"dns", "dns", "Show DNS queries with their answers", nil},
	{"drops", "drop", "Show packets that the kernel dropped", []string{"drop"}},
	{"resources", "resources", "Show what containers used and waited for", []string{"resource"}},
	{"gpus", "gpu", "Show what GPUs did, and for whom", []string{"gpu"}},
	{"execs", "exec", "Show programs that processes began, and how they ended", []string{"exec"}},
	{"signals", "signal", "Show who sent which signal to whom", []string{"signal"}},
	{"syscalls", "syscall", "Show system calls", []string{"syscall"}},
}

// queryOptions are the flags of query, as the user gave them.
type queryOptions struct {
	outputOptions
	kube *genericclioptions.ConfigFlags
	installNamespace,
	selector, container, node string
	names         []string
	allNamespaces bool
	since, until  string
	last          int
}

func (o *queryOptions) bind(flags *pflag.FlagSet) {
	o.kube.AddFlags(flags)
	o.outputOptions.bind(flags)
	flags.StringVar(&o.installNamespace, "orb8-namespace", deploy.DefaultNamespace,
		"Namespace that orb8 is installed in")
	flags.BoolVarP(&o.allNamespaces, "all-namespaces", "A", false, "Show the pods of all namespaces that you may see")
	flags.StringVarP(&o.selector, "selector", "l", "", "Show pods with these labels (key=value, !=, in, notin)")
	flags.StringVarP(&o.container, "container", "c", "", "Show only containers of this name")
	flags.StringVar(&o.node, "node", "", "Show only pods on this node")
	flags.StringVar(&o.since, "since", "10m", "How far back (10m), or since when (2026-11-30T08:00:00Z)")
	flags.StringVar(&o.until, "until", "", "Up to how long ago (5m), or until when (2026-11-30T08:10:00Z); default now")
	flags.IntVar(&o.last, "last", 0, "Show only the newest N of all nodes together (0: all)")
}

func newQueryCommand(streams genericiooptions.IOStreams) *cobra.Command {
	query := &cobra.Command{
		Use:   "query KIND [POD | KIND/NAME ...]",
		Short: "Show events of the past, which the installed agents have recorded",
		Long: `Show events of the past, which the agents of "kubectl orb8 install" have recorded. Names, filters and
formats are those of trace. The closing lines say which nodes the answer covers, how far back they reach and what was
lost.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		Example: `  # Who talked to the database in the last ten minutes
  kubectl orb8 query flows -n demo --since 10m --filter 'dst.pod == "db-0"'

  # The last 20 failed lookups of all namespaces that you may see
  kubectl orb8 query dns -A --last 20 --filter 'rcode != "NOERROR"'`,
	}
	for _, q := range queryCommands {
		o := &queryOptions{outputOptions: outputOptions{streams: streams}, kube: genericclioptions.NewConfigFlags(true)}
		sub := &cobra.Command{
			Use: q.name + " [POD | KIND/NAME ...]", Short: q.short, Aliases: q.aliases,
			Example: "  # The newest 100 of a namespace\n  kubectl orb8 query " + q.name + " -n demo --last 100",
			RunE: func(cmd *cobra.Command, names []string) error {
				o.names = names
				c, err := o.complete(q.kind, time.Now())
				if err != nil {
					return err
				}
				return c.run(cmd.Context())
			},
		}
		o.bind(sub.Flags())
		query.AddCommand(sub)
	}
	return query
}

// queryConfig is a query with every flag resolved; nothing is contacted yet.
type queryConfig struct {
	*queryOptions
	kind    *event.Kind
	request *orbit.QueryRequest
	rest    *rest.Config
	client  kubernetes.Interface
	viewed  string // the namespace that tables omit; empty: several are shown
}

func (o *queryOptions) complete(kind string, now time.Time) (*queryConfig, error) {
	c := &queryConfig{queryOptions: o, kind: event.KindByName(kind)}
	r := &orbit.QueryRequest{Protocol: orbit.Protocol, Last: uint32(max(o.last, 0))}
	var err error
	if o.last < 0 || o.last > orbit.MaxLast {
		return nil, usagef("--last %d: want 0 to %d", o.last, orbit.MaxLast)
	}
	if r.Ago, r.Since, err = instant("since", o.since); err != nil {
		return nil, err
	}
	ago, until, err := instant("until", cmp.Or(o.until, "0s"))
	switch {
	case err != nil:
		return nil, err
	case ago > 0:
		until = uint64(now.Add(-time.Duration(ago)).UnixNano())
	}
	if r.Until = until; until > 0 && (r.Since >= until || r.Ago > 0 && r.Ago <= ago) {
		return nil, usagef("--until %s: is not after --since %s", o.until, o.since)
	}
	if o.selector != "" {
		if _, err := labels.Parse(o.selector); err != nil {
			return nil, usagef("--selector %q: %s", o.selector, pointAt(o.selector, err))
		}
	}
	if o.allNamespaces && len(o.names) > 0 {
		return nil, usagef("target %q: want no names together with --all-namespaces: a name means one object of one "+
			"namespace", o.names[0])
	}
	kinds := []*event.Kind{c.kind}
	if _, err := o.compile(kinds); err != nil {
		return nil, err
	}
	if _, err := o.open(kinds, ""); err != nil {
		return nil, usage(err)
	}
	var namespace string
	if c.rest, namespace, err = resolveCluster(o.kube); err != nil {
		return nil, err
	}
	c.rest.QPS, c.rest.Burst = 100, 200
	if c.client, err = kubernetes.NewForConfig(c.rest); err != nil {
		return nil, err
	}
	r.Selection = &orbit.Selection{Kinds: []string{kind}, Names: o.names, Labels: o.selector, Container: o.container,
		Node: o.node, Filter: o.filter}
	if !o.allNamespaces {
		r.Selection.Namespaces, c.viewed = []string{namespace}, namespace
	}
	c.request = r
	return c, nil
}

// instant reads how long ago, ns, or a time, ns since the Unix epoch.
func instant(flag, value string) (ago int64, at uint64, err error) {
	if d, err := time.ParseDuration(value); err == nil {
		if d < 0 {
			return 0, 0, usagef("--%s %q: want 0 or more", flag, value)
		}
		return int64(d), 0, nil
	}
	t, err := time.Parse(time.RFC3339, value)
	if err != nil || t.UnixNano() <= 0 {
		return 0, 0, usagef("--%s %q: want a duration such as 10m, or a time such as 2026-11-30T08:00:00Z", flag, value)
	}
	return 0, uint64(t.UnixNano()), nil
}

// run asks a server, prints its answer, and says what that covers.
func (c *queryConfig) run(parent context.Context) error {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	r := newReporter(c.streams.ErrOut)
	defer watchSignals(func() { cancel(live.ErrInterrupted) })()
	d := door.New(door.Options{Client: c.client, Config: c.rest, Namespace: c.installNamespace})
	conn, err := d.Dial(ctx)
	if err != nil {
		return c.explain(ctx, err)
	}
	defer func() { _ = conn.Close() }()
	result, err := remote.Query(ctx, conn, c.request, c.kind.Name == "flow", func() (live.Consumer, error) {
		printer, err := c.open([]*event.Kind{c.kind}, c.viewed)
		if err != nil {
			return nil, err
		}
		f, err := c.compile([]*event.Kind{c.kind})
		if err != nil {
			return nil, err
		}
		return newView(intake{reporter: r, filter: f}, printer, c.showStatus()), nil
	})
	if err != nil {
		return c.explain(ctx, err)
	}
	for _, line := range coverageLines(c.request.GetSelection(), result.Coverage, time.Now()) {
		r.Logf("%s", line)
	}
	r.Logf("%s", &result.Tally)
	switch {
	case result.Tally.Traced < result.Tally.Nodes:
		return &exitError{ExitSomeFailed, nil}
	case c.failOnLoss && result.Tally.Lost():
		return &exitError{ExitLost, errLost}
	}
	return nil
}

func (c *queryConfig) explain(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), live.ErrInterrupted) {
		return &exitError{ExitInterrupted, nil}
	}
	if errors.Is(err, door.ErrNotInstalled) {
		return fmt.Errorf("%w: a query needs the agents of kubectl orb8 install, which record", err)
	}
	return remote.Explain(err)
}

// coverageLines say what an answer covers: nodes that did not answer, kinds that are not recorded or not visible, the
// namespaces, and how far back it reaches.
func coverageLines(s *orbit.Selection, c *orbit.Coverage, now time.Time) (lines []string) {
	nodes := map[string]*orbit.NodeCoverage{}
	var latest *orbit.NodeCoverage // the node that reaches back least
	for _, n := range c.GetNodes() {
		nodes[n.GetNode()] = n
		if n.GetAnswer() != orbit.NodeAnswer_NODE_ANSWER_OK {
			lines = append(lines, fmt.Sprintf("%s: %s: its events are missing", n.GetNode(), n.GetMessage()))
			continue
		}
		if n.GetReach() > latest.GetReach() {
			latest = n
		}
	}
	if missing := remote.Unrecorded(s.GetKinds(), nodes); len(missing) > 0 {
		lines = append(lines, "note: the installed agents do not record "+strings.Join(missing, ", "))
	}
	if len(c.GetForbiddenKinds()) > 0 {
		lines = append(lines, "note: you may not see "+strings.Join(c.GetForbiddenKinds(), ", "))
	}
	if len(s.GetNamespaces()) == 0 && !c.GetAllNamespaces() {
		lines = append(lines, fmt.Sprintf("%s that you may see: %s", plural.Noun(len(c.GetNamespaces()), "namespace"),
			strings.Join(slices.Sorted(slices.Values(c.GetNamespaces())), ", ")))
	}
	if latest != nil {
		ago := now.Sub(time.Unix(0, int64(latest.GetReach()))).Round(time.Second)
		lines = append(lines, fmt.Sprintf("the history reaches back %v (%s)", ago, string(safe.AppendText(nil,
			latest.GetNode()))))
	}
	return lines
}
