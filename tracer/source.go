package tracer

import (
	"context"
	"net/netip"

	"github.com/orb8-dev/kubectl-orb8/bpf"
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/session"
	"github.com/orb8-dev/kubectl-orb8/tracer/pods"
)

// Sink receives one event and the id of its cgroup, or pods.NodeLevel. The event is valid only during the call. A
// source makes one call at a time.
type Sink = func(cgroup uint64, ev *event.Event)

// Source is an attached probe.
type Source interface {
	// Run passes events to sink until ctx ends.
	Run(ctx context.Context, sink Sink) error
	// Flush passes all events that are not reported yet to the sink of the running Run before it returns.
	Flush(ctx context.Context) error
	// Lost returns the cumulative losses since the start.
	Lost() []bpf.Loss
	// Watermark is a time, ns since the Unix epoch: the sink will receive no older event.
	Watermark() uint64
	Close() error
}

// finalFlusher is a Source with incomplete records that only the end of the session makes reportable.
type finalFlusher interface {
	// FlushLast replaces the last Flush. It also reports incomplete records.
	FlushLast(ctx context.Context) error
}

// addressConsumer is a Source that attributes packets to pods by their addresses.
type addressConsumer interface {
	// SetAddresses replaces the map from pod address to cgroup id.
	SetAddresses(all map[netip.Addr]uint64) error
}

// SourceOptions are the options of Kernel.OpenSource.
type SourceOptions struct {
	Scope      Scope
	CgroupRoot string
	Config     *session.Config
	// Node is the node's name.
	Node string
	// Containers returns the containers that are observed now; nil: none.
	Containers func() []pods.Container
	// IsTarget reports whether a container of the node is a target, running or not; nil: none is.
	IsTarget func(namespace, pod, container string) bool

	ringBytes uint32 // of Host
}

// Scope is the kernel's set of observed cgroups, and its notifications of created and removed cgroups.
type Scope interface {
	pods.Scope
	Run(ctx context.Context, each func(pods.Cgroup)) error
	Lost() []bpf.Loss
	Close() error
}

// Kernel opens the scope and the probes of a session, once each.
type Kernel interface {
	// CgroupRoot returns the mount point of cgroup v2.
	CgroupRoot() (string, error)
	OpenScope(cgroupRoot string) (Scope, error)
	// Kinds returns the event kinds that OpenSource supports.
	Kinds() []string
	// OpenSource attaches the probe for a kind of event to the cgroups in scope.
	OpenSource(ctx context.Context, kind string, o SourceOptions) (Source, error)
}
