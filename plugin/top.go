package plugin

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/plugin/model"
)

// topping is what a subcommand of top shows: the topic of its name.
type topping struct{ name, short, example string }

var toppings = []topping{
	{
		"network", "Show who uses the network most: rates, flows, failed connections, retransmits and round-trip times",
		`  # The pods of a namespace, on a screen that is kept up to date
  kubectl orb8 top network -n demo

  # Who a deployment talks to, measured for half a minute, as a table
  kubectl orb8 top network deploy/web -n demo --group peer --once --window 30s

  # Who calls whom, as a picture
  kubectl orb8 top network -A --graph svg > calls.svg`,
	},
	{
		"dns", "Show which names are asked for most, by whom, how long that takes and how often it fails",
		`  # Names that a namespace asks for
  kubectl orb8 top dns -n demo

  # Which workload asks most for names that do not exist, as JSON
  kubectl orb8 top dns -A --group workload --once --sort-by=-nxdomain -o json | jq -r '"\(.name) \(.nxdomain)"' | head`,
	},
	{
		"syscalls", "Show which system calls take the time, counted in the kernel",
		`  # What a busy pod does
  kubectl orb8 top syscalls web-0 -n demo

  # Three tables of ten seconds each
  kubectl orb8 top syscalls deploy/web -n demo --group pod --count 3 --window 10s`,
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
	group  string
	window time.Duration
	limit  int
	once   bool
	count  int
	graph  string
}

func (o *topOptions) bind(flags *pflag.FlagSet, t *model.Topic) {
	o.traceOptions.bind(flags)
	flags.Lookup("sort-by").Usage = fmt.Sprintf("Sort rows by a field (%s for smallest first, -%[1]s for largest)", t.Sort)
	flags.Lookup("sort-by").DefValue = "-" + t.Sort
	flags.Lookup("filter").Usage = "Count only events (" + strings.Join(t.Sources, ", ") + ") for which a CEL expression holds"
	flags.Lookup("record").Usage = "Keep the events that are counted in this new file as well, for kubectl orb8 replay"
	flags.StringVar(&o.group, "group", t.Groups[0].Name, "Count together by: "+strings.Join(groupNames(t), ", "))
	flags.DurationVar(&o.window, "window", 0, fmt.Sprintf("How far back rates and amounts reach: on the screen 10s (the default), 1m or 5m; for a table any time, %v by default", tableWindow))
	flags.IntVar(&o.limit, "limit", 0, "Print so many rows at most, and one for all others (0: all)")
	flags.BoolVar(&o.once, "once", false, "Print one table, of one window, and end: the default where there is no terminal")
	flags.IntVar(&o.count, "count", 0, "Print so many tables, of a window each, and end")
	if t.Name == "network" {
		flags.StringVar(&o.graph, "graph", "", "Print who calls whom in one window as a graph: "+strings.Join(graphFormats, ", "))
	}
}

// topConfig is what a top runs on.
type topConfig struct {
	*traceConfig
	topic      *model.Topic
	group      *model.Group
	window     time.Duration
	sort       *event.Column
	descending bool
	limit      int
	// count is how many tables are printed; 0: there is a screen.
	count int
	graph string
}

func newTopCommand(streams genericiooptions.IOStreams) *cobra.Command {
	top := &cobra.Command{
		Use: "top", Short: "Show what happens most, summed by pod, workload, peer, name or call",
		Long: `Shows what happens most: on a screen that is kept up to date, or as a table where there is no terminal or with --once.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	for _, what := range toppings {
		t := model.TopicByName(what.name)
		o := &topOptions{traceOptions: traceOptions{
			outputOptions: outputOptions{streams: streams}, tracerOptions: tracerOptions{kube: genericclioptions.NewConfigFlags(true)}, rows: t.Row,
		}}
		sub := &cobra.Command{
			Use: what.name + " [POD | KIND/NAME ...]", Short: what.short, Example: what.example,
			RunE: func(cmd *cobra.Command, args []string) error {
				o.names = args
				c, err := o.complete(t, cmd.Flags().Changed("window"))
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
func (o *topOptions) complete(t *model.Topic, windowGiven bool) (*topConfig, error) {
	c := &topConfig{topic: t, group: t.GroupByName(o.group), limit: o.limit, count: o.count, graph: o.graph}
	if c.group == nil {
		return nil, usagef("--group %q: want one of %s%s", o.group, strings.Join(groupNames(t), ", "), didYouMean(o.group, groupNames(t)))
	}
	switch {
	case o.limit < 0:
		return nil, usagef("--limit %d: want 0 or more", o.limit)
	case o.count < 0:
		return nil, usagef("--count %d: want 1 or more", o.count)
	case o.once && o.count > 1:
		return nil, usagef("--once prints one table, --count %d as many: give one of them", o.count)
	case o.graph != "" && !slices.Contains(graphFormats, o.graph):
		return nil, usagef("--graph %q: want one of %s%s", o.graph, strings.Join(graphFormats, ", "), didYouMean(o.graph, graphFormats))
	case o.graph != "" && o.output != "":
		return nil, usagef("--graph is an output of its own: it does not go with --output")
	}
	if c.count == 0 && (o.once || o.graph != "" || o.output != "" || !onTerminal(o.streams)) {
		c.count = 1
	}
	if err := c.setWindow(o.window, windowGiven); err != nil {
		return nil, err
	}
	if err := c.setSort(o.sortBy); err != nil {
		return nil, err
	}
	// Rows are sorted before they are printed.
	own := o.traceOptions
	own.sortBy = ""
	sources := t.Sources
	if t.Name == "syscalls" {
		own.syscalls.summary, sources = true, []string{"syscall"}
	}
	var err error
	c.traceConfig, err = own.complete(sources...)
	return c, err
}

// setWindow judges --window: a screen has windows of its own, a table is of any time.
func (c *topConfig) setWindow(d time.Duration, given bool) error {
	switch {
	case c.count > 0 && !given:
		c.window = tableWindow
	case c.count > 0 && d < time.Second:
		return usagef("--window %v: want 1s or more", d)
	case !given:
		c.window = screenWindow
	case c.count == 0 && !slices.Contains(model.Windows, d):
		return usagef("--window %v: a screen has 10s, 1m, 5m, and 0 for all since its beginning; --once takes any", d)
	default:
		c.window = d
	}
	return nil
}

func (c *topConfig) setSort(by string) error {
	if by == "" {
		c.sort, c.descending = c.topic.Row.Column(c.topic.Sort), true
		return nil
	}
	name, descending := strings.CutPrefix(by, "-")
	column, err := event.Lookup(name, c.topic.Row)
	if err != nil {
		return usagef("--sort-by: %w", err)
	}
	c.sort, c.descending = column, descending
	return nil
}

// asked asks for the rows as the flags say.
func (c *topConfig) asked() model.Query {
	return model.Query{Group: c.group, Window: c.window, Sort: c.sort, Descending: c.descending, Limit: c.limit}
}

func didYouMean(word string, known []string) string {
	if near := event.Nearest(word, known); near != "" {
		return fmt.Sprintf(" (did you mean %q?)", near)
	}
	return ""
}
