//go:build linux

package gpu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/orb8-dev/kubectl-orb8/bpf"
	"github.com/orb8-dev/kubectl-orb8/bpf/cuda"
	"github.com/orb8-dev/kubectl-orb8/bpf/scope"
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/tracer/pods"
)

// libraryInterval is how often findNode retries while the node has no library.
const libraryInterval = 10 * time.Second

// CallsOptions configure Calls.
type CallsOptions struct {
	// Scope is the set of observed cgroups. Containers lists the containers whose processes are read.
	Scope      *scope.Scope
	Containers func() []Container
	// Interval is the time between two reports; at least minInterval.
	Interval time.Duration
	// Library is the path of libcuda.so.1 on the node; empty: search for it.
	Library string
	// HostRoot is the node's root directory, Proc its /proc; empty: as in a tracer's container.
	HostRoot, Proc string
}

// Calls counts the driver calls of processes.
type Calls struct {
	o       CallsOptions
	places  places
	probe   *cuda.Probe
	callers *callers
	clock   *bpf.Clock
	// none is the reason why nothing is counted.
	none error
	// node is the node's own library, or nil; missed is the time of the last search. reported is the last reported
	// reason.
	node     *probed
	missed   time.Time
	reported string
	// restored is the probe's Restored counter after the last restore.
	restored uint64
	// ending are ended processes. Their counters are final at the next read.
	ending   map[cuda.ID]bool
	requests chan chan error

	// mu is held during a call of sink.
	mu   sync.Mutex
	sink Sink
}

// OpenCalls attaches probes to the node's library, so that later processes are counted from their first call. If
// nothing can be counted, Run reports that in an event; it is not an error.
func OpenCalls(ctx context.Context, o CallsOptions) (*Calls, error) {
	o.Interval = max(o.Interval, minInterval)
	if o.Proc == "" {
		o.Proc = "/proc"
	}
	if o.HostRoot == "" {
		o.HostRoot = hostRoot(o.Proc)
	}
	clock, err := bpf.NewClock()
	if err != nil {
		return nil, err
	}
	c := &Calls{o: o, places: places{own: "/", host: o.HostRoot, proc: o.Proc}, clock: clock,
		ending: map[cuda.ID]bool{}, requests: make(chan chan error)}
	if c.probe, c.none = cuda.Open(ctx, cuda.Options{Scope: o.Scope}); c.none != nil {
		return c, nil
	}
	c.callers = newCallers(o.Proc, o.Containers, c.probe.Attach, c.onFailure)
	c.callers.detach = c.probe.Detach
	c.callers.complete = func(l *cuda.Library, f *os.File) error {
		if !c.probe.Incomplete(l) {
			return nil
		}
		return c.probe.Complete(l, f)
	}
	c.findNode()
	return c, nil
}

// findNode probes the node's own library.
func (c *Calls) findNode() {
	c.missed = time.Now()
	f, err := c.places.find(cudaLibrary, c.o.Library)
	if err != nil {
		// Probe already reports a missing driver. Only the error for a configured path is reported here.
		if c.o.Library != "" {
			c.setUnavailable(err)
		}
		return
	}
	id, err := identify(f.File)
	if err != nil {
		f.Close()
		c.setUnavailable(fmt.Errorf("%s: %w", f.path, err))
		return
	}
	c.node = c.callers.probe(f.File, id, false, f.path)
}

// onFailure reports a library that cannot be probed.
func (c *Calls) onFailure(l *probed) { c.setUnavailable(fmt.Errorf("%s: %w", l.path, l.err)) }

// setUnavailable sets the reason why calls are not counted, and reports it if Run has started.
func (c *Calls) setUnavailable(err error) {
	if c.none = err; c.sink != nil {
		c.reportUnavailable()
	}
}

// reportUnavailable reports the reason why calls are not counted, unless it is the last reported one.
func (c *Calls) reportUnavailable() {
	if c.none == nil || c.none.Error() == c.reported {
		return
	}
	c.reported = c.none.Error()
	c.report(pods.NodeLevel, &event.Gpu{Type: event.GpuEventType_GPU_EVENT_TYPE_UNAVAILABLE,
		Message: strings.ToValidUTF8(event.CallsNotCounted+": "+c.reported, "\uFFFD")})
}

// report passes an event with the current time to the sink.
func (c *Calls) report(cgroup uint64, g *event.Gpu) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sink(cgroup, &event.Event{Time: uint64(time.Now().UnixNano()), Kind: &event.Event_Gpu{Gpu: g}})
}

// Run counts until ctx ends. One goroutine at a time calls sink.
func (c *Calls) Run(ctx context.Context, sink Sink) error {
	c.sink = sink
	c.reportUnavailable()
	if c.probe == nil {
		return c.idle(ctx)
	}
	inner, end := context.WithCancel(ctx)
	defer end()
	failing := make(chan error, 1)
	go func() {
		failing <- c.probe.Run(inner, func(cgroup uint64, ev *event.Event) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.sink(cgroup, ev)
		})
	}()
	err := c.work(ctx, failing)
	end()
	if err == nil {
		err = <-failing
	}
	return err
}

// idle answers flush requests until ctx ends.
func (c *Calls) idle(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case done := <-c.requests:
			done <- nil
		}
	}
}

