// Package pods says which pod and container a cgroup belongs to, and sets in the kernel which cgroups are observed.
//
// It knows cgroups from a scan of the node's cgroup v2 tree and from news of those made and removed afterwards, and
// pods from its client's updates. The two meet by the pod's UID and the container's id in the cgroup's path, in
// whichever order they come. Only pods in the updates are ever reported: several nodes may share one kernel and so one
// cgroup tree.
package pods

import (
	"fmt"
	"io/fs"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event/session"
)

// Resolver is safe for use by several goroutines.
type Resolver struct {
	node string
	// outermost: only the first pod in a cgroup's path counts.
	outermost bool

	// writing serialises all that changes the table together with the calls to the scope that follow from it, so that
	// the kernel hears of changes in their order. It is taken before mu.
	writing  sync.Mutex
	scope    Scope
	scanning *treeScan // while one runs
	fresh    chan struct{}
	changed  chan struct{}
	// number is the id of the cgroup with that directory.
	number func(dir string, info fs.FileInfo) (uint64, bool)

	// mu guards the table. Those who change it hold it briefly and never during a system call: Identify waits for it.
	mu    sync.RWMutex
	table table
}

// Scope is the kernel's set of observed cgroups, as bpf/scope offers it.
type Scope interface {
	// SetPod has cgroups made from now on in the pod with this UID or config hash observed, or no longer.
	SetPod(uid [16]byte, target bool) error
	// SetCgroup has one existing cgroup observed, or no longer.
	SetCgroup(id uint64, target bool) error
}

// Cgroup is news of one cgroup.
type Cgroup struct {
	// ID is what bpf_get_current_cgroup_id returns in it: the inode of its directory.
	ID uint64
	// Path starts at the root of the hierarchy. It may be empty when Removed.
	Path    string
	Removed bool
}

// New makes a resolver for the pods of node.
func New(node string) *Resolver {
	return &Resolver{
		node: node, fresh: make(chan struct{}, 1), changed: make(chan struct{}, 1), number: inode, table: newTable(),
	}
}

// inode is how kernfs numbers cgroups, in ascending order.
func inode(_ string, info fs.FileInfo) (uint64, bool) {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return stat.Ino, true
}

// SetOutermost says whether only the first pod in a cgroup's path counts, so that a container cannot pass for another
// pod by the names of cgroups that it makes below its own. It is to be set before any cgroup is observed, and not where
// the node itself may run in a pod of another cluster.
func (r *Resolver) SetOutermost(only bool) { r.outermost = only }

// Identify says whom a cgroup belongs to. The identity is nil when the status is Unknown or Foreign. It allocates
// nothing.
func (r *Resolver) Identify(id uint64) (*Identity, Status) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	c := r.table.cgroups[id]
	if c == nil {
		return nil, Unknown
	}
	return c.identity, c.status
}

// GiveUp ends the wait for a container's name: from now on the cgroup is identified without one, until it is known.
func (r *Resolver) GiveUp(id uint64) {
	r.writing.Lock()
	defer r.writing.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.table.cgroups[id]; c != nil && c.status == Unnamed {
		c.anonymous = true
		r.table.identify(c)
	}
}

// Attach sets all that is observed in scope and keeps scope up to date from now on.
func (r *Resolver) Attach(scope Scope) error {
	r.writing.Lock()
	defer r.writing.Unlock()
	r.scope = scope
	var errs failures
	for _, p := range r.table.pods {
		errs.add(r.scopePod(p, p.target))
	}
	for _, c := range r.table.cgroups {
		c.kernelScope = scopeUnknown
		errs.add(r.scopeCgroup(c))
	}
	return errs.err()
}

