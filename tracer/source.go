package tracer

import (
	"context"
	"net/netip"

	"github.com/orb8-dev/kubectl-orb8/bpf"
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/session"
	"github.com/orb8-dev/kubectl-orb8/tracer/pods"
)

// Sink takes one event and the id of the cgroup it was made in, or pods.NodeLevel. The event is valid only during the
// call. A source calls its sink from one goroutine at a time.
type Sink = func(cgroup uint64, ev *event.Event)

// Source is one probe at work.
type Source interface {
	// Run hands events to sink until ctx ends.
	Run(ctx context.Context, sink Sink) error
	// Flush hands all that is not reported yet to the sink of the running Run before it returns.
	Flush(ctx context.Context) error
	// Lost is what was dropped since the start.
	Lost() []bpf.Loss
	// Watermark is a time, ns since the Unix epoch: no older event will be handed to the sink any more.
	Watermark() uint64
	Close() error
}

// finalFlusher is a Source that reports at the end what it goes on waiting for otherwise.
type finalFlusher interface {
	// FlushLast is called in place of the last Flush.
	FlushLast(ctx context.Context) error
}

// addressConsumer is a Source that finds whose packets it sees by their addresses.
type addressConsumer interface {
	// SetAddresses says which cgroup has which addresses; those not named have none.
	SetAddresses(all map[netip.Addr]uint64) error
}

// SourceOptions are what a Source is opened with.
type SourceOptions struct {
	Scope      Scope
	CgroupRoot string
	Config     *session.Config
	// Node is the node's name.
	Node string
	// Containers gives the containers that are observed when it is called; nil: none.
	Containers func() []pods.Container
	// Asked reports whether a container of the node was asked for, running or not; nil: none was.
	Asked func(namespace, pod, container string) bool
}

// Scope is the kernel's set of observed cgroups, and its news of cgroups made and removed.
type Scope interface {
	pods.Scope
	Run(ctx context.Context, each func(pods.Cgroup)) error
	Lost() []bpf.Loss
	Close() error
}

// Kernel opens what observes the node. It is opened once, when the client has said what it wants.
type Kernel interface {
	// CgroupRoot is where cgroup v2 is mounted.
	CgroupRoot() (string, error)
	OpenScope(cgroupRoot string) (Scope, error)
	// Kinds are the event kinds that OpenSource knows.
	Kinds() []string
	// OpenSource attaches the probe for a kind of event to the cgroups in scope.
	OpenSource(ctx context.Context, kind string, o SourceOptions) (Source, error)
}
