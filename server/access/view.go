package access

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/orbit"
)

// resources are the virtual resources by kind of event. Kinds that are not here are rows, which servers do not send, or
// are about the stream itself.
var resources = map[string]string{
	"flow": "flows", "dns": "dns", "tcp": "tcp", "drop": "drops", "resources": "resources", "gpu": "gpus",
	"exec": "execs", "signal": "signals", "syscall": "syscalls", "syscallSummary": "syscalls",
}

// names are the virtual resources in the order of their bits.
var names = slices.Compact(slices.Sorted(maps.Values(resources)))

// set is a set of virtual resources, by their index in names.
type set uint16

func setOf(kind string) set {
	resource, ok := resources[kind]
	if !ok {
		return 0
	}
	return 1 << slices.Index(names, resource)
}

// sets are those of kinds.
var sets = func() map[string]set {
	all := map[string]set{}
	for kind := range resources {
		all[kind] = setOf(kind)
	}
	return all
}()

const (
	// parallel is how many reviews of one View run at a time.
	parallel = 8
	// Between two reviews of a stream. With verdicts of freshAge, a revoked right is noticed within 60 s.
	minRound, maxRound = 42 * time.Second, 52 * time.Second
	// retryRound is the time to the next review where one failed, maxBlind how long the last verdict holds then.
	retryRound = 10 * time.Second
	maxBlind   = 5 * time.Minute
	// retryUnknown is after how long a namespace is reviewed anew whose first review failed.
	retryUnknown = 5 * time.Second
	// maxNamespaces bounds the namespaces that are reviewed for one View.
	maxNamespaces = 10_000
)

// View is what a user may see of some kinds of events. It is safe for concurrent use.
type View struct {
	access *Access
	user   *orbit.User
	id     userID
	wanted set
	// requested are the namespaces that the View was opened for.
	requested []string

	// asking: one review of namespaces at a time.
	asking sync.Mutex

	mu         sync.RWMutex
	all        set // visible in every namespace
	namespaces map[string]grant
	reviewed   time.Time // when all reviews succeeded last
}

// grant is what is visible in a namespace.
type grant struct {
	visible set
	// retry is when a namespace without a verdict is reviewed anew; zero: it has one.
	retry time.Time
}

// Open reviews what a user may see of kinds, by their JSON names; none: all kinds. namespaces are those that were
// requested, or else those that have data. It fails where nothing is visible. A namespace that does not exist is as one
// that is forbidden.
func (a *Access) Open(ctx context.Context, u *orbit.User, kinds, namespaces []string) (*View, error) {
	id, err := identify(u)
	if err != nil {
		return nil, status.Error(codes.Unauthenticated, err.Error())
	}
	v := &View{access: a, user: u, id: id, namespaces: map[string]grant{}, reviewed: time.Now()}
	for _, kind := range kinds {
		if event.KindByName(kind) == nil {
			return nil, status.Errorf(codes.InvalidArgument, "unknown kind %q", kind)
		}
		v.wanted |= sets[kind]
	}
	if len(kinds) == 0 {
		v.wanted = 1<<len(names) - 1
	}
	if v.wanted == 0 {
		return nil, status.Errorf(codes.InvalidArgument, "no events of %q are sent", kinds)
	}
	for _, ns := range namespaces {
		if isNamespace(ns) && len(v.requested) < maxNamespaces {
			v.requested = append(v.requested, ns)
		}
	}
	if err := v.review(ctx, false); err != nil {
		return nil, status.Errorf(codes.Unavailable, "access cannot be reviewed: %v", err)
	}
	if !v.seesAnything() {
		return nil, v.denied(namespaces)
	}
	return v, nil
}

// isNamespace reports whether a name may be one of a namespace: a DNS label.
func isNamespace(name string) bool {
	return name != "" && len(name) <= 63 && name[0] != '-' && name[len(name)-1] != '-' &&
		strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// denied is the error where nothing is visible.
func (v *View) denied(namespaces []string) error {
	where := "in any namespace"
	switch {
	case len(namespaces) == 1:
		where = fmt.Sprintf("in namespace %q", namespaces[0])
	case len(namespaces) > 1 && len(namespaces) <= 5:
		where = fmt.Sprintf("in namespaces %q", namespaces)
	}
	var wanted []string
	for i, name := range names {
		if v.wanted&(1<<i) != 0 {
			wanted = append(wanted, name+"."+group)
		}
	}
	return status.Errorf(codes.PermissionDenied, "user %q may not get %s %s: kubectl orb8 rbac --viewer prints what "+
		"grants it", v.user.Name, strings.Join(wanted, ", "), where)
}

// review reviews all that the View has asked for so far. What could be reviewed takes effect, even where something
// could not.
func (v *View) review(ctx context.Context, fresh bool) error {
	v.mu.RLock()
	known := slices.Collect(maps.Keys(v.namespaces))
	all := v.all
	v.mu.RUnlock()
	all, err := v.reviewResources(ctx, "", v.wanted, all, fresh)
	v.mu.Lock()
	v.all = all
	v.mu.Unlock()
	if all == v.wanted {
		if err == nil {
			v.setReviewed()
		}
		return err
	}
	pending := append(known, v.requested...)
	slices.Sort(pending)
	if e := v.reviewNamespaces(ctx, slices.Compact(pending), fresh); err == nil {
		err = e
	}
	if err == nil {
		v.setReviewed()
	}
	return err
}

func (v *View) setReviewed() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.reviewed = time.Now()
}