// Apply takes in an update of the node's pods. An update that breaks a limit is refused as a whole with a *LimitError;
// any other error is a failed update of the scope, and the pods are taken in nevertheless.
func (r *Resolver) Apply(update *session.PodUpdate, now time.Time) error {
	r.writing.Lock()
	defer r.writing.Unlock()
	if err := r.table.check(update); err != nil {
		return err
	}
	upserted := make([]*pod, 0, len(update.GetUpsert()))
	for _, p := range update.GetUpsert() {
		upserted = append(upserted, newPod(r.node, p))
	}
	r.mu.Lock()
	rekeyed, touched := r.table.apply(update, upserted, now)
	r.mu.Unlock()
	r.announce()

	// Pods first: a cgroup made between the two calls is then caught by the kernel itself.
	var errs failures
	for _, p := range rekeyed {
		errs.add(r.scopePod(p, false))
	}
	for _, p := range upserted {
		errs.add(r.scopePod(p, p.target))
	}
	for _, c := range touched {
		errs.add(r.scopeCgroup(c))
	}
	return errs.err()
}

// Observe takes in news of one cgroup. The error is a failed update of the scope, or that there are too many.
func (r *Resolver) Observe(news Cgroup, now time.Time) error {
	r.writing.Lock()
	defer r.writing.Unlock()
	if r.scanning != nil {
		r.scanning.overtaken(news)
	}
	if news.Removed {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.table.remove(news.ID, now)
		return nil
	}
	return r.add(news, now)
}

// add puts a cgroup into the table. The caller holds writing.
func (r *Resolver) add(news Cgroup, now time.Time) error {
	if r.table.cgroups[news.ID] != nil {
		return nil
	}
	places := Places(news.Path)
	if places == nil {
		return nil
	}
	if r.outermost {
		places = places[:1]
	}
	if len(r.table.cgroups) >= maxCgroups {
		return fmt.Errorf("the pods have more than %d cgroups: events of further ones are dropped", maxCgroups)
	}
	r.mu.Lock()
	touched := r.table.add(news.ID, news.Path, places, now)
	r.mu.Unlock()
	r.announce()
	var errs failures
	for _, c := range touched {
		errs.add(r.scopeCgroup(c))
	}
	return errs.err()
}

// Changed gets something when pods or cgroups have come or gone since it last did.
func (r *Resolver) Changed() <-chan struct{} { return r.changed }

// Addresses maps the addresses of the observed pods, but for those on the node's own network, to the cgroup of the pod.
func (r *Resolver) Addresses() map[netip.Addr]uint64 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.table.addresses()
}

// announce says on changed that something has, and on fresh that there are unnamed containers. The caller holds
// writing.
func (r *Resolver) announce() {
	select {
	case r.changed <- struct{}{}:
	default: // one token is enough
	}
	if len(r.table.unnamed) == 0 {
		return
	}
	select {
	case r.fresh <- struct{}{}:
	default:
	}
}

// Expire forgets what has been gone for longer than Linger, and the oldest of what is too much to remember.
func (r *Resolver) Expire(now time.Time) error {
	r.writing.Lock()
	defer r.writing.Unlock()
	r.mu.Lock()
	dismissed, touched := r.table.expire(now)
	r.mu.Unlock()
	if len(dismissed) > 0 {
		r.announce()
	}
	var errs failures
	for _, p := range dismissed {
		errs.add(r.scopePod(p, false))
	}
	for _, c := range touched {
		errs.add(r.scopeCgroup(c))
	}
	return errs.err()
}

// scopePod sets in the kernel whether a pod's coming cgroups are observed. The caller holds writing.
func (r *Resolver) scopePod(p *pod, target bool) error {
	if r.scope == nil {
		return nil
	}
	var errs failures
	for _, uid := range p.keys {
		if key, ok := kernelKey(uid); ok {
			if err := r.scope.SetPod(key, target); err != nil {
				errs.add(fmt.Errorf("observe pod %s/%s: %w", p.namespace, p.name, err))
			}
		}
	}
	return errs.err()
}

// scopeCgroup sets in the kernel whether a cgroup is observed, where it may think otherwise. The caller holds writing.
func (r *Resolver) scopeCgroup(c *cgroup) error {
	if r.scope == nil || c.removed {
		return nil // the kernel forgets a removed cgroup by itself
	}
	want := out
	if c.status != Foreign {
		want = in
	}
	if c.kernelScope == want || c.kernelScope == scopeUnknown && want == out && !r.table.inTarget(c) {
		return nil
	}
	if err := r.scope.SetCgroup(c.id, want == in); err != nil {
		return fmt.Errorf("observe cgroup %d: %w", c.id, err)
	}
	c.kernelScope = want
	return nil
}
