package live

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/orb8-dev/kubectl-orb8/collect"
	"github.com/orb8-dev/kubectl-orb8/event"
)

const (
	// maxHosts bounds the names held; beyond it there are no more lookups.
	maxHosts = 50_000
	// parallelLookups and lookupTimeout bound the load on the user's resolver.
	parallelLookups = 8
	lookupTimeout   = 2 * time.Second
)

// resolver names by reverse DNS what the cluster does not name. Events never wait for it: the first ones of an address
// have no name.
type resolver struct {
	collect.Namer
	ctx     context.Context
	lookups chan struct{}
	pending sync.WaitGroup

	mu    sync.Mutex
	hosts map[netip.Addr]string // "": no answer yet
}

func newResolver(ctx context.Context, next collect.Namer) *resolver {
	return &resolver{Namer: next, ctx: ctx, lookups: make(chan struct{}, parallelLookups),
		hosts: map[netip.Addr]string{}}
}

// Name implements collect.Namer.
func (r *resolver) Name(addr netip.Addr, port uint16, proto event.Protocol) collect.Name {
	name := r.Namer.Name(addr, port, proto)
	if name.Pod != "" || name.Service != "" || name.Node != "" || name.Hint != nil {
		return name
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	host, known := r.hosts[addr]
	if !known && len(r.hosts) < maxHosts && r.ctx.Err() == nil {
		select {
		case r.lookups <- struct{}{}:
			r.hosts[addr] = ""
			r.pending.Go(func() { r.lookup(addr) })
		default: // busy: looked up when it is seen again
		}
	}
	name.Host = host
	return name
}

func (r *resolver) lookup(addr netip.Addr) {
	defer func() { <-r.lookups }()
	ctx, cancel := context.WithTimeout(r.ctx, lookupTimeout)
	defer cancel()
	names, err := net.DefaultResolver.LookupAddr(ctx, addr.String())
	if err != nil || len(names) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hosts[addr] = strings.TrimSuffix(names[0], ".")
}

func (r *resolver) wait() { r.pending.Wait() }
