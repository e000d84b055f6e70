// Package render writes events in the format of -o: table, wide, JSON lines, YAML documents, CSV, JSONPath and custom
// columns. It knows neither Kubernetes nor flags.
package render

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/plugin/terminal"
)

// Printer writes events. Its methods may be called from one goroutine at a time.
//
// Output is buffered. It is written when the buffer is full, or FlushDelay after the buffer's first byte. After an
// error every call returns that error; it is ErrClosed when the reader has closed the output.
type Printer interface {
	// Print writes ev and keeps no reference to it.
	Print(ev *event.Event) error
	// Close writes the held rows, sorted if Options.SortBy is set, and flushes. It does not close Options.Out.
	Close() error
}

// FlushDelay bounds how long output is buffered.
const FlushDelay = 30 * time.Millisecond

// ErrClosed reports that the reader has closed the output (head, a pager). The program ends without an error then.
//
// On Unix the Go runtime kills a process that writes to a broken standard output; a caller that wants this error calls
// signal.Ignore(syscall.SIGPIPE) first.
var ErrClosed = fmt.Errorf("output closed by its reader: %w", io.ErrClosedPipe)

// MaxSorted bounds the rows that --sort-by holds.
const MaxSorted = 100_000

// Options selects the events and the output format.
type Options struct {
	// Out takes the events, standard output.
	Out io.Writer
	// Notices takes the lost and nodeStatus events in the formats that cannot hold them (all but json and yaml), one
	// line each, unless they are in Kinds. nil: such events are omitted.
	Notices io.Writer
	// Output is the value of -o: "" or "table", "wide", "json" (one object a line), "yaml" (documents), "name"less
	// forms "jsonpath=TEMPLATE", "jsonpath-file=PATH", "custom-columns=HEADER:FIELD,…" (or just FIELD,…),
	// "custom-columns-file=PATH".
	Output string
	// NoHeaders omits the header line of table, wide and custom-columns.
	NoHeaders bool
	// SortBy is a field, "bytesSent" or "{.src.pod}"; a minus before it sorts down. Rows are then held and printed
	// sorted by Close, when the trace has ended (--duration, --once, or an interrupt); of each flow only its newest
	// event is held.
	SortBy string
	// Kinds are the event kinds that the command shows. A table has columns and a header for each kind.
	Kinds []*event.Kind
	// Columns, if not nil, names the columns of a table instead of the kinds' default ones. "wide" has all columns.
	Columns []string
	// Keys names columns that a table and "wide" begin with, before the default ones.
	Keys []string
	// Namespace is the namespace of the command: names in it are shown without it. Empty: names have their namespace.
	Namespace string
	// Terminal is what the terminal can show, for tables for people: "table" and "wide".
	Terminal terminal.Terminal
	// Location is the time zone of the table's time of day; nil: local.
	Location *time.Location
}

// New makes the Printer for o. Its errors are the user's: an unknown format, a template that does not parse, an
// *event.UnknownColumnError.
func New(o Options) (Printer, error) {
	if len(o.Kinds) == 0 {
		return nil, errors.New("no kinds to print")
	}
	name, arg, hasArg := strings.Cut(o.Output, "=")
	f := slices.IndexFunc(formats, func(f format) bool { return f.name == name })
	if f < 0 || hasArg != formats[f].takesArg || hasArg && arg == "" {
		return nil, fmt.Errorf("unknown output %q, known are: %s", o.Output, strings.Join(Formats(), ", "))
	}
	out := newFlusher(o.Out)
	w, err := formats[f].open(&o, out, arg)
	if err != nil {
		return nil, fmt.Errorf("output %s: %w", name, err)
	}
	if o.SortBy != "" {
		return newSorter(o.SortBy, w, o.Kinds)
	}
	return w, nil
}

// Formats lists the values of -o for help and completion.
func Formats() []string {
	var names []string
	for _, f := range formats {
		switch {
		case f.name == "":
		case f.takesArg:
			names = append(names, f.name+"=…")
		default:
			names = append(names, f.name)
		}
	}
	return names
}

// format is one value of -o.
type format struct {
	name     string
	takesArg bool
	open     func(o *Options, out *flusher, arg string) (Printer, error)
}
