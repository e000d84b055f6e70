package bpf

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// NotSupportedError says that this kernel lacks something a probe cannot do without.
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

// Unwrap gives what the kernel answered.
func (e *NotSupportedError) Unwrap() error { return e.Err }

// Need is something a kernel must have for a probe to load.
type Need struct {
	// Feature and MinKernel as in NotSupportedError.
	Feature, MinKernel string
	// Has looks for it among the kernel's types.
	Has func(*btf.Spec) bool
}

// KernelTypes gives the running kernel's types, or a NotSupportedError where it has none.
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

// Check gives a NotSupportedError for the first need that these kernel types do not meet.
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

// CheckCgroupRoot gives an error unless cgroup v2 is mounted at path.
func CheckCgroupRoot(path string) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return fmt.Errorf("look at the cgroup mount %s: %w", path, err)
	}
	if fs.Type != unix.CGROUP2_SUPER_MAGIC {
		return &NotSupportedError{Feature: "cgroup v2 mounted at " + path, MinKernel: "4.15"}
	}
	return nil
}
