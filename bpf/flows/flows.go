// Package flows reports the network conversations of the cgroups in scope: TCP read from the kernel's own socket
// counters, UDP, ICMP and raw sockets counted at cgroup_skb.
package flows

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"

	"github.com/orb8-dev/kubectl-orb8/bpf"
	"github.com/orb8-dev/kubectl-orb8/bpf/scope"
)

// kernelSockets is how many sockets of the kernel itself are followed: such as those of tunnels. Their places are not
// reused.
const kernelSockets = 1024

// SocketBytes is what the kernel keeps for a socket that is followed: 192 bytes for the first probe that follows it,
// and 256.
const SocketBytes = 192 + 256

// socketsPerHistogram is the number of followed sockets for each histogram of response times, of 704 bytes.
const socketsPerHistogram = 8

// Options of a Probe. The zero value of each but Scope and CgroupRoot means its default.
type Options struct {
	// Scope holds the observed cgroups. It must outlive the probe.
	Scope *scope.Scope
	// CgroupRoot is where cgroup v2 is mounted.
	CgroupRoot string
	// Interval between two updates of a live flow; default 1 s. It stretches by itself when there are very many
	// sockets.
	Interval time.Duration
	// RingBytes is the size of the ring buffer, rounded up to a power of two; default 2 MiB.
	RingBytes uint32
	// MaxFlows bounds the flows of unconnected sockets, of IPv4 and of IPv6 each; default 131,072.
	MaxFlows uint32
	// MaxSockets bounds the sockets that are followed, of at most SocketBytes each; default 131,072.
	MaxSockets uint32
	// UDPIdle is how long a conversation without a connection may be idle before it counts as closed; default 30 s.
	// It shrinks by itself as flows fill the room for them.
	UDPIdle time.Duration
}

func (o Options) withDefaults() Options {
	if o.Interval <= 0 {
		o.Interval = time.Second
	}
	if o.RingBytes == 0 {
		o.RingBytes = 2 << 20
	}
	if o.MaxFlows == 0 {
		o.MaxFlows = 1 << 17
	}
	if o.MaxSockets == 0 {
		o.MaxSockets = 1 << 17
	}
	if o.UDPIdle <= 0 {
		o.UDPIdle = 30 * time.Second
	}
	return o
}

// objects are the loaded maps and programs.
type objects struct {
	objectObjects
	// Dropped is of the variants Pre515 and NoMapIter only.
	Dropped *ebpf.Map `ebpf:"packet_dropped"`
}

// Probe is the loaded maps and programs.
type Probe struct {
	bpf.Probe
	options  Options
	objects  objects
	scans    scans
	interval atomic.Int64 // ns
	requests bpf.Requests
	// responses are the histograms of response times.
	responses *responseMemory
}

// Open loads the probe and attaches it. It returns a *bpf.NotSupportedError where the kernel is too old.
func Open(ctx context.Context, o Options) (*Probe, error) {
	if err := bpf.CheckCgroupRoot(o.CgroupRoot); err != nil {
		return nil, err
	}
	p := &Probe{options: o.withDefaults(), requests: bpf.NewRequests()}
	p.interval.Store(int64(p.options.Interval))
	if err := p.load(ctx); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

var variants = bpf.Variants{Latest: loadObject, Pre515: loadPre515, NoMapIter: loadNomapiter}

func (p *Probe) load(ctx context.Context) error {
	spec, err := bpf.ReadSpec(ctx, "flows", p.options.Scope.Types(), variants)
	if err != nil {
		return err
	}
	params, err := bpf.TracepointParameters(spec.Kernel, "udp_fail_queue_rcv_skb")
	if err != nil {
		return err
	}
	dropHasSkb := params > 2
	if err := spec.Set(map[string]any{objectVarDropHasSkb: dropHasSkb}); err != nil {
		return err
	}
	spec.SetRing(p.options.RingBytes)
	flows, sockets := bpf.ShareOf(p.options.MaxFlows), bpf.ShareOf(p.options.MaxSockets)
	responses := bpf.ShareWithin(max(p.options.MaxSockets/socketsPerHistogram, 1))
	spec.Maps[objectMapResponseHists].MaxEntries = responses.Size
	spec.Maps[objectMapResponseFree].MaxEntries = responses.Size
	spec.Maps[objectMapPacketFlows4].MaxEntries = flows.Size
	spec.Maps[objectMapPacketFlows6].MaxEntries = flows.Size
	if err := spec.SetShares(flows, flows, sockets, bpf.ShareWithin(kernelSockets), responses); err != nil {
		return err
	}
	var objects any = &p.objects.objectObjects
	if spec.Variant != bpf.Latest {
		objects = &p.objects
		spec.Maps[objectMapTcpSocks].MaxEntries = sockets.Size
	}
	if spec.Variant == bpf.NoMapIter {
		spec.Maps[objectMapPacketSocks].MaxEntries = sockets.Size + kernelSockets
	}
	if err := p.Load(spec, objects, p.options.Scope.Maps()); err != nil {
		return err
	}
	if p.responses, err = newResponseMemory(p.objects.ResponseHists, p.objects.ResponseFree); err != nil {
		return err
	}
	p.OnClose(p.responses.close)
	return p.attach(spec.Variant, dropHasSkb)
}

// Interval is the present time between two updates: Options.Interval, or more where scanning the sockets takes long.
func (p *Probe) Interval() time.Duration { return time.Duration(p.interval.Load()) }
