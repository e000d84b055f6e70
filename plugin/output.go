package plugin

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/filter"
	"github.com/orb8-dev/kubectl-orb8/plugin/render"
)

// outputOptions are the flags of filters, columns and formats.
type outputOptions struct {
	streams genericiooptions.IOStreams

	output     string
	noHeaders  bool
	sortBy     string
	filter     string
	failOnLoss bool

	// columns, if not nil, are those of tables, by name. keys are columns before the default ones.
	columns, keys []string
}

func (o *outputOptions) bind(flags *pflag.FlagSet) {
	flags.StringVarP(&o.output, "output", "o", "", "Output format: "+strings.Join(render.Formats(), ", "))
	flags.BoolVar(&o.noHeaders, "no-headers", false, "Print no header line")
	flags.StringVar(&o.sortBy, "sort-by", "", "Print sorted by a field (bytesSent, or -bytesSent for largest first) "+
		"when the trace ends: goes with --duration or ^C")
	flags.StringVar(&o.filter, "filter", "",
		`Show only events for which a CEL expression holds: 'dst.port == 443 && bytesSent > 1000'`)
	flags.BoolVar(&o.failOnLoss, "fail-on-loss", false, fmt.Sprintf("Exit with code %d if any event was lost",
		ExitLost))
}

// showStatus reports whether the output contains nodeStatus events. Otherwise they are lines on stderr.
func (o *outputOptions) showStatus() bool { return o.output == "json" || o.output == "yaml" }

func (o *outputOptions) compile(kinds []*event.Kind) (*filter.Filter, error) {
	f, err := filter.Compile(o.filter, kinds)
	if err != nil {
		return nil, usagef("--filter: %w", err)
	}
	return f, nil
}

func (o *outputOptions) open(kinds []*event.Kind, namespace string) (render.Printer, error) {
	return render.New(render.Options{
		Out: o.streams.Out, Notices: userTerminal().Writer(o.streams.ErrOut), Output: o.output,
		NoHeaders: o.noHeaders, SortBy: o.sortBy, Kinds: kinds, Namespace: namespace,
		Columns: o.columns, Keys: o.keys, Terminal: userTerminal(),
	})
}
