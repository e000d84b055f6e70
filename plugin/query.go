package plugin

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/orbit"
	"github.com/orb8-dev/kubectl-orb8/plugin/live"
	"github.com/orb8-dev/kubectl-orb8/plugin/remote"
)

// queryCommand is a subcommand of query.
type queryCommand struct {
	name, kind, short string
	aliases           []string
	// example is a comment, and the flags of the command below it.
	example [2]string
}

// queryCommands lists what the installed agents can record.
var queryCommands = []queryCommand{
	{"flows", "flow", "Show who talked to whom: each flow in its last state", []string{"network", "net", "flow"},
		[2]string{"Who sent most to the database in an hour", `deploy/db -n demo --since 1h --sort-by=-bytesReceived`}},
	{"tcp", "tcp", "Show what became of TCP connections", []string{"connections"},
		[2]string{"Connections that were refused between two times",
			`-n demo --since 2026-11-30T08:00:00Z --until 2026-11-30T08:10:00Z --filter 'outcome == "refused"'`}},
	{"dns", "dns", "Show DNS queries with their answers", nil,
		[2]string{"Names that did not resolve", `-n demo --since 30m --filter 'rcode == "NXDOMAIN"'`}},
	{"drops", "drop", "Show packets that the kernel dropped", []string{"drop"},
		[2]string{"What a firewall or a NetworkPolicy dropped", `-n demo --since 1h --filter 'cause == "policy"'`}},
	{"resources", "resources", "Show what containers used and waited for", []string{"resource"},
		[2]string{"When a pod came near its memory limit", `web-0 -n demo --since 1h --filter 'memory.percent > 90'`}},
	{"gpus", "gpu", "Show what GPUs did, and for whom", []string{"gpu"},
		[2]string{"Errors of GPUs in a day", `-A --since 24h --filter 'type == "xid"'`}},
	{"execs", "exec", "Show programs that processes began, and how they ended", []string{"exec"},
		[2]string{"What the kernel killed for want of memory", `-n demo --filter 'outcome == "oom-killed"'`}},
	{"signals", "signal", "Show who sent which signal to whom", []string{"signal"},
		[2]string{"Who killed a pod's processes", `web-0 -n demo --filter 'signal == "SIGKILL"'`}},
	{"syscalls", "syscall", "Show system calls", []string{"syscall"},
		[2]string{"The slowest calls of a pod", `web-0 -n demo --since 5m --sort-by=-durationNanos`}},
}

// queryOptions are the flags of query, as the user gave them.
type queryOptions struct {
	outputOptions
	periodOptions
	pastTargets
	last        int
	aggregateBy string
}

func (o *queryOptions) bind(flags *pflag.FlagSet) {
	o.outputOptions.bind(flags)
	o.pastTargets.bind(flags)
	o.periodOptions.bind(flags, "10m", "")
	flags.StringVar(&o.aggregateBy, "aggregate-by", "", "Show sums of flows by fields (src.namespace,dst.service,"+
		"dst.port) instead of the flows, the largest first")
	flags.IntVar(&o.last, "last", 0, "Show only the newest N of all nodes together (0: all)")
}

func newQueryCommand(streams genericiooptions.IOStreams) *cobra.Command {
	query := &cobra.Command{
		Use:   "query KIND [POD | KIND/NAME ...]",
		Short: "Show past events from the records of the installed agents",
		Long: `Show past events from the records of the agents of "kubectl orb8 install". Names, filters and
formats are those of trace. The closing lines say which nodes the answer covers, how far back they reach and what was
lost.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		Example: `  # Who talked to the database in the last ten minutes
  kubectl orb8 query flows -n demo --since 10m --filter 'dst.pod == "db-0"'

  # Which workloads sent most to which Services
  kubectl orb8 query flows -A --since 1h --aggregate-by src.namespace,src.workload,dst.service

  # The last 20 failed lookups of all namespaces that you may see
  kubectl orb8 query dns -A --last 20 --filter 'rcode != "NOERROR"'`,
	}
	for _, q := range queryCommands {
		o := &queryOptions{outputOptions: outputOptions{streams: streams},
			pastTargets: pastTargets{kube: newKubeFlags()}}
		sub := &cobra.Command{
			Use: q.name + " [POD | KIND/NAME ...]", Short: q.short, Aliases: q.aliases,
			Example: fmt.Sprintf("  # The newest 100 of a namespace\n  kubectl orb8 query %s -n demo --last 100\n\n"+
				"  # %s\n  kubectl orb8 query %[1]s %[3]s", q.name, q.example[0], q.example[1]),
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
		if q.kind != "flow" {
			_ = sub.Flags().MarkHidden("aggregate-by") // there is this flag
		}
		query.AddCommand(sub)
	}
	return query
}

// queryConfig is a query with every flag resolved; nothing is contacted yet.
type queryConfig struct {
	*queryOptions
	// kind is selected, shown is printed.
	kind, shown *event.Kind
	form        remote.Form
	request     *orbit.QueryRequest
	installation
}

func (o *queryOptions) complete(kind string, now time.Time) (*queryConfig, error) {
	c := &queryConfig{queryOptions: o, kind: event.KindByName(kind)}
	r := &orbit.QueryRequest{Protocol: orbit.Protocol, Last: uint32(max(o.last, 0))}
	var err error
	if o.last < 0 || o.last > orbit.MaxLast {
		return nil, usagef("--last %d: want 0 to %d", o.last, orbit.MaxLast)
	}
	if err = o.periodOptions.complete(r, now); err != nil {
		return nil, err
	}
	if err = o.pastTargets.check(); err != nil {
		return nil, err
	}
	if _, err := o.compile([]*event.Kind{c.kind}); err != nil {
		return nil, err
	}
	if err = c.aggregate(); err != nil {
		return nil, err
	}
	if _, err := o.open([]*event.Kind{c.shown}, ""); err != nil {
		return nil, usage(err)
	}
	if c.installation, err = o.connect(); err != nil {
		return nil, err
	}
	r.Selection = o.selection(c.viewed)
	r.Selection.Kinds, r.Selection.Filter = []string{kind}, o.filter
	c.request = r
	return c, nil
}

// aggregate sets the form of the answer.
func (c *queryConfig) aggregate() error {
	c.shown, c.form = c.kind, remote.Form{Flows: c.kind.Name == "flow"}
	switch {
	case c.aggregateBy == "":
		return nil
	case !c.form.Flows:
		return usagef("--aggregate-by: only flows have sums: query flows --aggregate-by %s", c.aggregateBy)
	}
	by, err := event.NewGrouping(strings.Split(strings.ReplaceAll(c.aggregateBy, " ", ""), ","))
	if err != nil {
		return usagef("--aggregate-by %s: %w", c.aggregateBy, err)
	}
	c.shown, c.form.AggregateBy, c.keys = event.KindByName("flowSum"), by.Names(), by.Names()
	return nil
}

// run asks a server and prints its answer.
func (c *queryConfig) run(parent context.Context) error {
	past := &pastConfig{streams: c.streams, client: c.client, rest: c.rest, installNamespace: c.installNamespace,
		request: c.request, form: c.form, failOnLoss: c.failOnLoss, command: "a query"}
	return past.run(parent, func(r *reporter) (live.Consumer, error) {
		printer, err := c.open([]*event.Kind{c.shown}, c.viewed)
		if err != nil {
			return nil, err
		}
		f, err := c.compile([]*event.Kind{c.kind})
		if err != nil {
			return nil, err
		}
		return newView(intake{reporter: r, filter: f}, printer, c.showStatus()), nil
	})
}