// reviewNamespaces reviews namespaces.
func (v *View) reviewNamespaces(ctx context.Context, namespaces []string, fresh bool) error {
	var g errgroup.Group
	g.SetLimit(parallel)
	for _, ns := range namespaces {
		g.Go(func() error { return v.reviewNamespace(ctx, ns, fresh) })
	}
	return g.Wait()
}

// reviewNamespace reviews a namespace.
func (v *View) reviewNamespace(ctx context.Context, ns string, fresh bool) error {
	v.mu.RLock()
	last, ok := v.namespaces[ns]
	all := v.all
	v.mu.RUnlock()
	visible, err := v.reviewEach(ctx, ns, v.wanted&^all, last.visible, fresh)
	g := grant{visible: visible}
	if err != nil && (!ok || !last.retry.IsZero()) {
		g.retry = time.Now().Add(retryUnknown)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.namespaces[ns] = g
	return err
}

// reviewResources reviews resources at once, reviewEach one after the other. They return what is visible, which is that
// of last where it could not be reviewed.
func (v *View) reviewResources(
	ctx context.Context, ns string, wanted, last set, fresh bool,
) (visible set, err error) {
	var g errgroup.Group
	g.SetLimit(parallel)
	var mu sync.Mutex
	for i := range names {
		one := set(1) << i & wanted
		if one == 0 {
			continue
		}
		g.Go(func() error {
			got, err := v.reviewEach(ctx, ns, one, last, fresh)
			mu.Lock()
			defer mu.Unlock()
			visible |= got
			return err
		})
	}
	err = g.Wait()
	return visible, err
}

func (v *View) reviewEach(ctx context.Context, ns string, wanted, last set, fresh bool) (visible set, err error) {
	for i, name := range names {
		one := set(1) << i
		if wanted&one == 0 {
			continue
		}
		allowed, e := v.access.reviewer.review(ctx, v.user, question{v.id, name, ns}, fresh)
		switch {
		case e != nil:
			visible, err = visible|last&one, e
		case allowed:
			visible |= one
		}
	}
	return visible, err
}

// seesAnything reports whether any kind is visible in any namespace.
func (v *View) seesAnything() bool {
	v.mu.RLock()
	defer v.mu.RUnlock()
	for _, g := range v.namespaces {
		if g.visible != 0 {
			return true
		}
	}
	return v.all != 0
}

// All reports whether a kind is visible in every namespace.
func (v *View) All(kind string) bool {
	one := sets[kind]
	v.mu.RLock()
	defer v.mu.RUnlock()
	return one != 0 && v.all&one == one
}

// MaySee reports whether a kind is visible in a namespace; empty: that of events of nodes, which need the right to all.
// It asks for a namespace that it has not seen before. Where no answer can be had, the kind is not visible.
func (v *View) MaySee(kind, namespace string) bool { return v.maySee(sets[kind], namespace) }

// maySee is MaySee for any of some resources.
func (v *View) maySee(any set, namespace string) bool {
	visible, known := v.lookup(namespace)
	if !known {
		visible = v.reviewUnknown(namespace)
	}
	return visible&any&v.wanted != 0
}

// lookup returns what is visible in a namespace, and whether that is known.
func (v *View) lookup(namespace string) (visible set, known bool) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	if namespace == "" || v.all == v.wanted {
		return v.all, true
	}
	g, ok := v.namespaces[namespace]
	if !ok {
		return v.all, len(v.namespaces) >= maxNamespaces || !isNamespace(namespace)
	}
	return v.all | g.visible, g.retry.IsZero() || time.Now().Before(g.retry)
}

// reviewUnknown reviews a namespace that appears while events are sent.
func (v *View) reviewUnknown(namespace string) set {
	v.asking.Lock()
	defer v.asking.Unlock()
	if visible, known := v.lookup(namespace); known {
		return visible // another call has asked meanwhile
	}
	ctx, cancel := context.WithTimeout(context.Background(), reviewTimeout)
	defer cancel()
	_ = v.reviewNamespace(ctx, namespace, false) // what is not reviewed is not visible
	visible, _ := v.lookup(namespace)
	return visible
}

// Watch reviews the View at least each minute. It returns when nothing is visible any more, or when reviews have failed
// for 5 minutes, with the reason for the caller; nil when ctx ends.
func (v *View) Watch(ctx context.Context) error {
	pause := nextRound()
	for {
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
		err := v.review(ctx, true)
		if ctx.Err() != nil {
			return nil
		}
		if !v.seesAnything() {
			return status.Errorf(codes.PermissionDenied, "the rights of user %q to see these events were revoked",
				v.user.Name)
		}
		if pause = nextRound(); err == nil {
			continue
		}
		v.mu.RLock()
		blind := time.Since(v.reviewed)
		v.mu.RUnlock()
		if blind >= maxBlind {
			return status.Errorf(codes.Unavailable, "access could not be reviewed for %v: %v", blind.Round(time.Second),
				err)
		}
		pause = min(retryRound, maxBlind-blind)
	}
}

func nextRound() time.Duration { return minRound + rand.N(maxRound-minRound) }
