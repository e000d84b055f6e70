package plugin

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/plugin/model"
)

// topCommand is what a subcommand of top shows: the topic of its name.
type topCommand struct{ name, short, example string }

var topCommands = []topCommand{
	{
		"network", "Show who uses the network most: rates, flows, failed connections, retransmits and round-trip times",
		`  # The pods of a namespace, on a screen that is kept up to date
  kubectl orb8 top network -n demo

  # Who a deployment talks to, measured for half a minute, as a table
  kubectl orb8 top network deploy/web -n demo --group peer --once --window 30s

  # Who talked to whom in ten minutes of the night, from the records of the installed agents
  kubectl orb8 top network -n demo --group peer --since 2026-11-30T03:00:00Z --until 2026-11-30T03:10:00Z

  # Who calls whom, as a picture
  kubectl orb8 top network -A --graph svg > calls.svg`,
	},
	{
		"dns", "Show which names are queried most, by whom, how long answers take and how often they fail",
		`  # Names that a namespace queries
  kubectl orb8 top dns -n demo

  # Which workload queries most names that do not exist, as JSON
  kubectl orb8 top dns -A --group workload --once --sort-by=-nxdomain -o json | jq -r '"\(.name) \(.nxdomain)"' | head`,
	},
	{
		"syscalls", "Show which system calls take the time, counted in the kernel",
		`  # What a busy pod does
  kubectl orb8 top syscalls web-0 -n demo

  # Three tables of ten seconds each
  kubectl orb8 top syscalls deploy/web -n demo --group pod --count 3 --window 10s`,
	},
	{
		"gpu", "Show what GPUs do, hold and draw, whose they are, and which are held and do nothing",
		`  # The GPUs of a training job's nodes, on a screen that is kept up to date
  kubectl orb8 top gpu job/train -n ml

  # Waste: GPUs of the whole cluster that are held and do nothing, the longest first
  kubectl orb8 top gpu -A --once --window 30s --sort-by=-idleMicros

  # What each workload has of them, as JSON
  kubectl orb8 top gpu -A --group workload --once -o json | jq -c '{name, gpus, gpuPercent, memoryUsedBytes}'`,
	},
}

const (
	// screenWindow is what a screen begins with, tableWindow what a table is of.
	screenWindow = 10 * time.Second
	tableWindow  = 5 * time.Second
)

// graphFormats are the values of --graph.
var graphFormats = []string{"dot", "mermaid", "svg"}

// topOptions are the flags of top, as the user gave them.
type topOptions struct {
	traceOptions
	rowOptions
	sinceOptions
	once  bool
	count int
	graph string
}

// rowOptions are the flags that select rows.
type rowOptions struct {
	group  string
	window time.Duration
	limit  int
}

func (o *rowOptions) bind(flags *pflag.FlagSet, groups, windows string) {
	flags.StringVar(&o.group, "group", "", groups)
	flags.DurationVar(&o.window, "window", 0, windows)
	flags.IntVar(&o.limit, "limit", 0, "Print so many rows at most, and one for all others (0: all)")
}

// rowConfig is those, resolved.
type rowConfig struct {
	topic      *model.Topic
	group      *model.Group
	window     time.Duration
	sort       *event.Column
	descending bool
	limit      int
}

// resolve validates the flags that select rows of a topic, except --window.
func (o *rowOptions) resolve(t *model.Topic, sortBy string) (*rowConfig, error) {
	c := &rowConfig{topic: t, group: t.Groups[0], limit: o.limit, sort: t.Row.Column(t.Sort), descending: true}
	if o.group != "" {
		if c.group = t.GroupByName(o.group); c.group == nil {
			return nil, usagef("--group %q: want one of %s%s", o.group, strings.Join(groupNames(t), ", "),
				didYouMean(o.group, groupNames(t)))
		}
	}
	if o.limit < 0 {
		return nil, usagef("--limit %d: want 0 or more", o.limit)
	}
	if sortBy == "" {
		return c, nil
	}
	name, descending := strings.CutPrefix(sortBy, "-")
	column, err := event.Lookup(name, t.Row)
	if err != nil {
		return nil, usagef("--sort-by: %w", err)
	}
	c.sort, c.descending = column, descending
	return c, nil
}

func (o *topOptions) bind(flags *pflag.FlagSet, t *model.Topic) {
	o.traceOptions.bind(flags)
	flags.Lookup("sort-by").Usage = fmt.Sprintf("Sort rows by a field (%s for smallest first, -%[1]s for largest)",
		t.Sort)
	flags.Lookup("sort-by").DefValue = "-" + t.Sort
	flags.Lookup("filter").Usage = "Count only events (" + strings.Join(t.Sources, ", ") +
		") for which a CEL expression holds"
	flags.Lookup("record").Usage = "Also write the counted events to this new file, for kubectl orb8 replay"
	o.rowOptions.bind(flags, "Count together by: "+strings.Join(groupNames(t), ", ")+"; the first by default",
		fmt.Sprintf("How far back rates and amounts reach: on the screen 10s (the default), 1m or 5m; for a table "+
			"any time, %v by default", tableWindow))
	o.sinceOptions.bind(flags)
	flags.BoolVar(&o.once, "once", false,
		"Print one table, of one window, and end: the default where there is no terminal")
	flags.IntVar(&o.count, "count", 0, "Print so many tables, of a window each, and end")
	if t.Name == "gpu" {
		o.gpu.bind(flags)
	}
	if t.Name == "network" {
		flags.StringVar(&o.graph, "graph", "", "Print who calls whom in one window as a graph: "+
			strings.Join(graphFormats, ", "))
	}
}

