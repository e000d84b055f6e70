package bpf

import (
	"slices"

	"github.com/cilium/ebpf"
)

// hook is where a program attaches.
type hook struct {
	Section    string
	AttachType ebpf.AttachType
}

// hooks are those of the programs of a probe.
type hooks struct {
	of map[*ebpf.Program]hook
	// attached are the sections of the programs that are, sorted, each once.
	attached []string
}

// newHooks takes the hooks of loaded programs from their spec, which it does not keep: a spec takes much memory.
func newHooks(s *Spec, objects any) hooks {
	h := hooks{of: make(map[*ebpf.Program]hook)}
	eachField(objects, func(name string, program *ebpf.Program) {
		spec := s.Programs[name]
		h.of[program] = hook{spec.SectionName, spec.AttachType}
	})
	return h
}

func (h *hooks) add(program *ebpf.Program) {
	section := h.of[program].Section
	if i, found := slices.BinarySearch(h.attached, section); !found {
		h.attached = slices.Insert(h.attached, i, section)
	}
}
