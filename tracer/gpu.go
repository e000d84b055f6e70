//go:build linux

package tracer

import (
	"context"
	"path/filepath"
	"time"

	"github.com/orb8-dev/kubectl-orb8/bpf/scope"
	"github.com/orb8-dev/kubectl-orb8/event/session"
	"github.com/orb8-dev/kubectl-orb8/tracer/gpu"
	"github.com/orb8-dev/kubectl-orb8/tracer/pods"
)

// gpuSource is told which containers there are, whose processes it names.
type gpuSource struct {
	*gpu.Probe
	root string
	list func() []pods.Container
}

func openGPU(_ context.Context, _ *scope.Scope, cgroupRoot string, config *session.Config) (Source, error) {
	s := &gpuSource{root: cgroupRoot, list: func() []pods.Container { return nil }}
	p, err := gpu.Open(gpu.Options{
		Containers: s.containers,
		Interval:   time.Duration(config.GetInterval()),
		Library:    config.GetGpu().GetLibrary(),

		PodResources: config.GetGpu().GetPodResources(),
	})
	if err != nil {
		return nil, err
	}
	s.Probe = p
	return s, nil
}

// SetContainers is called before Run.
func (s *gpuSource) SetContainers(list func() []pods.Container) { s.list = list }

func (s *gpuSource) containers() []gpu.Container {
	list := s.list()
	out := make([]gpu.Container, len(list))
	for i, c := range list {
		out[i] = gpu.Container{Cgroup: c.Cgroup, Dir: filepath.Join(s.root, c.Path), Name: c.Name()}
	}
	return out
}

func (s *gpuSource) Run(ctx context.Context, sink Sink) error { return s.Probe.Run(ctx, sink) }
