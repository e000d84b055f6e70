// Package scope decides in the kernel which cgroups are observed, and reports cgroups as they come and go.
//
// A container's cgroup is in scope from its first instruction: userspace names the pods, and the program on
// cgroup_mkdir finds the pod's UID in the path of each new cgroup and enters its id itself.
package scope

import (
	"context"
	"errors"

	"github.com/cilium/ebpf"

	"github.com/orb8-dev/kubectl-orb8/bpf"
)

// Options of a Scope.
type Options struct {
	// CgroupRoot is where cgroup v2 is mounted, e.g. /sys/fs/cgroup or /host/cgroup/unified.
	CgroupRoot string
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
type Scope struct{}

// Open loads the scope's maps and programs and attaches them. It gives a *bpf.NotSupportedError where the kernel is too old.
func Open(o Options) (*Scope, error) { return nil, errors.New("scope: not built yet") }

// Maps gives the maps that probes share, by the name they have in C, for ebpf.CollectionOptions.MapReplacements.
func (s *Scope) Maps() map[string]*ebpf.Map { return nil }

// SetPod says whether the pod with this UID is observed. It takes effect for the cgroups made from now on.
// Static pods are known by their configuration hash (32 hex digits) in the place of the UID.
func (s *Scope) SetPod(uid [16]byte, target bool) error { return nil }

// SetCgroup says whether this cgroup, found to exist, is observed.
func (s *Scope) SetCgroup(id uint64, target bool) error { return nil }

// Run calls f for each cgroup that is made or removed, until ctx ends. The event is f's to keep.
func (s *Scope) Run(ctx context.Context, f func(Event)) error { return nil }

// Lost tells what was dropped since Open.
func (s *Scope) Lost() []bpf.Loss { return nil }

// Close detaches and unloads everything.
func (s *Scope) Close() error { return nil }
