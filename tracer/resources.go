//go:build linux

package tracer

import (
	"context"
	"time"

	"github.com/orb8-dev/kubectl-orb8/bpf/resources"
	"github.com/orb8-dev/kubectl-orb8/bpf/scope"
	"github.com/orb8-dev/kubectl-orb8/event/session"
	"github.com/orb8-dev/kubectl-orb8/tracer/pods"
)

// resourceSource is told which containers there are, whose files it reads.
type resourceSource struct {
	*resources.Probe
	list func() []pods.Container
}

func openResources(ctx context.Context, scope *scope.Scope, cgroupRoot string, config *session.Config) (Source, error) {
	s := &resourceSource{list: func() []pods.Container { return nil }}
	p, err := resources.Open(ctx, resources.Options{
		Scope:      scope,
		CgroupRoot: cgroupRoot,
		Containers: s.containers,
		Interval:   time.Duration(config.GetInterval()),
	})
	if err != nil {
		return nil, err
	}
	s.Probe = p
	return s, nil
}

// SetContainers is called before Run.
func (s *resourceSource) SetContainers(list func() []pods.Container) { s.list = list }

func (s *resourceSource) containers() []resources.Container {
	list := s.list()
	out := make([]resources.Container, len(list))
	for i, c := range list {
		out[i] = resources.Container{Cgroup: c.Cgroup, Path: c.Path, Below: c.Below}
	}
	return out
}
