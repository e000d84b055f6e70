// Package collect merges the streams of N nodes into one: it joins the two halves of a flow, names the ends, orders by
// time, and counts losses. It imports neither Kubernetes nor gRPC: batches of events come in, events go out.
//
// # Joining
//
// A half is the record of one end's kernel about a flow. TCP halves join by the pair of initial sequence numbers, which
// no NAT changes; other halves with ports join by their addresses, where the Namer resolves a Service to its backends.
// A new flow waits a short time for its second half if one may come, so that it is one event from the start. A later
// second half goes into the next event of the flow.
//
// # Emitted events
//
// One event per flow and interval: first "new", then "update" with the counters of both ends, last "closed", when the
// known ends have closed, or one has and the wait for the other is over. A flow that has already ended in its first
// record has only a "closed" event, which is the last event of every flow.
//
// # Order
//
// Events leave in the order of their times: an event waits until every node has promised to send nothing older, but at
// most MaxDelay. A node that is silent for MaxDelay, or that far behind most nodes, is not waited for.
package collect

import (
	"net/netip"
	"time"

	"github.com/orb8-dev/kubectl-orb8/collect/losses"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// Namer names addresses. Its methods are called with the Collector's lock held, so they must not block.
type Namer interface {
	// Name returns the names of an address; port and protocol distinguish Services. Unknown fields are empty.
	Name(addr netip.Addr, port uint16, proto event.Protocol) Name
	// Backs reports whether backend is an endpoint of the Service at vip.
	Backs(vip, backend netip.AddrPort, proto event.Protocol) bool
}

// PastNamer is a Namer that knows the names of earlier times, for recorded events.
type PastNamer interface {
	// NameAt returns the names that an address had at a time.
	NameAt(addr netip.Addr, port uint16, proto event.Protocol, at time.Time) Name
}

// Networks is a Namer that knows which pods have a network namespace of their own.
type Networks interface {
	// OwnNetwork reports whether the pod is known and not on its node's network.
	OwnNetwork(podUID string) bool
}

// Name holds the names of an address.
type Name struct {
	// The pod with the address; not set for an address that pods share with their node. With Service set: the only
	// endpoint of the Service.
	Namespace, Pod, PodUID, Workload string
	// The Service of the address and port (cluster IP, external IP, load balancer, node port). Set only if a connection
	// to the address is forwarded to a backend.
	Service, ServiceNamespace string
	// Hint is a Service that is not known to forward the connection, nil for none; only if Service is empty. A pointer,
	// since each open flow has two names.
	Hint *ServiceHint
	// The node that has the address, or that runs the pod.
	Node string
	// The name from reverse DNS, if that is enabled.
	Host string
	// Observed: the end at this address may be observed in this session, so that its half of a flow may come: a target
	// pod on a node with a tracer, a Service with such a pod behind it, a node with tracer and target pods in the host
	// network.
	Observed bool
}

// ServiceHint is a Service that names an end although no connection is forwarded through it. Joining ignores it.
type ServiceHint struct {
	Service, Namespace string
	// Port of the Service, or the dialled port that it lacks; 0 if unknown.
	Port uint16
	Note event.ServiceNote
}

// describe writes the hint into an end without a Service. address is the dialled one.
func (h *ServiceHint) describe(e *event.Endpoint, address []byte) {
	if h == nil {
		return
	}
	e.Service, e.ServiceNamespace, e.ServicePort, e.ServiceNote = h.Service, h.Namespace, uint32(h.Port), h.Note
	if h.Note != event.ServiceNote_SERVICE_NOTE_INFERRED {
		e.ServiceAddress = address
	}
}

// Options configure a Collector. The zero value of each field gives its default.
type Options struct {
	// Namer names the ends that are not observed; nil names nothing and expects every second half.
	Namer Namer
	// Interval is the tracers' time between two updates of a flow; 0: 1 s.
	Interval time.Duration
	// JoinWindow is how long a new flow waits for its second half, where one may come; 0: 300 ms.
	JoinWindow time.Duration
	// SkipStarting: a new flow does not wait for the half of a node that has sent nothing yet. It may start seconds
	// later.
	SkipStarting bool
	// MaxDelay is how long an event waits for older events of other nodes; 0: 250 ms.
	MaxDelay time.Duration
	// CloseWait is how long a flow that one end has closed waits for the other end to close; 0: 2 s, or two intervals
	// if that is longer.
	CloseWait time.Duration
	// MaxFlowBytes limits the approximate memory of the halves of open flows; beyond it the longest unchanged flow is
	// evicted; 0: 512 MiB.
	MaxFlowBytes int
	// MaxPendingBytes limits the approximate memory of events that wait to be emitted, beyond which Feed blocks, and of
	// DNS queries that wait for their other side; 0: 64 MiB.
	MaxPendingBytes int
	// MaxClosedBytes limits the memory of closed flows that are remembered for Linger; beyond it the oldest is evicted.
	// Its late halves then look like a new flow, which Lost MERGE counts; 0: 64 MiB.
	MaxClosedBytes int
	// Linger is how long a closed flow is remembered, so that its late halves do not start a new one; 0: 15 s.
	Linger time.Duration
	// MaxFlows limits the open flows; beyond it the longest unchanged one is evicted, which Lost MERGE counts;
	// 0: 200,000.
	MaxFlows int
	// MaxPending limits the events that wait to be emitted; beyond it Feed blocks; 0: 65,536. From half of it on,
	// events are emitted without waiting for older ones or for second halves.
	MaxPending int
	// Memory, if not nil, limits the memory that this Collector and others hold together. It takes the approximate
	// memory of this one, bytes, and reports whether it may hold that much. One that may not emits at once what waits,
	// evicts the longest unchanged flows, and accepts a batch only when nothing waits. It is called with the
	// Collector's lock held, so it must not block.
	Memory func(bytes int) bool
	// Kinds are the requested kinds of event; none: all kinds of tracers. Started is the start of the session; zero:
	// events of any time since 1970 are accepted. Other events, and those beyond another bound of event/check, are
	// counted as lost.
	Kinds   []string
	Started time.Time
	// Recorded: the events are of the past, and come by Play, in the order of their times. Waits are measured in the
	// times of events, so that the result does not depend on how fast they come.
	Recorded bool
	// Updates is the least time between two updates of a flow; 0: as its nodes report it. The last update of a recorded
	// flow that stays open then comes late, out of the order of times.
	Updates time.Duration
	// LastStateWait, of Recorded, is how long the last event of a closed half waits for that of the other: where each
	// half has one event only, its last. 0: other events of the other half come in time.
	LastStateWait time.Duration
	// Refused, if not nil, is called with the first refused event of each node. It must not call the Collector.
	Refused func(node string, why error)
}

// Batch is one message of a node.
type Batch struct {
	// Instance identifies one process of the node's tracer; each counts its own sequence.
	Instance uint64
	// Sequence is 1, 2, 3, … per instance. A repeated batch is dropped, a gap counted.
	Sequence uint64
	// Events belong to the Collector after Feed, but for flows: their events are the caller's again, and the slice.
	Events []*event.Event
	// Watermark: the node will send no event older than this, ns since the Unix epoch.
	Watermark uint64
	// GapSummary: this batch holds Lost events for the events of the missing batches before it.
	GapSummary bool
	// Kernel identifies the running kernel of the node until its next boot. Empty: not shared with other nodes.
	Kernel string
}

// Loss is a number of events lost at one place.
type Loss = losses.Loss
