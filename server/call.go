package server

import (
	"context"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/orb8-dev/kubectl-orb8/cluster"
	"github.com/orb8-dev/kubectl-orb8/collect"
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/orbit"
	"github.com/orb8-dev/kubectl-orb8/event/session"
	"github.com/orb8-dev/kubectl-orb8/event/wire"
)

// call is a request that was found to be well formed, of a caller who may see something of what it selects.
type call struct {
	*Service
	target   *target
	view     View
	pods     *cluster.Selected
	coverage *coverage
	release  func()
	// endTurn lets the next query run.
	endTurn func()
	share   *share
}

// open checks a request: its protocol, the selection, who asks, and what they may see.
func (s *Service) open(
	ctx context.Context, protocol uint32, selection *orbit.Selection, turns *turns, only ...string,
) (c *call, err error) {
	// Who asks comes first: strangers learn nothing of what would be wrong with their request.
	user, err := s.door.Identify(ctx)
	if err != nil {
		return nil, err
	}
	if protocol < orbit.MinProtocol || protocol > orbit.Protocol {
		return nil, status.Errorf(codes.FailedPrecondition,
			"this server (%s) speaks protocol %d to %d, the client %d: use a kubectl orb8 of the server's version",
			s.version, orbit.MinProtocol, orbit.Protocol, protocol)
	}
	t, err := newTarget(selection, only...)
	if err != nil {
		return nil, err
	}
	end := func() {}
	if turns != nil {
		if end, err = turns.acquire(ctx, user.Name, len(s.agentsOf(t))); err != nil {
			return nil, err
		}
	}
	share, release, err := s.admit(user, len(s.agentsOf(t)))
	if err != nil {
		end()
		return nil, err
	}
	admitted := release
	release = func() {
		admitted()
		end()
	}
	defer func() {
		if err != nil {
			release()
		}
	}()
	namespaces := t.namespaces
	if len(namespaces) == 0 {
		namespaces = s.cluster.Namespaces()
	}
	view, err := s.door.Open(ctx, user, t.kinds, namespaces)
	if status.Code(err) == codes.PermissionDenied && len(t.namespaces) == 0 {
		// Which namespaces there are is not theirs to know.
		return nil, status.Errorf(codes.PermissionDenied,
			"user %q may not see events of kind %s in any namespace: kubectl orb8 rbac --viewer prints what grants it",
			user.Name, strings.Join(t.kinds, ", "))
	}
	if err != nil {
		return nil, err
	}
	c = &call{Service: s, target: t, view: view, release: release, endTurn: end, share: share}
	c.pods = s.cluster.Select(func(p *session.Pod) bool {
		return t.matchPod(p) && c.maySee(p.GetNamespace())
	}, t.labels)
	c.coverage = newCoverage(c.scope(namespaces))
	return c, nil
}

func (c *call) close() { c.release() }

// agentsOf returns the agents that a target is read from.
func (s *Service) agentsOf(t *target) []*agent {
	all, _ := s.agents.all()
	return slices.DeleteFunc(all, func(g *agent) bool { return t.node != "" && t.node != g.node })
}

// scope is what the caller may see.
func (c *call) scope(namespaces []string) *orbit.Coverage {
	scope := &orbit.Coverage{AllNamespaces: len(c.target.namespaces) == 0}
	for _, kind := range c.target.kinds {
		all := c.view.All(kind)
		scope.AllNamespaces = scope.AllNamespaces && all
		visible := all
		for _, ns := range namespaces {
			if c.view.MaySee(kind, ns) {
				visible = true
				if !slices.Contains(scope.Namespaces, ns) {
					scope.Namespaces = append(scope.Namespaces, ns)
				}
			}
		}
		if !visible {
			scope.ForbiddenKinds = append(scope.ForbiddenKinds, kind)
		}
	}
	if scope.AllNamespaces {
		scope.Namespaces = nil
	}
	slices.Sort(scope.Namespaces)
	return scope
}

// isVisible reports whether an agent's event is selected and of a pod that the caller may see. Halves of flows of other
// pods are not joined: what they hold is not the caller's to see.
func (c *call) isVisible(ev *event.Event) bool {
	switch {
	case ev.GetLost() != nil:
		c.coverage.count(ev)
		return true
	case ev.GetNodeStatus() != nil:
		return true
	case !c.target.match(ev) || !c.pods.HasLabels(ev.GetPodUid()):
		return false
	}
	// A kind that this version does not know cannot be authorized.
	kind := event.KindOf(ev)
	return kind != nil && c.view.MaySee(kind.Name, ev.GetNamespace())
}

// maySee reports whether the caller may see something of what they have selected in a namespace. What they may not see
// does not come, so that flows do not wait for the halves of its pods.
func (c *call) maySee(namespace string) bool {
	return slices.ContainsFunc(c.target.kinds, func(kind string) bool { return c.view.MaySee(kind, namespace) })
}

// seesAll reports whether the caller may see all that they have selected.
func (c *call) seesAll() bool {
	return !slices.ContainsFunc(c.target.kinds, func(kind string) bool { return !c.view.All(kind) })
}

// isForbidden reports whether an encoded event is of a pod that the caller may not see. It decodes nothing else of it:
// to a user of one namespace that are most events of a cluster. isVisible judges all others.
func (c *call) isForbidden(encoded []byte, namespaces *interned) bool {
	h, ok := event.ReadHeader(encoded)
	if !ok || h.Kind == "" || h.Kind == "lost" || h.Kind == "nodeStatus" {
		return false
	}
	return !c.view.MaySee(h.Kind, namespaces.get(h.Namespace))
}

// interned are strings of which the same ones come again and again. The zero value is empty.
type interned map[string]string

// maxInterned limits them: agents choose them.
const maxInterned = 256

func (i *interned) get(b []byte) string {
	if s, ok := (*i)[string(b)]; ok {
		return s
	}
	if *i == nil || len(*i) >= maxInterned {
		*i = interned{}
	}
	s := string(b)
	(*i)[s] = s
	return s
}

// decode decodes an agent's event. A flow is valid until m is reset.
func decode(d *wire.Decoder, encoded []byte, m *wire.Memory) (*event.Event, error) {
	ev, err := d.DecodeReusing(encoded, m)
	if err != nil {
		return nil, status.Errorf(codes.Internal, "decode event: %v", err)
	}
	return ev, nil
}

// show redacts a merged event, and reports whether the caller gets it.
func (c *call) show(ev *event.Event) bool {
	if !c.view.Redact(ev) {
		return false
	}
	match, err := c.target.filter.Match(ev)
	return match && err == nil
}

// newCollector returns a collector for the request, within the limits of one.
func (c *call) newCollector(o collect.Options) *collect.Collector {
	o.Namer, o.Kinds, o.MaxFlows, o.MaxFlowBytes = c.pods, c.target.kinds, maxFlows, maxFlowBytes
	o.MaxPendingBytes, o.MaxClosedBytes = maxPendingBytes, maxClosedBytes
	o.Refused = func(node string, why error) {
		c.log.Warn("an agent sent what no agent of this version sends", "node", node, "err", why)
	}
	return collect.New(o)
}
