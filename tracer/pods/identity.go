package pods

import (
	"github.com/orb8-dev/kubectl-orb8/event"
	"google.golang.org/protobuf/proto"
)

// NodeLevel is the cgroup id of events of the node itself. No cgroup has this id.
const NodeLevel = 0

// Identity is the pod and container of a cgroup. It is immutable.
type Identity struct {
	Namespace, Pod, PodUID string
	// Container is empty if it is unknown.
	Container string
	// Workload is the pod's owner, "deploy/web"; empty for a bare pod.
	Workload string
	// Wire is the node and the fields above as encoded fields of an event.Event. Appended to an encoded event without
	// them, it names the event.
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
		// Only invalid UTF-8 fails, and a decoded session.Pod holds none. Unnamed is better than wrong.
		wire = nil
	}
	id.Wire = wire
	return id
}

// Status is the state of a cgroup's identification.
type Status uint8

const (
	// Unknown cgroups are not in the table. The kernel's notification may still arrive.
	Unknown Status = iota
	// Foreign cgroups belong to no target.
	Foreign
	// Unnamed cgroups belong to a container of a target whose name is not known yet. The identity lacks the container.
	Unnamed
	// Named cgroups have their final identity.
	Named
)

func (s Status) String() string {
	return [...]string{"unknown", "foreign", "unnamed", "named"}[s]
}
