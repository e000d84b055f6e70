package bpf

import (
	"slices"

	"github.com/cilium/ebpf"
)

// Hooks are the sections of a spec's programs, sorted, each once: what a probe attaches to.
func Hooks(spec *ebpf.CollectionSpec) []string {
	var hooks []string
	for _, p := range spec.Programs {
		hooks = append(hooks, p.SectionName)
	}
	slices.Sort(hooks)
	return slices.Compact(hooks)
}
