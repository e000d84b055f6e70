package bpf

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// NotSupportedError is the lack of a kernel feature that a probe needs.
type NotSupportedError struct {
	// Feature in words, such as "socket storage for tracing programs".
	Feature string
	// MinKernel is the first Linux release that has it, such as "5.15".
	MinKernel string
	// Err is what the kernel answered; may be nil.
	Err error
}

func (e *NotSupportedError) Error() string {
	s := fmt.Sprintf("kernel lacks %s (needs Linux %s or newer)", e.Feature, e.MinKernel)
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns what the kernel answered.
func (e *NotSupportedError) Unwrap() error { return e.Err }

// Need is something a kernel must have for a probe to load.
type Need struct {
	// Feature and MinKernel as in NotSupportedError.
	Feature, MinKernel string
	// Has finds it among the kernel's types.
	Has func(*btf.Spec) bool
}

// KernelTypes returns the running kernel's types, or a NotSupportedError where it has none.
func KernelTypes(cache *btf.Cache) (*btf.Spec, error) {
	spec, err := cache.Kernel()
	if errors.Is(err, btf.ErrNotSupported) {
		return nil, &NotSupportedError{"type information (CONFIG_DEBUG_INFO_BTF)", "5.10", err}
	}
	if err != nil {
		return nil, fmt.Errorf("read the kernel's types: %w", err)
	}
	return spec, nil
}

// Check returns a NotSupportedError for the first need that these kernel types do not meet.
func Check(kernel *btf.Spec, needs ...Need) error {
	for _, n := range needs {
		if !n.Has(kernel) {
			return &NotSupportedError{Feature: n.Feature, MinKernel: n.MinKernel}
		}
	}
	return nil
}

// HasHelper is a Need.Has for a BPF helper, by its name without "bpf_".
func HasHelper(name string) func(*btf.Spec) bool {
	return func(kernel *btf.Spec) bool {
		var ids *btf.Enum
		if kernel.TypeByName("bpf_func_id", &ids) != nil {
			return false
		}
		for _, v := range ids.Values {
			if v.Name == "BPF_FUNC_"+name {
				return true
			}
		}
		return false
	}
}

// HasMember is a Need.Has for a member of a kernel struct.
func HasMember(structName, member string) func(*btf.Spec) bool {
	return func(kernel *btf.Spec) bool {
		var s *btf.Struct
		if kernel.TypeByName(structName, &s) != nil {
			return false
		}
		for _, m := range s.Members {
			if m.Name == member {
				return true
			}
		}
		return false
	}
}

// HasTracepoint is a Need.Has for a BTF-typed tracepoint.
func HasTracepoint(name string) func(*btf.Spec) bool {
	return func(kernel *btf.Spec) bool {
		var t *btf.Typedef
		return kernel.TypeByName("btf_trace_"+name, &t) == nil
	}
}

// chargesMemlock reports whether the kernel counts maps as memory that the user has locked, as it did before Linux
// 5.11. From then on they are charged to the cgroup. The helper came in the same release, and can be found.
func chargesMemlock(kernel *btf.Spec) bool { return !HasHelper("get_current_task_btf")(kernel) }

// LiftMemlock takes the limit of locked memory from this process where the kernel holds maps to it, which takes
// CAP_SYS_RESOURCE unless there is none.
func LiftMemlock(kernel *btf.Spec) error {
	if !chargesMemlock(kernel) {
		return nil
	}
	var now unix.Rlimit
	if err := unix.Prlimit(0, unix.RLIMIT_MEMLOCK, nil, &now); err != nil {
		return fmt.Errorf("read the limit of locked memory: %w", err)
	}
	if now.Cur == unix.RLIM_INFINITY {
		return nil
	}
	if err := unix.Prlimit(0, unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY},
		nil); err != nil {
		return fmt.Errorf("lift the limit of locked memory (%d bytes), to which Linux before 5.11 holds maps, with "+
			"CAP_SYS_RESOURCE: %w", now.Cur, err)
	}
	return nil
}

// IsPre515 reports whether the kernel needs the programs that were built with PRE515: it lacks something that came
// between Linux 5.11 and 5.15.
func IsPre515(kernel *btf.Spec) bool {
	return Check(kernel,
		// 5.11, as storage of sockets and tasks in tracing programs, and sockets of files.
		Need{Has: HasHelper("task_storage_get")},
		// 5.12, as the cookies of sockets in tracing programs, and atomic operations that return the old value.
		Need{Has: HasHelper("check_mtu")},
		// 5.15, both.
		Need{Has: HasMember("sock_cgroup_data", "cgroup")},
		Need{Has: HasHelper("task_pt_regs")},
	) != nil
}

// CheckCgroupRoot returns an error unless cgroup v2 is mounted at path.
func CheckCgroupRoot(path string) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return fmt.Errorf("check the cgroup mount %s: %w", path, err)
	}
	if fs.Type != unix.CGROUP2_SUPER_MAGIC {
		return &NotSupportedError{Feature: "cgroup v2 mounted at " + path, MinKernel: "4.15"}
	}
	return nil
}

// IsHierarchyRoot reports whether a directory is the root of the whole cgroup v2 hierarchy, whose inode number is 1,
// and not of the part that a container sees.
func IsHierarchyRoot(path string) bool {
	var stat unix.Stat_t
	return unix.Stat(path, &stat) == nil && stat.Ino == 1 && CheckCgroupRoot(path) == nil
}
