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

// probes is the list of what can be traced: one line a probe.
var probes = []probe{
	{"flow", openFlows},
	{"tcp", openTCP},
	{"dns", openDNS},
	{"drop", openDrops},
	{"exec", openExec},
	{"signal", openSignals},
	{"syscall", openSyscalls},
	{"syscallSummary", openSyscallSummary},
	{"resources", openResources},
	{"gpu", openGPU},
}

type probe struct {
	kind string
	open func(ctx context.Context, scope *scope.Scope, o SourceOptions) (Source, error)
}

func openFlows(ctx context.Context, scope *scope.Scope, o SourceOptions) (Source, error) {
	p, err := flows.Open(ctx, flows.Options{
		Scope:      scope,
		CgroupRoot: o.CgroupRoot,
		Interval:   time.Duration(o.Config.GetInterval()),
		RingBytes:  o.Config.GetRingBytes(),
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
		MaxSockets: maxStored(memoryLimit(), o.Config.GetKinds()),
	})
	if err != nil {
		return nil, err
	}
	return p, nil
}

func openDNS(ctx context.Context, scope *scope.Scope, o SourceOptions) (Source, error) {
	options := dns.Options{Scope: scope, CgroupRoot: o.CgroupRoot}
	for _, port := range o.Config.GetDnsPorts() {
		if port == 0 || port > math.MaxUint16 {
			return nil, fmt.Errorf("the DNS port %d is none", port)
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

func openExec(ctx context.Context, scope *scope.Scope, _ SourceOptions) (Source, error) {
	p, err := exec.Open(ctx, exec.Options{Scope: scope})
	if err != nil {
		return nil, err
	}
	return p, nil
}

func openSignals(ctx context.Context, scope *scope.Scope, o SourceOptions) (Source, error) {
	p, err := signals.Open(ctx, signals.Options{Scope: scope})
	if err != nil {
		return nil, err
	}
	return p, nil
}

// memoryLimit is the memory limit of the tracer's container: the launcher sets GOMEMLIMIT by it.
// It is 0 without one.
func memoryLimit() int64 {
	limit := debug.SetMemoryLimit(-1)
	if limit == math.MaxInt64 {
		return 0
	}
	return session.MemoryLimit(limit)
}

// storageShare is the part of the memory limit that the kernel's storage for sockets and threads may take: a fifth, and
// with the reserve for cgroups that hold few (bpf.ShareOf) a quarter.
const storageShare = 5

// maxStored is how many sockets or threads each probe may follow within a memory limit, of which the probes of these
// kinds have a fifth; 0, each probe's default, without a limit.
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

// minStored are followed however small the memory limit is.
const minStored = 4096

// storedBytes is what the kernel keeps for one socket or thread, by kind.
var storedBytes = map[string]int64{
	"flow": flows.SocketBytes, "tcp": tcp.SocketBytes,
	"syscall": syscalls.ThreadBytes, "syscallSummary": syscalls.SummaryThreadBytes,
}

// Host is the kernel of this machine, with its cgroup hierarchy mounted at CgroupMount or right below it.
type Host struct{ CgroupMount string }

// CgroupRoot finds where cgroup v2 is.
func (h Host) CgroupRoot() (string, error) { return pods.FindCgroup2(h.CgroupMount) }

// OpenScope loads and attaches bpf/scope.
func (h Host) OpenScope(cgroupRoot string) (Scope, error) {
	s, err := scope.Open(scope.Options{CgroupRoot: cgroupRoot})
	if err != nil {
		return nil, err
	}
	return hostScope{s}, nil
}

// Kinds are the kinds of events that there are probes for.
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
			return p.open(ctx, host.Scope, o)
		}
	}
	return nil, fmt.Errorf("no probe for %q", kind)
}

// hostScope gives the scope's news as pods wants them.
type hostScope struct{ *scope.Scope }

func (s hostScope) Run(ctx context.Context, each func(pods.Cgroup)) error {
	return s.Scope.Run(ctx, func(e scope.Event) { each(pods.Cgroup{ID: e.ID, Path: e.Path, Removed: e.Removed}) })
}
