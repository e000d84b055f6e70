package render

import (
	"errors"
	"io"

	"github.com/orb8-dev/kubectl-orb8/event"
)

type flusher struct{ io.Writer }

func newFlusher(w io.Writer) *flusher { return &flusher{w} }

var formats = []format{{name: "", open: unbuilt}}

func unbuilt(*Options, *flusher, string) (Printer, error) { return nil, errors.ErrUnsupported }

func newSorter(string, Printer, []*event.Kind) (Printer, error) { return nil, errors.ErrUnsupported }
