package collect

import (
	"context"
	"errors"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// Collector merges the streams of nodes.
type Collector struct{}

// Source is the stream of one node.
type Source struct{}

func newCollector(Options) *Collector                             { return &Collector{} }
func (c *Collector) add(string) *Source                           { return &Source{} }
func (s *Source) feed(context.Context, Batch) error               { return errors.ErrUnsupported }
func (s *Source) status(context.Context, *event.NodeStatus) error { return errors.ErrUnsupported }
func (s *Source) close()                                          {}
func (c *Collector) run(context.Context, func(*event.Event) error) error {
	return errors.ErrUnsupported
}
func (c *Collector) finish()        {}
func (c *Collector) losses() []Loss { return nil }
