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

// libraryInterval is how often the node's library is looked for while there is none.
const libraryInterval = 10 * time.Second

// CallsOptions say whose calls are counted and how.
type CallsOptions struct {
	// Scope says which cgroups are observed. Containers lists those whose processes are looked at.
	Scope      *scope.Scope
	Containers func() []Container
	// Interval is the time between two looks; less than minInterval: that.
	Interval time.Duration
	// Library is the path of libcuda.so.1 on the node; empty: it is looked for.
	Library string
	// HostRoot is the node's root directory, Proc its /proc; empty: as a tracer's container has them.
	HostRoot, Proc string
}

// Calls counts what processes ask of the driver while it runs.
type Calls struct {
	o       CallsOptions
	places  places
	probe   *cuda.Probe
	callers *callers
	clock   *bpf.Clock
	// none says why nothing is counted.
	none error
	// node is the node's own library, as far as it was found; missed when it was last looked for, said what was told of
	// it.
	node   *probed
	missed time.Time
	said   string
	// restored is how often probes that were taken off came back, as far as the libraries have them again.
	restored uint64
	// ending are processes that were found to have ended: at the next look their numbers are the last.
	ending   map[cuda.ID]bool
	requests chan chan error

	// mu is held while events are handed on.
	mu   sync.Mutex
	sink Sink
}

// OpenCalls attaches probes to the node's library, so that all processes that come later are seen from their first
// call. Where nothing can be counted, that is what it has to tell, and no error.
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
	c.callers = newCallers(o.Proc, o.Containers, c.probe.Attach, c.trouble)
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

// findNode has the node's own library probed.
func (c *Calls) findNode() {
	c.missed = time.Now()
	f, err := c.places.find(cudaLibrary, c.o.Library)
	if err != nil {
		// Without a driver there is nothing to count, which is said of the driver already; but who names a path wants
		// to know.
		if c.o.Library != "" {
			c.say(err)
		}
		return
	}
	id, err := identify(f.File)
	if err != nil {
		f.Close()
		c.say(fmt.Errorf("%s: %w", f.path, err))
		return
	}
	c.node = c.callers.probe(f.File, id, false, f.path)
}

// trouble tells of a library that cannot be probed.
func (c *Calls) trouble(l *probed) { c.say(fmt.Errorf("%s: %w", l.path, l.err)) }

// say keeps what is to be told, once for each reason.
func (c *Calls) say(err error) {
	if c.none = err; c.sink != nil {
		c.tell()
	}
}

func (c *Calls) tell() {
	if c.none == nil || c.none.Error() == c.said {
		return
	}
	c.said = c.none.Error()
	c.report(pods.NodeLevel, &event.Gpu{Type: event.GpuEventType_GPU_EVENT_TYPE_UNAVAILABLE,
		Message: strings.ToValidUTF8(event.CallsNotCounted+": "+c.said, "\uFFFD")})
}

// report hands on an event of now.
func (c *Calls) report(cgroup uint64, g *event.Gpu) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sink(cgroup, &event.Event{Time: uint64(time.Now().UnixNano()), Kind: &event.Event_Gpu{Gpu: g}})
}

// Run counts until ctx ends. One goroutine at a time calls sink.
func (c *Calls) Run(ctx context.Context, sink Sink) error {
	c.sink = sink
	c.tell()
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

// idle answers who flushes.
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
			young.Reset(bpf.Until(newcomers))
		case <-due.C:
			if c.node == nil && time.Since(c.missed) > libraryInterval {
				c.findNode()
			}
			if c.callers.survey(true) {
				c.callers.free(time.Now(), c.node)
			}
			if err := c.look(); err != nil {
				return err
			}
			c.restore()
			due.Reset(bpf.Until(c.o.Interval))
		case done := <-c.requests:
			c.callers.survey(true)
			err := c.look()
			done <- err
			if err != nil {
				return err
			}
		}
	}
}

// restore has the libraries found again that lack probes which were taken off for their cost: they are put back.
func (c *Calls) restore() {
	if n := c.probe.Restored(); n != c.restored {
		c.restored = n
		c.callers.refresh()
		c.findNode()
	}
}

// look reports what each process has asked for so far.
func (c *Calls) look() error {
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
	told := map[uint32]bool{}
	var gone []cuda.ID
	for i := range counted {
		p := &counted[i]
		k := c.callers.known[p.PID]
		if k != nil && k.started != p.Started*userHz/uint64(time.Second) {
			k = nil
		}
		if started, _, ok := c.callers.stat(p.PID); !ok || started != p.Started*userHz/uint64(time.Second) {
			// It may have called something since its numbers were read.
			if c.ending[p.ID] {
				gone = append(gone, p.ID)
				delete(c.ending, p.ID)
			} else {
				c.ending[p.ID] = true
			}
		} else if comm, err := c.callers.read(p.PID, "comm"); err == nil {
			p.Comm = bytes.Clone(bytes.TrimSuffix(comm, []byte("\n")))
		}
		told[p.PID] = k != nil
		c.complete(p, k)
		c.report(p.Cgroup, &event.Gpu{Type: event.GpuEventType_GPU_EVENT_TYPE_CALLS,
			Proc: &event.GpuProcess{Pid: p.PID, Comm: p.Comm}, Calls: p.Calls, Unavailable: unavailable})
	}
	// Those that have a library and have not called it yet.
	for pid, k := range c.callers.known {
		if told[pid] || !k.loaded(false) && !k.loaded(true) {
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

// complete says since when a process is counted, and leaves away what is not known of it. k is nil of one that was gone
// before it was looked at.
func (c *Calls) complete(p *cuda.Process, k *caller) {
	var libraries []*probed
	if k != nil {
		libraries = k.libraries
	}
	if k == nil || !k.loaded(false) {
		// It has called one of these, and nobody has seen which.
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

// wall gives the time of CLOCK_BOOTTIME as ns since the Unix epoch.
func (c *Calls) wall(boottime uint64) uint64 {
	now, err := bpf.Boottime()
	if err != nil || boottime > now {
		return 0
	}
	return c.clock.Wall(bpf.Monotonic()) - (now - boottime)
}

// Flush reports all that was counted by now to the sink of the running Run before it returns.
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

// Lost tells what was dropped since OpenCalls.
func (c *Calls) Lost() []bpf.Loss {
	if c.probe == nil {
		return nil
	}
	return c.probe.Lost()
}

// Watermark is a time, ns since the Unix epoch: nothing older will be reported any more.
func (c *Calls) Watermark() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := uint64(time.Now().UnixNano())
	if c.probe == nil {
		return now
	}
	return min(now, c.probe.Watermark())
}

// Close takes all probes off.
func (c *Calls) Close() error {
	if c.probe == nil {
		return nil
	}
	return c.probe.Close()
}
