package access

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// Redact withholds what the user may not see of an event, which it changes, and reports whether the user may see any of
// it. It may ask the API server, as MaySee does.
func (v *View) Redact(ev *event.Event) (visible bool) {
	switch k := ev.GetKind().(type) {
	case *event.Event_Flow:
		return v.redactEnds(sets["flow"], ev)
	case *event.Event_Tcp:
		return v.redactEnds(sets["tcp"], ev)
	case *event.Event_Dns:
		return v.redactEnds(sets["dns"], ev)
	case *event.Event_Drop:
		return v.redactEnds(sets["drop"], ev)
	case *event.Event_Lost:
		return v.redactLost(ev, k.Lost)
	case *event.Event_NodeStatus:
		return v.redactStatus(ev, k.NodeStatus)
	case *event.Event_Gpu:
		return v.redactGPU(ev, k.Gpu)
	}
	kind := event.KindOf(ev)
	return kind != nil && v.MaySee(kind.Name, ev.GetNamespace())
}

// sight is how much of an end is visible.
type sight uint8

const (
	// hidden: of a pod that the user may not see.
	hidden sight = iota
	// outside: of no pod: a node, or an address outside the cluster.
	outside
	// seen: of a pod that the user may see.
	seen
)

// sees returns how much of an end is visible. names are its namespace, and that of the event where the end is the
// observed one: both have to be visible.
func (v *View) sees(kind set, names ...string) sight {
	found := outside
	for _, ns := range names {
		if ns == "" {
			continue
		}
		if !v.maySee(kind, ns) {
			return hidden
		}
		found = seen
	}
	return found
}

func (v *View) allOf(kind set) bool {
	visible, _ := v.lookup("")
	return visible&kind&v.wanted != 0
}

// redactEnds redacts an event with two ends, which is visible if the pod of one of them is.
func (v *View) redactEnds(kind set, ev *event.Event) bool {
	if v.allOf(kind) {
		return true
	}
	ends := event.EndsOf(ev)
	own, far := ends.GetSrc(), ends.GetDst()
	if ends.GetObserved() == event.Side_SIDE_DST {
		own, far = far, own
	}
	ownSight, farSight := v.sees(kind, own.GetNamespace(), ev.GetNamespace()), v.sees(kind, far.GetNamespace())
	if ownSight != seen && farSight != seen {
		return false
	}
	changed := false
	if v.withhold(kind, farSight, far) {
		withholdFar(ev)
		changed = true
	}
	if ownSight != seen {
		// The observed end becomes the other one.
		v.withhold(kind, hidden, own)
		withholdOwn(ev)
		ev.Namespace, ev.Pod, ev.PodUid = far.GetNamespace(), far.GetPod(), far.GetPodUid()
		ev.Container, ev.Workload, ev.Node = far.GetContainer(), far.GetWorkload(), far.GetNode()
		changed = true
	} else if v.withhold(kind, seen, own) {
		changed = true
	}
	if changed {
		dropUnknown(ev)
	}
	return true
}

// withhold removes what is not visible of an end, and reports whether it removed more than the name of a Service.
func (v *View) withhold(kind set, s sight, e *event.Endpoint) bool {
	if e == nil {
		return false
	}
	switch {
	case s == hidden, s == outside && isHost(e):
		address, port := e.GetAddress(), e.GetPort()
		e.Reset()
		e.Address, e.Port, e.Redacted = address, port, true
		return true
	case e.GetServiceNamespace() != "" && !v.maySee(kind, e.GetServiceNamespace()):
		e.Service, e.ServiceNamespace, e.ServiceAddress, e.ServicePort, e.ServiceNote = "", "", nil, 0, 0
		e.Host, e.Redacted = "", true
	}
	return false
}

// isHost reports whether an end without a namespace is one of a node, and not only an address.
func isHost(e *event.Endpoint) bool {
	return e.GetNode() != "" || e.GetPid() != 0 || e.GetComm() != "" || e.GetPod() != "" || e.GetContainer() != "" ||
		e.GetWorkload() != ""
}

// withholdFar removes what the event knows of the end that it is not about.
func withholdFar(ev *event.Event) {
	f := ev.GetFlow()
	if f == nil {
		return // only flows have counters of both ends
	}
	if f.GetObserved() == event.Side_SIDE_DST {
		f.SrcCounters = nil
	} else {
		f.DstCounters = nil
	}
}

