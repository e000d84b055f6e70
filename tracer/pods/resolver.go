// Package pods maps cgroups to pods and containers, and sets the observed cgroups in the kernel.
//
// Cgroups come from a scan of the node's cgroup v2 tree and from notifications of created and removed ones, pods from
// the client's updates. They match by the pod's UID and the container's id in the cgroup's path, in any order of
// arrival. Only pods in the updates are reported, because several nodes may share one kernel and so one cgroup tree.
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

// Resolver maps the cgroups of one node to its pods. It is safe for concurrent use.
type Resolver struct {
	node string
	// outermost: only the first pod in a cgroup's path counts.
	outermost bool

	// writing serialises changes of the table with the calls to the scope that follow from them, so that the kernel
	// gets changes in their order. It is taken before mu.
	writing  sync.Mutex
	scope    Scope
	scanning *treeScan // the running scan, or nil
	fresh    chan struct{}
	changed  chan struct{}
	// number returns the id of the cgroup with a directory.
	number func(dir string, info fs.FileInfo) (uint64, bool)

	// mu guards the table. Writers hold it briefly and never during a system call, because Identify waits for it.
	mu    sync.RWMutex
	table table
}

// Scope is the kernel's set of observed cgroups, as bpf/scope offers it.
type Scope interface {
	// SetPod starts or stops observing future cgroups of the pod with this UID or config hash.
	SetPod(uid [16]byte, target bool) error
	// SetCgroup starts or stops observing one existing cgroup.
	SetCgroup(id uint64, target bool) error
}

// Cgroup is the notification of a created or removed cgroup.
type Cgroup struct {
	// ID is the value of bpf_get_current_cgroup_id in it: the inode of its directory.
	ID uint64
	// Path starts at the root of the hierarchy. It may be empty when Removed.
	Path    string
	Removed bool
}

// New returns a resolver for the pods of node.
func New(node string) *Resolver {
	return &Resolver{
		node: node, fresh: make(chan struct{}, 1), changed: make(chan struct{}, 1), number: inode, table: newTable(),
	}
}

// inode returns the id of a cgroup: its inode in kernfs, which grows with each new one.
func inode(_ string, info fs.FileInfo) (uint64, bool) {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return stat.Ino, true
}

// SetOutermost sets whether only the first pod in a cgroup's path counts, so that a container cannot impersonate
// another pod by the names of cgroups below its own. Call it before any cgroup is observed, and leave it off where the
// node itself may run in a pod of another cluster.
func (r *Resolver) SetOutermost(only bool) { r.outermost = only }

// Identify returns the pod and container of a cgroup. The identity is nil if the status is Unknown or Foreign. It does
// not allocate.
func (r *Resolver) Identify(id uint64) (*Identity, Status) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	c := r.table.cgroups[id]
	if c == nil {
		return nil, Unknown
	}
	return c.identity, c.status
}

// GiveUp ends the wait for a container's name: the cgroup is identified without one until the name is known.
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

// Attach sets the observed pods and cgroups in scope, and keeps scope up to date afterwards.
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

// Apply applies an update of the node's pods. An update that exceeds a limit is refused as a whole with a *LimitError.
// Any other error is a failed update of the scope, and the pods are stored nevertheless.
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

	// Pods first: the kernel then observes a cgroup that is created between the two calls.
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

// Observe applies a notification of one cgroup. The error is a failed update of the scope, or too many cgroups.
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

// Changed gets a token when pods or cgroups were added or removed.
func (r *Resolver) Changed() <-chan struct{} { return r.changed }

// Addresses maps the addresses of the observed pods to the ids of their cgroups. Pods in the node's network have none.
func (r *Resolver) Addresses() map[netip.Addr]uint64 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.table.addresses()
}

// announce sends a token on changed, and on fresh if there are unnamed containers. The caller holds writing.
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

// Expire removes pods and cgroups that ended more than Linger ago, and the oldest ended ones beyond maxGone.
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

// scopePod sets in the kernel whether a pod's future cgroups are observed. The caller holds writing.
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

// scopeCgroup sets in the kernel whether a cgroup is observed, if the kernel's state may differ. The caller holds
// writing.
func (r *Resolver) scopeCgroup(c *cgroup) error {
	if r.scope == nil || c.removed {
		return nil // the kernel drops a removed cgroup by itself
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
