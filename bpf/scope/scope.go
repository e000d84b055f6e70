// Package scope decides in the kernel which cgroups are observed, and reports cgroups as they come and go.
//
// A container's cgroup is in scope from its first instruction: userspace names the pods, and the program on
// cgroup_mkdir finds the pod's UID in the path of each new cgroup and enters its id itself.
package scope

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/orb8-dev/kubectl-orb8/bpf"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// Options of a Scope.
type Options struct {
	// CgroupRoot is where cgroup v2 is mounted, e.g. /sys/fs/cgroup or /host/cgroup/unified.
	CgroupRoot string
	// Nested has pods observed that stand inside another pod's cgroup, as those of a node do that runs in a pod. It is
	// always so where CgroupRoot is not the root of the whole hierarchy, as in a node that is a container.
	Nested bool
}

// Event is a cgroup of the v2 hierarchy that was made or removed.
type Event struct {
	// ID is the cgroup's id, the inode number of its directory.
	ID uint64
	// Path from the root of the hierarchy, with a leading slash.
	Path string
	// Removed is true for a removal.
	Removed bool
	// TimeNs is when it happened, ns since the Unix epoch.
	TimeNs uint64
}

// Scope is the loaded maps and programs. Its methods may be called from any goroutine.
type Scope struct {
	bpf.Probe
	objects objectObjects
	grown   atomic.Uint64
	// early counts the removed cgroups that left the scope before the last events of their sockets can have come.
	early   atomic.Uint64
	mu      sync.Mutex
	watches map[int]func()
	watched int
	types   atomic.Pointer[btf.Cache]
}

// Open loads the scope's maps and programs and attaches them. It returns a *bpf.NotSupportedError where the kernel is
// too old.
func Open(o Options) (*Scope, error) {
	if err := bpf.CheckCgroupRoot(o.CgroupRoot); err != nil {
		return nil, err
	}
	s := new(Scope)
	if err := s.load(o); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Scope) load(o Options) error {
	types := btf.NewCache()
	spec, err := bpf.ReadSpec(context.Background(), "scope", types, bpf.Variants{Latest: loadObject},
		bpf.Need{Feature: "the tracepoint cgroup_mkdir", MinKernel: "5.5", Has: bpf.HasTracepoint("cgroup_mkdir")},
		// The probe does not need the helper itself: it came with the oldest supported release, and can be found.
		bpf.Need{Feature: "the BPF of Linux 5.10", MinKernel: "5.10", Has: bpf.HasHelper("copy_from_user")},
	)
	if err != nil {
		return err
	}
	if err := bpf.LiftMemlock(spec.Kernel); err != nil {
		return err
	}
	if o.Nested || !bpf.IsHierarchyRoot(o.CgroupRoot) {
		if err := spec.Set(map[string]any{objectVarNested: uint32(1)}); err != nil {
			return err
		}
	}
	if err := s.Load(spec, &s.objects, nil); err != nil {
		return err
	}
	s.types.Store(types)
	return s.Attach(s.objects.ScopeMkdir, s.objects.ScopeRmdir)
}

// Maps returns the maps that probes share, by the name they have in C, for ebpf.CollectionOptions.MapReplacements.
func (s *Scope) Maps() map[string]*ebpf.Map {
	return map[string]*ebpf.Map{objectMapScopeCgroups: s.objects.ScopeCgroups}
}

// Types returns the kernel's types as Open has read them, to the first that asks: reading them takes longer than the
// rest of loading a probe, and they take some MB that nobody needs once all probes are loaded.
func (s *Scope) Types() *btf.Cache {
	if c := s.types.Swap(nil); c != nil {
		return c
	}
	return btf.NewCache()
}

// SetPod sets whether the pod with this UID is observed. It takes effect for the cgroups made from now on.
// Static pods are known by their configuration hash (32 hex digits) in the place of the UID.
func (s *Scope) SetPod(uid [16]byte, target bool) error {
	if !target {
		return unset(s.objects.ScopePods, uid)
	}
	if err := s.objects.ScopePods.Put(uid, uint32(1)); err != nil {
		return fmt.Errorf("add to %s: %w", s.objects.ScopePods, err)
	}
	return nil
}

// SetCgroup sets whether this existing cgroup is observed. Cgroups made below it later are observed as well.
func (s *Scope) SetCgroup(id uint64, target bool) error {
	if !target {
		return unset(s.objects.ScopeCgroups, id)
	}
	err := s.objects.ScopeCgroups.Update(id, uint32(1), ebpf.UpdateNoExist)
	if errors.Is(err, ebpf.ErrKeyExist) {
		return nil // the kernel has seen it come, and its sockets too
	}
	if err != nil {
		return fmt.Errorf("add to %s: %w", s.objects.ScopeCgroups, err)
	}
	s.grown.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.watches {
		f()
	}
	return nil
}

// contains reports whether the cgroup is in scope. Others of the node must not take the room of removed ones that are.
func (s *Scope) contains(id uint64) bool {
	var value uint32
	return s.objects.ScopeCgroups.Lookup(id, &value) == nil
}

// OnGrown has f called, until stop is, each time that SetCgroup has taken in a cgroup, before it returns: for probes
// that remember which cgroups are not observed. A cgroup that the kernel takes in is new, and nobody can remember it.
func (s *Scope) OnGrown(f func()) (stop func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.watches == nil {
		s.watches = make(map[int]func())
	}
	id := s.watched
	s.watched++
	s.watches[id] = f
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.watches, id)
	}
}

// Grown counts the cgroups that SetCgroup took in. Probes scan for preexisting sockets when it has changed.
func (s *Scope) Grown() uint64 { return s.grown.Load() }

func unset[K any](m *ebpf.Map, key K) error {
	if err := m.Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("remove from %s: %w", m, err)
	}
	return nil
}

// Lost returns the losses since Open.
func (s *Scope) Lost() []bpf.Loss {
	lost := s.Probe.Lost()
	if n := s.early.Load(); n > 0 {
		lost = append(lost, bpf.Loss{Stage: event.LossStage_LOSS_STAGE_KERNEL_MAP, Count: n})
	}
	return lost
}
