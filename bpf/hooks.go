package bpf

import (
	"slices"
	"strings"

	"github.com/cilium/ebpf"
)

// Hooks are the sections of a spec's programs, sorted, each once: what a probe attaches to. Programs with the section
// raw_tp are run by user space and attached to nothing.
func Hooks(spec *ebpf.CollectionSpec) []string {
	var hooks []string
	for _, p := range spec.Programs {
		if !strings.HasPrefix(p.SectionName, "raw_tp/") {
			hooks = append(hooks, p.SectionName)
		}
	}
	slices.Sort(hooks)
	return slices.Compact(hooks)
}
