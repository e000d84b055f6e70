// Package collect merges the streams of N nodes into one: it joins the two halves of a flow, names the ends, orders by
// time, and counts what was lost. It knows no Kubernetes and no gRPC: batches of events come in, events go out.
//
// # Joining
//
// A half is what one end's kernel knows of a flow. TCP halves join by the pair of initial sequence numbers, which no
// NAT changes; what else has ports by the addresses, a Service's resolved to its backends by the Namer. A new flow
// waits a short time for its second half where one may come, so that it is one event from the beginning. A second
// half that comes later goes into the next event of the flow.
//
// # What is emitted
//
// One event of a flow in an interval: first "new", then "update" with the counters of both ends, last "closed", when
// the ends that are known have closed or one has and the other was waited for. A flow that is over when it is first
// seen has only a "closed" event. After it nothing comes of the flow any more.
//
// # Order
//
// Events leave in the order of their times, as far as nodes are heard of in time: an event waits until every node has
// promised to send nothing older, but never longer than MaxDelay, and a node that is silent for so long is not waited
// for.
package collect

import (
	"net/netip"
	"time"

	"github.com/orb8-dev/kubectl-orb8/collect/losses"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// Namer names addresses. Its methods are called with the Collector's lock held: they answer from
// memory, at once.
type Namer interface {
	// Name names what has the address; port and protocol distinguish Services. Unknown fields are empty.
	Name(addr netip.Addr, port uint16, proto event.Protocol) Name
	// Backs reports whether backend is an endpoint of the Service at vip.
	Backs(vip, backend netip.AddrPort, proto event.Protocol) bool
}

// Networks is a Namer that knows which pods have a network namespace of their own.
type Networks interface {
	// OwnNetwork reports whether the pod is known and not on its node's network.
	OwnNetwork(podUID string) bool
}

// Name is what a Namer knows.
type Name struct {
	// The pod with the address; not set for an address that pods share with their node. With Service set: the only
	// endpoint there is, so that it must be the one.
	Namespace, Pod, PodUID, Workload string
	// The Service that the address and port are of (cluster IP, external IP, load balancer, node port). Set only where
	// a connection to the address is passed on to a backend.
	Service, ServiceNamespace string
	// Hint is a Service that is not known to pass the connection on, nil for none; only where Service is empty. A
	// pointer, since each open flow has two names.
	Hint *ServiceHint
	// The node that has the address, or that the pod is on.
	Node string
	// The name from reverse DNS, where that was asked for.
	Host string
	// Observed: the end at this address may be observed in this session, so that its half of a flow may come: a target
	// pod on a node with a tracer, a Service with such a pod behind it, a node with tracer and target pods in the host
	// network.
	Observed bool
}

// ServiceHint is a Service that names an end without being the way to a backend. It takes no part in joining.
type ServiceHint struct {
	Service, Namespace string
	// Port of the Service, or the one that was dialled and that it does not have; 0 where it is not known.
	Port uint16
	Note event.ServiceNote
}

// describe writes the Service of an end without one. address is the one that was dialled.
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
	// Namer names the ends that were not observed themselves; nil names nothing and expects every second half.
	Namer Namer
	// Interval is the time between two updates of a flow that the tracers were asked for; 0: 1 s.
	Interval time.Duration
	// JoinWindow is how long a new flow waits for its second half, where one may come; 0: 300 ms.
	JoinWindow time.Duration
	// MaxDelay is how long an event waits for older events of other nodes; 0: 250 ms.
	MaxDelay time.Duration
	// CloseWait is how long a flow that one end has closed waits for the other end's last word; 0: 2 s, or two
	// intervals if that is longer.
	CloseWait time.Duration
	// MaxFlowBytes is how much memory the events of open flows may take, roughly; beyond it the longest unchanged flow
	// is forgotten as well; 0: 512 MiB.
	MaxFlowBytes int
	// MaxPendingBytes is the same of events that wait to be emitted, beyond which Feed blocks, and of DNS queries that
	// wait for their other side; 0: 64 MiB.
	MaxPendingBytes int
	// MaxClosedBytes is how much memory closed flows may take that are remembered for Linger; beyond it the oldest is
	// forgotten, so that its late halves show as a flow of their own, which Lost MERGE counts; 0: 64 MiB.
	MaxClosedBytes int
	// Linger is how long a closed flow is remembered, so that late halves of it are not taken for a new one; 0: 15 s.
	Linger time.Duration
	// MaxFlows is how many open flows are held; beyond it the longest unchanged is forgotten, which Lost MERGE counts;
	// 0: 200,000.
	MaxFlows int
	// MaxPending is how many events may wait to be emitted before Feed blocks; 0: 65,536. From half of it on events are
	// emitted without waiting for older ones or for second halves.
	MaxPending int
	// Kinds are those that the nodes were asked for; none: all that tracers send. Started is when the session began;
	// zero: events of any time since 1970 are taken. What is not so, or breaks another bound of event/check, is counted
	// as lost.
	Kinds   []string
	Started time.Time
	// Refused is called with the first event of each node that is not used; nil: none is reported. It must not call the
	// Collector.
	Refused func(node string, why error)
}

// Batch is what a node sends at once.
type Batch struct {
	// Instance identifies one process of the node's tracer: sequences start again.
	Instance uint64
	// Sequence is 1, 2, 3, … per instance. A batch that was seen before is dropped, a gap counted.
	Sequence uint64
	// Events are the Collector's from now on.
	Events []*event.Event
	// Watermark: the node will send no event older than this, ns since the Unix epoch.
	Watermark uint64
	// GapSummary: the node itself says, in this batch, what those missing before it held.
	GapSummary bool
	// Kernel names the kernel that the node runs on, until it boots again. Empty: one of its own.
	Kernel string
}

// Loss is how many events were lost at one place.
type Loss = losses.Loss
