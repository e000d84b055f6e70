package server

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/orb8-dev/kubectl-orb8/event/orbit"
)

// agents are the agents of the cluster, by the EndpointSlices of their Service. A node's name is that of its endpoint;
// the certificate at the other end has to be of that node. Names of DNS play no part.
type agents struct {
	// credentials are for the connection to the agent of a node.
	credentials func(node string) credentials.TransportCredentials
	log         *slog.Logger
	// connectTimeout is how long a connection may take to be made up.
	connectTimeout time.Duration
	// work is what agents do on their own.
	work sync.WaitGroup

	mu      sync.Mutex
	slices  map[string][]endpoint // by the slice's name
	nodes   map[string]*agent
	changed chan struct{} // closed and replaced at each change
}

type endpoint struct {
	node, address string
	ready         bool
}

// agent is the connection to the agent of a node. It is closed when the agent's address changes.
type agent struct {
	node, address string
	conn          *grpc.ClientConn
	client        orbit.AgentClient
	// gone is closed when the agent is no longer at the address.
	gone chan struct{}
	work *sync.WaitGroup
	// ahead: connectAhead has seen it.
	ahead bool
	// late is set from a request that it did not answer in time until it answers one.
	late atomic.Bool
	// incompatible: its last answer was of another protocol.
	incompatible atomic.Bool
}

func newAgents(credentials func(node string) credentials.TransportCredentials, log *slog.Logger) *agents {
	return &agents{credentials: credentials, log: log, connectTimeout: agentTimeout, slices: map[string][]endpoint{},
		nodes: map[string]*agent{}, changed: make(chan struct{})}
}

// watch follows the EndpointSlices of a Service until ctx ends. It calls synced after the first list.
func (a *agents) watch(ctx context.Context, client kubernetes.Interface, namespace, service string, synced func()) {
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithNamespace(namespace),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) {
			o.LabelSelector = discoveryv1.LabelServiceName + "=" + service
		}))
	informer := factory.Discovery().V1().EndpointSlices().Informer()
	registration, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { a.set(obj.(*discoveryv1.EndpointSlice)) },
		UpdateFunc: func(_, obj any) { a.set(obj.(*discoveryv1.EndpointSlice)) },
		DeleteFunc: func(obj any) {
			if last, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = last.Obj
			}
			if slice, ok := obj.(*discoveryv1.EndpointSlice); ok {
				a.delete(slice.Name)
			}
		},
	})
	if err != nil {
		a.log.Error("watch EndpointSlices", "err", err) // of an informer that was started already, which this is not
		return
	}
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { informer.RunWithContext(ctx) })
	running.Go(func() { a.connectAhead(ctx) })
	select {
	case <-registration.HasSyncedChecker().Done():
		synced()
	case <-ctx.Done():
	}
	<-ctx.Done()
	a.closeAll()
	a.work.Wait()
}

func (a *agents) set(slice *discoveryv1.EndpointSlice) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.slices[slice.Name] = endpointsOf(slice)
	a.update()
}

func (a *agents) delete(slice string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.slices, slice)
	a.update()
}

// update connects to new agents and closes the connections of those that are gone. The lock is held.
func (a *agents) update() {
	wanted := map[string]endpoint{}
	for _, name := range slices.Sorted(maps.Keys(a.slices)) {
		for _, e := range a.slices[name] {
			if best, ok := wanted[e.node]; !ok || e.ready && !best.ready {
				wanted[e.node] = e
			}
		}
	}
	for node, present := range a.nodes {
		if e, ok := wanted[node]; !ok || e.address != present.address {
			present.close()
			delete(a.nodes, node)
		}
	}
	for node, e := range wanted {
		if a.nodes[node] != nil {
			continue
		}
		connected, err := a.connect(e)
		if err != nil {
			a.log.Error("connect to an agent", "node", node, "address", e.address, "err", err)
			continue
		}
		a.nodes[node] = connected
	}
	close(a.changed)
	a.changed = make(chan struct{})
}

func (g *agent) close() {
	close(g.gone)
	_ = g.conn.Close() // its streams end
}

func (a *agents) closeAll() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for node, g := range a.nodes {
		g.close()
		delete(a.nodes, node)
	}
}

// get returns the agent of a node, nil if there is none now. changed is closed when that may be different.
func (a *agents) get(node string) (g *agent, changed <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.nodes[node], a.changed
}

// all returns the agents, in the order of the nodes' names.
func (a *agents) all() (all []*agent, changed <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, node := range slices.Sorted(maps.Keys(a.nodes)) {
		all = append(all, a.nodes[node])
	}
	return all, a.changed
}
