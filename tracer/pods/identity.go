package pods

import (
	"github.com/orb8-dev/kubectl-orb8/event"
	"google.golang.org/protobuf/proto"
)

// NodeLevel stands in the place of a cgroup for what is of the node and no container: no cgroup has this id.
const NodeLevel = 0

// Identity is who a cgroup belongs to. It never changes once it was handed out.
type Identity struct {
	Namespace, Pod, PodUID string
	// Container is empty where it is not known.
	Container string
	// Workload is the pod's owner, "deploy/web"; empty for a bare pod.
	Workload string
	// Wire is the node and the above as the fields of an event.Event, encoded: appended to an encoded event that lacks
	// them, it names it.
	Wire []byte
}

func newIdentity(node string, p *pod, container string) *Identity {
	id := &Identity{Namespace: p.namespace, Pod: p.name, PodUID: p.uid, Container: container, Workload: p.workload}
	wire, err := proto.Marshal(&event.Event{
		Node:      node,
		Namespace: id.Namespace,
		Pod:       id.Pod,
		PodUid:    id.PodUID,
		Container: id.Container,
		Workload:  id.Workload,
	})
	if err != nil {
		// Only invalid UTF-8 fails, and a session.Pod that came over the wire holds none. Unnamed is better than wrong.
		wire = nil
	}
	id.Wire = wire
	return id
}

// Status is how much is known of a cgroup.
type Status uint8

const (
	// Unknown: no such cgroup was seen, or not yet. The kernel's news of it may be on its way.
	Unknown Status = iota
	// Foreign: it belongs to no pod or container whose events are wanted here.
	Foreign
	// Unnamed: its pod is known and wanted, its container has no name yet. The identity lacks the container.
	Unnamed
	// Named: all is known that will be.
	Named
)

func (s Status) String() string {
	return [...]string{"unknown", "foreign", "unnamed", "named"}[s]
}
