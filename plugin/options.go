package plugin

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/orb8-dev/kubectl-orb8/cluster"
	"github.com/orb8-dev/kubectl-orb8/deploy"
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/session"
	"github.com/orb8-dev/kubectl-orb8/filter"
	"github.com/orb8-dev/kubectl-orb8/plugin/advice"
	"github.com/orb8-dev/kubectl-orb8/plugin/launch"
	"github.com/orb8-dev/kubectl-orb8/plugin/live"
	"github.com/orb8-dev/kubectl-orb8/plugin/render"
)

// traceOptions are the flags of trace, as the user gave them.
type traceOptions struct {
	outputOptions
	tracerOptions
	modeOptions

	names         []string
	allNamespaces bool
	selector      string
	container     string
	node          string

	duration   time.Duration
	interval   time.Duration
	reverseDNS bool
	record     string
	dnsPorts   []uint
	syscalls   syscallOptions
	gpu        gpuOptions
	// rows is the kind of what is printed where that is not the events.
	rows *event.Kind
}

func (o *traceOptions) bind(flags *pflag.FlagSet) {
	o.outputOptions.bind(flags)
	o.bindSession(flags)
}

// bindSession adds the flags of a session without those of its output.
func (o *traceOptions) bindSession(flags *pflag.FlagSet) {
	o.tracerOptions.bind(flags)
	o.modeOptions.bind(flags)
	o.bindTargets(flags)
	flags.DurationVar(&o.interval, "interval", time.Second, "Time between two updates of a flow")
	flags.BoolVar(&o.reverseDNS, "reverse-dns", false,
		"Ask your resolver for the names of addresses outside the cluster")
	flags.UintSliceVar(&o.dnsPorts, "dns-port", []uint{53},
		"Ports of DNS servers, in addition to those of DNS Services")
	flags.StringVar(&o.record, "record", "", "Also write the events to this new file, for kubectl orb8 replay")
}

// bindTargets binds the flags that choose pods and time.
func (o *traceOptions) bindTargets(flags *pflag.FlagSet) {
	flags.BoolVarP(&o.allNamespaces, "all-namespaces", "A", false, "Select the pods of all namespaces")
	flags.StringVarP(&o.selector, "selector", "l", "", "Select pods with these labels (key=value, !=, in, notin)")
	flags.StringVarP(&o.container, "container", "c", "", "Select only containers of this name")
	flags.StringVar(&o.node, "node", "", "Select only pods on this node")
	flags.DurationVar(&o.duration, "duration", 0,
		"End after this time, counted from when the first node streams (0: until ^C)")
}

// traceConfig is what a trace runs on: every flag resolved and judged, nothing contacted yet.
type traceConfig struct {
	streams genericiooptions.IOStreams
	tracerConfig
	query      cluster.Query
	kinds      []*event.Kind
	open       func() (render.Printer, error)
	printer    render.Printer
	filter     *filter.Filter
	showStatus bool
	record     string
	// alsoRecorded are kinds of events that the command adds to a recording.
	alsoRecorded []string
	output       string
	mode         string
	// installNamespace is where orb8 is installed.
	installNamespace string
	viewed           string // the namespace that tables omit; empty: all namespaces are traced

	duration   time.Duration
	interval   time.Duration
	reverseDNS bool
	failOnLoss bool
	dnsPorts   []uint32
	syscalls   *session.SyscallConfig
	capture    *session.CaptureConfig
	// tally sums up the session once it has run; nil: nothing was traced.
	tally *advice.Tally
}

// minInterval bounds the cost of socket scans on the node.
const minInterval = 100 * time.Millisecond

// complete resolves the options. What is wrong with them is a usage error.
func (o *traceOptions) complete(kinds ...string) (*traceConfig, error) {
	c := &traceConfig{
		streams: o.streams, duration: o.duration, interval: o.interval, reverseDNS: o.reverseDNS,
		failOnLoss: o.failOnLoss,
		record:     o.record,
		output:     o.output,

		installNamespace: o.installNamespace,
	}
	var err error
	if c.mode, err = o.modeOptions.complete(o.tracerFlags()); err != nil {
		return nil, err
	}
	if kinds, c.syscalls, err = o.syscalls.complete(kinds); err != nil {
		return nil, err
	}
	gpu, err := o.gpu.complete(kinds)
	if err != nil {
		return nil, err
	}
	for _, kind := range kinds {
		c.kinds = append(c.kinds, event.KindByName(kind))
	}
	switch {
	case o.duration < 0:
		return nil, usagef("--duration %v: want 0 or more", o.duration)
	case o.interval < minInterval:
		return nil, usagef("--interval %v: want %v or more", o.interval, minInterval)
	}
	if len(o.dnsPorts) == 0 || len(o.dnsPorts) > live.MaxDNSPorts {
		return nil, usagef("--dns-port: %d ports, want 1 to %d", len(o.dnsPorts), live.MaxDNSPorts)
	}
	for _, port := range o.dnsPorts {
		if port == 0 || port > math.MaxUint16 {
			return nil, usagef("--dns-port %d: want 1 to %d", port, math.MaxUint16)
		}
		if p := uint32(port); !slices.Contains(c.dnsPorts, p) {
			c.dnsPorts = append(c.dnsPorts, p)
		}
	}
	if c.tracerConfig, err = o.tracerOptions.complete(); err != nil {
		return nil, err
	}
	c.gpu, c.runtimeClass = gpu, o.gpu.class()
	if c.filter, err = o.compile(c.kinds); err != nil {
		return nil, err
	}
	c.query = cluster.Query{AllNamespaces: o.allNamespaces, Names: o.names, Container: o.container, Node: o.node,
		Exclude: []labels.Set{launch.Labels(), deploy.Labels()}}
	// A GPU is a node's, also where no pod uses it. Verdicts are about pods.
	c.query.AllNodes = slices.Contains(kinds, "gpu") && o.allNamespaces && o.selector == "" && o.container == "" &&
		o.node == "" && (o.rows == nil || o.rows.Name != whyGPUs.rows)
	if o.selector != "" {
		if c.query.Selector, err = labels.Parse(o.selector); err != nil {
			return nil, usagef("--selector %q: %s", o.selector, pointAt(o.selector, err))
		}
	}
	c.showStatus = o.showStatus()
	shown := c.kinds
	if o.rows != nil {
		shown = []*event.Kind{o.rows}
	}
	// Validate the output before the first request to the cluster. The namespace is not known yet.
	if c.printer, err = o.open(shown, ""); err != nil {
		return nil, usage(err)
	}

	if err := c.connect(o.kube); err != nil {
		return nil, err
	}
	c.query.Namespace = c.namespace
	namespace := c.query.Namespace
	if o.allNamespaces {
		namespace = ""
	}
	c.viewed = namespace
	c.open = func() (render.Printer, error) { return o.open(shown, namespace) }
	c.printer, err = c.open()
	return c, err
}

// found is how the label parser names the token it stumbled over.
var found = regexp.MustCompile(`found '([^']*)'`)

// pointAt adds to a selector's error where in it the place is.
func pointAt(selector string, err error) string {
	message := err.Error()
	if m := found.FindStringSubmatch(message); m != nil {
		at := len(selector)
		if i := strings.Index(selector, m[1]); m[1] != "" && i >= 0 {
			at = i
		}
		message += fmt.Sprintf(" (at column %d)", at+1)
	}
	return message
}
