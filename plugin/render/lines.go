package render

import (
	"github.com/orb8-dev/kubectl-orb8/event"
)

var formats = []format{
	{name: "", open: openTable},
	{name: "table", open: openTable},
	{name: "wide", open: openWide},
	{name: "json", open: openJSON},
	{name: "yaml", open: openYAML},
	{name: "csv", open: openCSV},
	{name: "jsonpath", takesArg: true, open: openJSONPath},
	{name: "jsonpath-file", takesArg: true, open: openJSONPathFile},
	{name: "custom-columns", takesArg: true, open: openCustom},
	{name: "custom-columns-file", takesArg: true, open: openCustomFile},
}

// lines writes one object a line.
type lines struct{ *flusher }

func openJSON(_ *Options, out *flusher, _ string) (Printer, error) { return lines{out}, nil }

func (l lines) Print(ev *event.Event) error {
	return l.append(func(dst []byte) ([]byte, int) {
		n := len(dst)
		if dst = event.AppendJSON(dst, ev); len(dst) > n {
			dst = append(dst, '\n')
		}
		return dst, 0
	})
}
