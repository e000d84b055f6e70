//go:build linux

package tracer

import (
	"context"
	"fmt"
	"math"
	"runtime/debug"
	"time"

	"github.com/orb8-dev/kubectl-orb8/bpf/dns"
	"github.com/orb8-dev/kubectl-orb8/bpf/drops"
	"github.com/orb8-dev/kubectl-orb8/bpf/exec"
	"github.com/orb8-dev/kubectl-orb8/bpf/flows"
	"github.com/orb8-dev/kubectl-orb8/bpf/scope"
	"github.com/orb8-dev/kubectl-orb8/bpf/signals"
	"github.com/orb8-dev/kubectl-orb8/bpf/syscalls"
	"github.com/orb8-dev/kubectl-orb8/bpf/tcp"
	"github.com/orb8-dev/kubectl-orb8/event/session"
	"github.com/orb8-dev/kubectl-orb8/tracer/pods"
)

// probes has one line per probe.
var probes = []probe{
	{"flow", openFlows},
	{"tcp", openTCP},
	{"dns", openDNS},
	{"drop", openDrops},
	{"exec", openExec},
	{"signal", openSignals},
	{"syscall", openSyscalls},
	{"syscallSummary", openSyscallSummary},
	{"packet", openCapture},
	{"resources", openResources},
	{"gpu", openGPU},
}

// A probe's optional interfaces are found at run time; these lines make a changed method an error of the compiler.
var (
	_ finalFlusher    = (*dns.Probe)(nil)
	_ addressConsumer = (*drops.Probe)(nil)
)

type probe struct {
	kind string
	open func(ctx context.Context, scope *scope.Scope, o SourceOptions) (Source, error)
}

func openFlows(ctx context.Context, scope *scope.Scope, o SourceOptions) (Source, error) {
	p, err := flows.Open(ctx, flows.Options{
		Scope:      scope,
		CgroupRoot: o.CgroupRoot,
		Interval:   time.Duration(o.Config.GetInterval()),
		RingBytes:  flowRing(o.Config, memoryLimit()),
		MaxFlows:   maxFlows(o.Config.GetMaxFlows(), memoryLimit()),
		MaxSockets: maxStored(memoryLimit(), o.Config.GetKinds()),
	})
	if err != nil {
		return nil, err
	}
	return p, nil
}

func openTCP(ctx context.Context, scope *scope.Scope, o SourceOptions) (Source, error) {
	p, err := tcp.Open(ctx, tcp.Options{
		Scope:      scope,
		Interval:   time.Duration(o.Config.GetInterval()),
		RingBytes:  o.ringBytes,
		MaxSockets: maxStored(memoryLimit(), o.Config.GetKinds()),
	})
	if err != nil {
		return nil, err
	}
	return p, nil
}

func openDNS(ctx context.Context, scope *scope.Scope, o SourceOptions) (Source, error) {
	options := dns.Options{Scope: scope, CgroupRoot: o.CgroupRoot, RingBytes: o.ringBytes}
	for _, port := range o.Config.GetDnsPorts() {
		if port == 0 || port > math.MaxUint16 {
			return nil, fmt.Errorf("DNS port %d: want 1 to 65535", port)
		}
		options.Ports = append(options.Ports, uint16(port))
	}
	p, err := dns.Open(ctx, options)
	if err != nil {
		return nil, err
	}
	return p, nil
}

func openDrops(ctx context.Context, scope *scope.Scope, o SourceOptions) (Source, error) {
	p, err := drops.Open(ctx, drops.Options{Scope: scope, Interval: time.Duration(o.Config.GetInterval())})
	if err != nil {
		return nil, err
	}
	return p, nil
}

func openExec(ctx context.Context, scope *scope.Scope, o SourceOptions) (Source, error) {
	p, err := exec.Open(ctx, exec.Options{Scope: scope, RingBytes: o.ringBytes})
	if err != nil {
		return nil, err
	}
	return p, nil
}

func openSignals(ctx context.Context, scope *scope.Scope, o SourceOptions) (Source, error) {
	p, err := signals.Open(ctx, signals.Options{Scope: scope, RingBytes: o.ringBytes})
	if err != nil {
		return nil, err
	}
	return p, nil
}

// memoryLimit returns the memory limit of the tracer's container in bytes, from the GOMEMLIMIT that the launcher
// derives from it. It is 0 without a limit.
func memoryLimit() int64 {
	limit := debug.SetMemoryLimit(-1)
	if limit == math.MaxInt64 {
		return 0
	}
	return session.MemoryLimit(limit)
}

// storageShare is the divisor of the memory limit for the kernel's storage of sockets and threads: a fifth, and with
// the reserve for cgroups that hold few (bpf.ShareOf) a quarter.
const storageShare = 5

// maxStored returns the number of sockets or threads that each probe may follow, so that the probes of these kinds
// together take a fifth of the memory limit; 0, each probe's default, without a limit.
func maxStored(limit int64, kinds []string) uint32 {
	var bytes int64
	for _, kind := range kinds {
		bytes += storedBytes[kind]
	}
	if limit == 0 || bytes == 0 {
		return 0
	}
	return uint32(min(max(limit/storageShare/bytes, minStored), maxMaxFlows))
}

// minStored are followed with any memory limit.
const minStored = 4096

// storedBytes is the kernel memory of one socket or thread, by kind.
var storedBytes = map[string]int64{
	"flow": flows.SocketBytes, "tcp": tcp.SocketBytes,
	"syscall": syscalls.ThreadBytes, "syscallSummary": syscalls.SummaryThreadBytes,
}

// Host is the kernel of this machine, with its cgroup hierarchy mounted at CgroupMount or right below it.
type Host struct {
	CgroupMount string
	// RingBytes is the size of the ring buffers of probes that report each event, but system calls, bytes, a power of
	// two; 0: each has its default.
	RingBytes uint32
}

// CgroupRoot finds the mount point of cgroup v2.
func (h Host) CgroupRoot() (string, error) { return pods.FindCgroup2(h.CgroupMount) }

// OpenScope loads and attaches bpf/scope.
func (h Host) OpenScope(cgroupRoot string) (Scope, error) {
	s, err := scope.Open(scope.Options{CgroupRoot: cgroupRoot})
	if err != nil {
		return nil, err
	}
	return hostScope{s}, nil
}

// Kinds returns the kinds of events with a probe.
func (h Host) Kinds() []string {
	kinds := make([]string, 0, len(probes))
	for _, p := range probes {
		kinds = append(kinds, p.kind)
	}
	return kinds
}

// OpenSource loads and attaches the probe for a kind.
func (h Host) OpenSource(ctx context.Context, kind string, o SourceOptions) (Source, error) {
	host, ok := o.Scope.(hostScope)
	if !ok {
		return nil, fmt.Errorf("a scope of type %T is not this kernel's", o.Scope)
	}
	for _, p := range probes {
		if p.kind == kind {
			o.ringBytes = h.RingBytes
			return p.open(ctx, host.Scope, o)
		}
	}
	return nil, fmt.Errorf("no probe for %q", kind)
}

// hostScope converts the scope's notifications for package pods.
type hostScope struct{ *scope.Scope }

func (s hostScope) Run(ctx context.Context, each func(pods.Cgroup)) error {
	return s.Scope.Run(ctx, func(e scope.Event) { each(pods.Cgroup{ID: e.ID, Path: e.Path, Removed: e.Removed}) })
}