// topConfig is what a top runs on.
type topConfig struct {
	*traceConfig
	*rowConfig
	// count is how many tables are printed; 0: there is a screen.
	count int
	graph string
	// question is about the past; nil: about what happens now.
	question *pastConfig
}

func newTopCommand(streams genericiooptions.IOStreams) *cobra.Command {
	top := &cobra.Command{
		Use: "top", Short: "Show what happens most, summed by pod, workload, peer, name or call",
		Long: `Show what happens most, on a screen that is kept up to date. With --once or without a terminal, print a
table. With --since, print a table of the past, from the records of the agents of "kubectl orb8 install".`,
		Example: `  # Who uses the network most in a namespace
  kubectl orb8 top network -n demo`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	for _, what := range topCommands {
		t := model.TopicByName(what.name)
		o := &topOptions{traceOptions: traceOptions{
			outputOptions: outputOptions{streams: streams},
			tracerOptions: tracerOptions{kube: newKubeFlags()}, rows: t.Row,
		}}
		sub := &cobra.Command{
			Use: what.name + " [POD | KIND/NAME ...]", Short: what.short, Example: what.example,
			RunE: func(cmd *cobra.Command, args []string) error {
				o.names = args
				c, err := o.complete(t, cmd.Flags().Changed)
				if err != nil {
					return err
				}
				return runTop(cmd.Context(), c)
			},
		}
		o.bind(sub.Flags(), t)
		top.AddCommand(sub)
	}
	return top
}

func groupNames(t *model.Topic) (names []string) {
	for _, g := range t.Groups {
		names = append(names, g.Name)
	}
	return names
}

// complete resolves the options. What is wrong with them is a usage error.
func (o *topOptions) complete(t *model.Topic, changed func(flag string) bool) (*topConfig, error) {
	rows, err := o.resolve(t, o.sortBy)
	if err != nil {
		return nil, err
	}
	c := &topConfig{rowConfig: rows, count: o.count, graph: o.graph}
	switch {
	case o.count < 0:
		return nil, usagef("--count %d: want 1 or more", o.count)
	case o.once && o.count > 1:
		return nil, usagef("--once prints one table, --count %d as many: give one of them", o.count)
	case o.graph != "" && !slices.Contains(graphFormats, o.graph):
		return nil, usagef("--graph %q: want one of %s%s", o.graph, strings.Join(graphFormats, ", "),
			didYouMean(o.graph, graphFormats))
	case o.graph != "" && o.output != "":
		return nil, usagef("--graph is an output of its own: it does not go with --output")
	}
	past, err := o.sinceOptions.check(&o.traceOptions, changed)
	if err != nil {
		return nil, err
	}
	if c.count == 0 && (past || o.once || o.graph != "" || o.output != "" || !hasScreen(o.streams)) {
		c.count = 1
	}
	if err := c.setWindow(o.window, changed("window")); err != nil {
		return nil, err
	}
	// Rows are sorted before they are printed.
	own := o.traceOptions
	own.sortBy, own.columns = "", rows.group.Columns
	sources := t.Sources
	if t.Name == "syscalls" {
		own.syscalls.summary, sources = true, []string{"syscall"}
	}
	if past {
		own.mode, c.window = modeCluster, 0
	}
	if c.traceConfig, err = own.complete(sources...); err != nil || !past {
		return c, err
	}
	// Of a flow, the first and the last state say by how much it has grown.
	c.question, err = c.past(&o.sinceOptions, o.filter, func(time.Duration) time.Duration { return maxUpdates })
	return c, err
}

// maxUpdates is longer than any history.
const maxUpdates = 365 * 24 * time.Hour

// setWindow validates --window: a screen has fixed windows, a table any length.
func (c *topConfig) setWindow(d time.Duration, given bool) error {
	switch {
	case c.count > 0 && !given:
		c.window = tableWindow
	case c.count > 0 && d < time.Second:
		return usagef("--window %v: want 1s or more", d)
	case !given:
		c.window = screenWindow
	case c.count == 0 && !slices.Contains(model.Windows(), d):
		return usagef("--window %v: a screen has 10s, 1m, 5m, and 0 for all since its beginning; --once takes any", d)
	default:
		c.window = d
	}
	return nil
}

// asked returns the query for the flags' rows.
func (c *rowConfig) asked() model.Query {
	return model.Query{Group: c.group, Window: c.window, Sort: c.sort, Descending: c.descending, Limit: c.limit}
}

func didYouMean(word string, known []string) string {
	if near := event.Nearest(word, known); near != "" {
		return fmt.Sprintf(" (did you mean %q?)", near)
	}
	return ""
}
