//go:build linux

package tracer

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"time"

	"github.com/orb8-dev/kubectl-orb8/bpf"
	"github.com/orb8-dev/kubectl-orb8/bpf/scope"
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/tracer/gpu"
	"github.com/orb8-dev/kubectl-orb8/tracer/pods"
)

// gpuSource reads devices from the driver and counts the driver calls of processes.
type gpuSource struct {
	devices *gpu.Probe
	calls   *gpu.Calls
	root    string
	list    func() []pods.Container
}

func openGPU(ctx context.Context, scope *scope.Scope, o SourceOptions) (Source, error) {
	if err := o.Config.GetGpu().Check(); err != nil {
		return nil, err
	}
	s := &gpuSource{root: o.CgroupRoot, list: o.Containers}
	interval := time.Duration(o.Config.GetInterval())
	var err error
	if s.devices, err = gpu.Open(gpu.Options{
		Containers: s.containers, Interval: interval, Library: o.Config.GetGpu().GetLibrary(),
		PodResources: o.Config.GetGpu().GetPodResources(),
		Node:         o.Node, IsTarget: o.IsTarget,
	}); err != nil {
		return nil, err
	}
	s.calls, err = gpu.OpenCalls(ctx, gpu.CallsOptions{Scope: scope, Containers: s.containers, Interval: interval,
		Library: o.Config.GetGpu().GetCudaLibrary()})
	if err != nil {
		return nil, errors.Join(err, s.devices.Close())
	}
	return s, nil
}

func (s *gpuSource) containers() []gpu.Container {
	if s.list == nil {
		return nil
	}
	list := s.list()
	out := make([]gpu.Container, len(list))
	for i, c := range list {
		out[i] = gpu.Container{Cgroup: c.Cgroup, Dir: filepath.Join(s.root, c.Path), Name: c.Name()}
	}
	return out
}

// Run ends when one of the two probes does.
func (s *gpuSource) Run(ctx context.Context, sink Sink) error {
	ctx, end := context.WithCancel(ctx)
	defer end()
	var mu sync.Mutex
	one := func(cgroup uint64, ev *event.Event) {
		mu.Lock()
		defer mu.Unlock()
		sink(cgroup, ev)
	}
	calls := make(chan error, 1)
	go func() {
		defer end()
		calls <- s.calls.Run(ctx, one)
	}()
	err := s.devices.Run(ctx, one)
	end()
	return errors.Join(err, <-calls)
}

// Flush waits for the calls; the device probe holds no events.
func (s *gpuSource) Flush(ctx context.Context) error {
	return errors.Join(s.devices.Flush(ctx), s.calls.Flush(ctx))
}

func (s *gpuSource) Lost() []bpf.Loss { return append(s.devices.Lost(), s.calls.Lost()...) }

func (s *gpuSource) Watermark() uint64 { return min(s.devices.Watermark(), s.calls.Watermark()) }

func (s *gpuSource) Close() error { return errors.Join(s.calls.Close(), s.devices.Close()) }

// ExamineCalls reports for doctor which driver calls of processes can be counted on this machine. library is the path
// of libcuda.so.1; empty: search for it.
func ExamineCalls(ctx context.Context, h Host, library string) (detail string, err error) {
	root, err := h.CgroupRoot()
	if err != nil {
		return "", err
	}
	s, err := scope.Open(scope.Options{CgroupRoot: root})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	return gpu.ExamineCalls(ctx, gpu.CallsOptions{Scope: s, Containers: func() []gpu.Container { return nil },
		Library: library})
}
