//go:build linux

package tracer

import (
	"context"
	"time"

	"github.com/orb8-dev/kubectl-orb8/bpf/resources"
	"github.com/orb8-dev/kubectl-orb8/bpf/scope"
	"github.com/orb8-dev/kubectl-orb8/tracer/pods"
)

// resourceSource reads the cgroup files of the observed containers.
type resourceSource struct {
	*resources.Probe
	list func() []pods.Container
}

func openResources(ctx context.Context, scope *scope.Scope, o SourceOptions) (Source, error) {
	s := &resourceSource{list: o.Containers}
	p, err := resources.Open(ctx, resources.Options{
		Scope:      scope,
		CgroupRoot: o.CgroupRoot,
		Containers: s.containers,
		Interval:   time.Duration(o.Config.GetInterval()),
	})
	if err != nil {
		return nil, err
	}
	s.Probe = p
	return s, nil
}

func (s *resourceSource) containers() []resources.Container {
	if s.list == nil {
		return nil
	}
	list := s.list()
	out := make([]resources.Container, len(list))
	for i, c := range list {
		out[i] = resources.Container{Cgroup: c.Cgroup, Path: c.Path, Below: c.Below}
	}
	return out
}