// withholdOwn removes what the event knows of the end that it is about, and makes it one about the other end.
func withholdOwn(ev *event.Event) {
	switch k := ev.GetKind().(type) {
	case *event.Event_Flow:
		f := k.Flow
		if f.GetObserved() == event.Side_SIDE_DST {
			f.DstCounters = nil
		} else {
			f.SrcCounters = nil
		}
		// Both are of the observed socket.
		f.State, f.SocketCookie = event.TCPState_TCP_STATE_UNKNOWN, 0
		f.Observed = otherSide(f.GetObserved())
	case *event.Event_Tcp:
		t := k.Tcp
		k.Tcp = &event.Tcp{
			Outcome: t.GetOutcome(), Src: t.GetSrc(), Dst: t.GetDst(), RoleKnown: t.GetRoleKnown(),
			Observed: otherSide(t.GetObserved()),
			ResetBy:  otherEnd(t.GetResetBy()), ClosedBy: otherEnd(t.GetClosedBy()),
		}
	case *event.Event_Dns:
		k.Dns.LatencyMicros = nil
		k.Dns.Observed = otherSide(k.Dns.GetObserved())
	case *event.Event_Drop:
		// The packets are the other end's, too. The device is not.
		k.Drop.Device = ""
		k.Drop.Observed = otherSide(k.Drop.GetObserved())
	}
}

func otherSide(s event.Side) event.Side {
	if s == event.Side_SIDE_DST {
		return event.Side_SIDE_SRC
	}
	return event.Side_SIDE_DST
}

func otherEnd(e event.TCPEnd) event.TCPEnd {
	switch e {
	case event.TCPEnd_TCP_END_LOCAL:
		return event.TCPEnd_TCP_END_PEER
	case event.TCPEnd_TCP_END_PEER:
		return event.TCPEnd_TCP_END_LOCAL
	}
	return e
}

// dropUnknown removes fields that this version does not know: nobody knows what they are of.
func dropUnknown(ev *event.Event) {
	m := ev.ProtoReflect()
	m.SetUnknown(nil)
	m.Range(func(f protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		if f.Message() != nil {
			value.Message().SetUnknown(nil)
		}
		return true
	})
}

// redactLost withholds the names of pods that the user may not see. Loss matters to everyone who may see something.
func (v *View) redactLost(ev *event.Event, l *event.Lost) bool {
	if !v.seesAnything() {
		return false
	}
	if ns := ev.GetNamespace(); ns != "" && !v.maySee(v.wanted, ns) {
		withholdNames(ev)
	}
	if l != nil && l.GetCausedBy() != nil && !v.maySee(v.wanted, l.GetCausedBy().GetNamespace()) {
		l.CausedBy = nil
		dropUnknown(ev)
	}
	return true
}

func withholdNames(ev *event.Event) {
	ev.Namespace, ev.Pod, ev.PodUid, ev.Container, ev.Workload = "", "", "", "", ""
	dropUnknown(ev)
}

// redactStatus withholds the words of a node's status, which may name any pod, from users who may not see all pods.
func (v *View) redactStatus(ev *event.Event, s *event.NodeStatus) bool {
	if !v.seesAnything() {
		return false
	}
	if visible, _ := v.lookup(""); visible != v.wanted {
		withholdNames(ev)
		if s != nil {
			s.Message = ""
		}
	}
	return true
}

// redactGPU withholds the other containers that hold the same GPU.
func (v *View) redactGPU(ev *event.Event, g *event.Gpu) bool {
	kind := sets["gpu"]
	if v.allOf(kind) {
		return true
	}
	if !v.maySee(kind, ev.GetNamespace()) {
		return false
	}
	if g != nil {
		g.UsedBy = v.visibleContainers(kind, g.GetUsedBy())
		g.AllocatedTo = v.visibleContainers(kind, g.GetAllocatedTo())
	}
	return true
}

// visibleContainers returns those of "namespace/pod/container,…" that the user may see.
func (v *View) visibleContainers(kind set, list string) string {
	if list == "" {
		return ""
	}
	all := strings.Split(list, ",")
	return strings.Join(slices.DeleteFunc(all, func(name string) bool {
		ns, _, _ := strings.Cut(strings.TrimSpace(name), "/")
		return ns == "" || !v.maySee(kind, ns)
	}), ",")
}
