//go:build linux

// Package gpu observes the node's NVIDIA GPUs. It finds the driver's library, has a process of its own read it
// (cmd/orb8-nvml), and tells whose the processes on the GPUs are. A driver that hangs or crashes takes that process
// with it and not the trace.
package gpu

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/orb8-dev/kubectl-orb8/bpf"
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/internal/rootfs"
	"github.com/orb8-dev/kubectl-orb8/tracer/pods"
)

const (
	// minInterval is how often GPUs are read at most: the driver's own samples are not newer.
	minInterval = 250 * time.Millisecond
	// backoff is how long to wait before a driver that failed is tried again, doubled to maxBackoff.
	backoff    = time.Second
	maxBackoff = 30 * time.Second
)

// Sink takes one event and the id of the cgroup it was made in, or pods.NodeLevel.
type Sink = func(cgroup uint64, ev *event.Event)

// Options say what is observed and how.
type Options struct {
	// Containers lists those whose processes are named.
	Containers func() []Container
	// Interval is the time between two looks; less than minInterval: that.
	Interval time.Duration
	// Library is the path of the driver's library, on the node; empty: it is looked for.
	Library string
	// PodResources is that of the socket of the kubelet's pod-resources API, where {node} stands for the node's name;
	// empty: it is looked for.
	PodResources string
	// Node is the node's name.
	Node string
	// Asked reports whether a container of the node was asked for, running or not; nil: none was.
	Asked func(namespace, pod, container string) bool
	// Child is the program to run, HostRoot the node's root directory, Proc its /proc; empty: those of a tracer's
	// container.
	Child, HostRoot, Proc string
}

// Probe observes the GPUs while it runs.
type Probe struct {
	o      Options
	places places
	mu     sync.Mutex
}

// Open checks that GPUs could be read. No GPU and no driver is no error: one may come.
func Open(o Options) (*Probe, error) {
	o.Interval = max(o.Interval, minInterval)
	if o.Proc == "" {
		o.Proc = "/proc"
	}
	if o.HostRoot == "" {
		o.HostRoot = hostRoot(o.Proc)
	}
	if o.Child == "" {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		o.Child = filepath.Join(filepath.Dir(self), "orb8-nvml")
	}
	if _, err := os.Stat(o.Child); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("this image has no %s, which reads the driver", o.Child)
	}
	return &Probe{o: o, places: places{own: "/", host: o.HostRoot, proc: o.Proc}}, nil
}

func (p *Probe) kubelets() kubelets {
	return kubelets{places: p.places, node: p.o.Node, wanted: p.o.PodResources}
}

// hostRoot is the node's root as its first process sees it; where that one is kept from all others, as the process does
// that has started this container: the runtime's. A process of a pod is no such one.
func hostRoot(proc string) string {
	first := filepath.Join(proc, "1/root")
	if _, err := os.Stat(first); !errors.Is(err, fs.ErrPermission) {
		return first
	}
	parent, err := rootfs.OpenProcess(proc, os.Getppid())
	if err != nil {
		return first
	}
	defer parent.Close()
	uid, err := parent.UID()
	if err != nil || !privileged(uid) {
		return first
	}
	if cgroups, err := parent.ReadFile("cgroup", maxCgroupFile); err != nil || pods.InPod(cgroups) {
		return first
	}
	path := filepath.Join(proc, strconv.Itoa(parent.PID()), "root")
	if _, err := os.Stat(path); err != nil {
		return first
	}
	return path
}

// Hooks is what was found to read, for doctor.
func (p *Probe) Hooks() []string {
	library, err := p.places.find(nvmlLibrary, p.o.Library)
	if err != nil {
		return nil
	}
	defer library.Close()
	return []string{library.path}
}

// Run observes until ctx ends. What goes wrong with the driver is an event and no error.
func (p *Probe) Run(ctx context.Context, sink Sink) error {
	watch := newWatch(newOwners(p.o.Proc, p.o.Containers), func(cgroup uint64, ev *event.Event) {
		ev.Time = uint64(time.Now().UnixNano())
		sink(cgroup, ev)
	})
	defer p.allocate(ctx, watch)()
	each := func(ev *event.Event) {
		p.mu.Lock()
		defer p.mu.Unlock()
		watch.take(ev.GetGpu())
	}
	wait := backoff
	for ctx.Err() == nil {
		began := time.Now()
		library, err := p.places.find(nvmlLibrary, p.o.Library)
		if err == nil {
			err = p.child(ctx, library.File, each)
			library.Close()
		}
		if ctx.Err() != nil {
			return nil
		}
		if err == nil {
			err = errors.New("what reads the driver ended by itself")
		}
		p.mu.Lock()
		watch.unavailable(err.Error())
		p.mu.Unlock()
		if time.Since(began) > 2*maxBackoff {
			wait = backoff
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		wait = min(2*wait, maxBackoff)
	}
	return nil
}

// allocate has the kubelet asked, for watch, until what it returns is called.
func (p *Probe) allocate(ctx context.Context, watch *watch) (stop func()) {
	a := newAllocations(p.kubelets(), p.o.Interval)
	watch.allocations = a.now
	if p.o.Asked != nil {
		watch.asked = p.o.Asked
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.run(ctx)
	}()
	return func() {
		cancel()
		<-done
	}
}

// Flush has nothing to do: no number is kept back.
func (p *Probe) Flush(context.Context) error { return nil }

// Lost is nothing: there is no place to lose an event in.
func (p *Probe) Lost() []bpf.Loss { return nil }

// Watermark is now: events get their time when they are handed on.
func (p *Probe) Watermark() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return uint64(time.Now().UnixNano())
}

// Close has nothing to detach: the process that reads has ended with Run.
func (p *Probe) Close() error { return nil }
