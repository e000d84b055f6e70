//go:build linux

// Package gpu observes the node's NVIDIA GPUs. It finds the driver's library, runs a child process that reads it
// (cmd/orb8-nvml), and finds the containers of the processes on the GPUs. A driver that hangs or crashes affects only
// the child process.
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
	// minInterval is the least time between two reads of the GPUs: the driver takes no newer samples.
	minInterval = 250 * time.Millisecond
	// backoff is the time before a failed driver is retried, doubled up to maxBackoff.
	backoff    = time.Second
	maxBackoff = 30 * time.Second
)

// Sink receives one event and the id of its cgroup, or pods.NodeLevel.
type Sink = func(cgroup uint64, ev *event.Event)

// Options configure a Probe.
type Options struct {
	// Containers lists the containers whose processes are named.
	Containers func() []Container
	// Interval is the time between two reads of the devices; at least minInterval.
	Interval time.Duration
	// Library is the path of the driver's library on the node; empty: search for it.
	Library string
	// PodResources is the path of the kubelet's pod-resources socket, where {node} is replaced by the node's name;
	// empty: search for it.
	PodResources string
	// Node is the node's name.
	Node string
	// IsTarget reports whether a container of the node is a target, running or not; nil: none is.
	IsTarget func(namespace, pod, container string) bool
	// Child is the program to run, HostRoot the node's root directory, Proc its /proc; empty: those of a tracer's
	// container.
	Child, HostRoot, Proc string
}

// Probe observes the GPUs of a node.
type Probe struct {
	o      Options
	places places
	mu     sync.Mutex
}

// Open checks that the child program exists. A missing GPU or driver is not an error: it may be installed later.
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

// hostRoot returns the path of the node's root directory through its first process. If access to that process is
// denied, it uses the parent of this container's first process: the runtime. A process of a pod is not trusted.
func hostRoot(proc string) string {
	first := filepath.Join(proc, "1/root")
	if _, err := os.Stat(first); !errors.Is(err, fs.ErrPermission) {
		return first
	}
	parent, err := rootfs.OpenProcess(proc, os.Getppid())
	if err != nil {
		return first
	}
	defer func() { _ = parent.Close() }()
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

// Hooks returns the path of the driver's library, for doctor.
func (p *Probe) Hooks() []string {
	library, err := p.places.find(nvmlLibrary, p.o.Library)
	if err != nil {
		return nil
	}
	defer library.Close()
	return []string{library.path}
}

// Run observes until ctx ends. Errors of the driver are events.
func (p *Probe) Run(ctx context.Context, sink Sink) error {
	watch := newWatch(newOwners(p.o.Proc, p.o.Containers), func(cgroup uint64, ev *event.Event) {
		ev.Time = uint64(time.Now().UnixNano())
		sink(cgroup, ev)
	})
	defer p.allocate(ctx, watch)()
	each := func(ev *event.Event) {
		p.mu.Lock()
		defer p.mu.Unlock()
		watch.onEvent(ev.GetGpu())
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
			err = errReaderEnded
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

// allocate keeps the kubelet's allocations up to date for watch until stop is called.
func (p *Probe) allocate(ctx context.Context, watch *watch) (stop func()) {
	a := newAllocations(p.kubelets(), p.o.Interval)
	watch.allocations = a.now
	if p.o.IsTarget != nil {
		watch.isTarget = p.o.IsTarget
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

// Flush does nothing: the probe holds no events.
func (p *Probe) Flush(context.Context) error { return nil }

// Lost returns nil: the probe has no buffer.
func (p *Probe) Lost() []bpf.Loss { return nil }

// Watermark is the current time: events get their time when they are passed to the sink.
func (p *Probe) Watermark() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return uint64(time.Now().UnixNano())
}

// Close does nothing: the child process has ended with Run.
func (p *Probe) Close() error { return nil }
