package bpf

import (
	"fmt"

	"github.com/cilium/ebpf/btf"
)

// TracepointParameters counts the arguments that the kernel's tracepoint name has in a tp_btf program.
func TracepointParameters(kernel *btf.Spec, name string) (int, error) {
	name = "btf_trace_" + name
	var t *btf.Typedef
	if err := kernel.TypeByName(name, &t); err != nil {
		return 0, fmt.Errorf("find %s in the kernel's types: %w", name, err)
	}
	if pointer, ok := t.Type.(*btf.Pointer); ok {
		if f, ok := pointer.Target.(*btf.FuncProto); ok {
			return len(f.Params) - 1, nil // the first is the probe's own data
		}
	}
	return 0, fmt.Errorf("%s is %v in the kernel's types, want a pointer to a function", name, t.Type)
}
