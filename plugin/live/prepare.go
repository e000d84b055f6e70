package live

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/orb8-dev/kubectl-orb8/cluster"
	"github.com/orb8-dev/kubectl-orb8/plugin/launch"
	"github.com/orb8-dev/kubectl-orb8/plugin/rights"
)

// prepare finds the targets and checks the user's rights before it creates anything in the cluster.
func (s *Session) prepare() (View, error) {
	ctx, client, namespace := s.running, s.deps.Client, s.config.Spec.Namespace
	asked, cancel := context.WithCancel(ctx)
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel() // where one answer is enough to fail
	allowed, extends, ports := make(chan error, 1), make(chan bool, 1), make(chan foundPorts, 1)
	class := make(chan error, 1)
	asking.Go(func() { allowed <- rights.Check(asked, client, namespace) })
	asking.Go(func() { extends <- rights.MayExtend(asked, client, namespace) })
	asking.Go(func() { ports <- s.findDNSPorts(asked) })
	asking.Go(func() { class <- s.config.Spec.ResolveRuntimeClass(asked, client) })
	view, err := s.deps.Open(ctx, func(note string) { s.deps.Status.Logf("note: %s", note) })
	// In this order, a user without any rights reads the first missing right, not the second.
	if refusal := <-allowed; refusal != nil && (err == nil || !namesCause(err)) {
		if err == nil {
			view.Close()
		}
		return nil, refusal
	}
	if err != nil {
		return nil, err
	}
	s.config.Spec.Deadline = launch.JobDeadline(<-extends)
	s.setDNSPorts(<-ports)
	err = s.checkTargets(ctx, view)
	if err == nil {
		err = <-class
	}
	if err != nil {
		view.Close()
		return nil, err
	}
	return view, nil
}

// namesCause reports whether an error of opening the view explains more than a missing right.
func namesCause(err error) bool {
	return errors.As(err, new(*cluster.ForbiddenError)) || errors.As(err, new(*cluster.NotFoundError))
}

// checkTargets reports why there is nothing to trace, and fails where waiting does not help.
func (s *Session) checkTargets(ctx context.Context, view View) error {
	if _, nodes := view.Targets(); nodes > 0 {
		return nil
	}
	untraced := view.Untraced(ctx)
	if untraced.Final {
		return errors.New(strings.Join(untraced.Reasons, "; "))
	}
	for _, reason := range untraced.Reasons {
		s.deps.Status.Logf("%s", reason)
	}
	s.deps.Status.Logf("nothing matches %s yet: waiting for pods to appear (^C ends)", &s.config.Query)
	return nil
}

// sweep removes what earlier sessions left.
func (s *Session) sweep() {
	ctx, client, namespace := s.running, s.deps.Client, s.config.Spec.Namespace
	swept, err := launch.Sweep(ctx, client, namespace, time.Now())
	if len(swept) > 0 {
		s.deps.Status.Logf("removed what an earlier session left: %s", strings.Join(swept, ", "))
	}
	if err != nil && ctx.Err() == nil {
		s.deps.Status.Logf("note: could not look for leftovers of earlier sessions: %v", err)
	}
	removed, err := launch.SweepPods(ctx, client, namespace, time.Now())
	for _, line := range removed {
		s.deps.Status.Logf("%s", line)
	}
	if err != nil && ctx.Err() == nil {
		s.deps.Status.Logf("note: %v", err)
	}
}