func (c *Calls) work(ctx context.Context, failing <-chan error) error {
	young, due := time.NewTimer(0), time.NewTimer(bpf.Until(c.o.Interval))
	defer young.Stop()
	defer due.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failing:
			if err == nil && ctx.Err() == nil {
				err = errors.New("the reading of failures ended by itself")
			}
			return err
		case <-young.C:
			c.callers.survey(false)
			young.Reset(bpf.Until(youngInterval))
		case <-due.C:
			if c.node == nil && time.Since(c.missed) > libraryInterval {
				c.findNode()
			}
			if c.callers.survey(true) {
				c.callers.free(time.Now(), c.node)
			}
			if err := c.readCounters(); err != nil {
				return err
			}
			c.restore()
			due.Reset(bpf.Until(c.o.Interval))
		case done := <-c.requests:
			c.callers.survey(true)
			err := c.readCounters()
			done <- err
			if err != nil {
				return err
			}
		}
	}
}

// restore reattaches probes that were removed for their cost, by finding their libraries again.
func (c *Calls) restore() {
	if n := c.probe.Restored(); n != c.restored {
		c.restored = n
		c.callers.refresh()
		c.findNode()
	}
}

// readCounters reports the calls of each process so far.
func (c *Calls) readCounters() error {
	if err := c.clock.Keep(); err != nil {
		return err
	}
	counted, err := c.probe.ReadCounters()
	if err != nil {
		return err
	}
	unavailable := ""
	if off := c.probe.Off(); len(off) > 0 {
		unavailable = "taken off for what counting them cost: " + strings.Join(off, ", ")
	}
	reported := map[uint32]bool{}
	var gone []cuda.ID
	for i := range counted {
		p := &counted[i]
		k := c.callers.known[p.PID]
		if k != nil && k.started != p.Started*userHz/uint64(time.Second) {
			k = nil
		}
		if started, _, ok := c.callers.stat(p.PID); !ok || started != p.Started*userHz/uint64(time.Second) {
			// It may have made calls after its counters were read.
			if c.ending[p.ID] {
				gone = append(gone, p.ID)
				delete(c.ending, p.ID)
			} else {
				c.ending[p.ID] = true
			}
		} else if comm, err := c.callers.read(p.PID, "comm"); err == nil {
			p.Comm = bytes.Clone(bytes.TrimSuffix(comm, []byte("\n")))
		}
		reported[p.PID] = k != nil
		c.complete(p, k)
		c.report(p.Cgroup, &event.Gpu{Type: event.GpuEventType_GPU_EVENT_TYPE_CALLS,
			Proc: &event.GpuProcess{Pid: p.PID, Comm: p.Comm}, Calls: p.Calls, Unavailable: unavailable})
	}
	// Processes with a library and without calls.
	for pid, k := range c.callers.known {
		if reported[pid] || !k.loaded(false) && !k.loaded(true) {
			continue
		}
		comm, err := c.callers.read(pid, "comm")
		if err != nil {
			continue
		}
		p := &cuda.Process{ID: cuda.ID{PID: pid, Started: k.started * uint64(time.Second) / userHz},
			Calls: c.probe.None()}
		c.complete(p, k)
		c.report(k.cgroup, &event.Gpu{
			Type: event.GpuEventType_GPU_EVENT_TYPE_CALLS,
			Proc: &event.GpuProcess{Pid: pid, Comm: bytes.Clone(bytes.TrimSuffix(comm, []byte("\n")))}, Calls: p.Calls,
			Unavailable: unavailable,
		})
	}
	return c.probe.Forget(gone)
}

// complete sets the time since which a process is counted, and removes unknown values. k is nil for a process that
// ended before it was read.
func (c *Calls) complete(p *cuda.Process, k *caller) {
	var libraries []*probed
	if k != nil {
		libraries = k.libraries
	}
	if k == nil || !k.loaded(false) {
		// It has called one of these; which one is unknown.
		for _, l := range c.callers.libraries {
			libraries = append(libraries, l)
		}
	}
	began, clean := c.wall(p.Started), p.Started
	if k != nil {
		clean = max(clean, k.clean)
	}
	since, whole := began, true
	for _, l := range libraries {
		if l.nccl || l.Library == nil {
			continue
		}
		since = max(since, l.Since)
		whole = whole && l.Boottime < clean
	}
	p.Calls.Since = since
	if !whole {
		p.Calls.OutstandingBytes = nil
	}
	if (k == nil || !k.loaded(true)) && p.Calls.GetCollectives() == 0 {
		p.Calls.Collectives = nil
	}
}

// wall converts a time of CLOCK_BOOTTIME to ns since the Unix epoch; 0 if it cannot.
func (c *Calls) wall(boottime uint64) uint64 {
	now, err := bpf.Boottime()
	if err != nil || boottime > now {
		return 0
	}
	return c.clock.Wall(bpf.Monotonic()) - (now - boottime)
}

// Flush reports the current counters to the sink of the running Run before it returns.
func (c *Calls) Flush(ctx context.Context) error {
	if c.probe != nil {
		if err := c.probe.Flush(ctx); err != nil {
			return err
		}
	}
	done := make(chan error, 1)
	select {
	case c.requests <- done:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Lost returns the losses since OpenCalls.
func (c *Calls) Lost() []bpf.Loss {
	if c.probe == nil {
		return nil
	}
	return c.probe.Lost()
}

// Watermark is a time, ns since the Unix epoch: no older event will be reported.
func (c *Calls) Watermark() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := uint64(time.Now().UnixNano())
	if c.probe == nil {
		return now
	}
	return min(now, c.probe.Watermark())
}

// Close detaches all probes.
func (c *Calls) Close() error {
	if c.probe == nil {
		return nil
	}
	return c.probe.Close()
}
