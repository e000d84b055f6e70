package bpf

import (
	"context"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

// Variant is the kernel that programs are built for.
type Variant int

// The variants. The first is for kernels from 5.15 on.
const (
	Latest Variant = iota
	// Pre515 is built with PRE515, for kernels before 5.15.
	Pre515
	// NoMapIter is built with NOMAPITER, for kernels that refuse iterators over maps, or trust no socket that is found
	// through a file.
	NoMapIter
)

// Variants are the functions that read a probe's objects, as bpf2go writes them. nil: Latest serves these kernels too.
type Variants struct {
	Latest, Pre515, NoMapIter func() (*ebpf.CollectionSpec, error)
}

// choose returns the variant for a kernel.
func (v Variants) choose(kernel *btf.Spec) (Variant, func() (*ebpf.CollectionSpec, error)) {
	switch {
	case v.Pre515 != nil && IsPre515(kernel):
		return Pre515, v.Pre515
	case v.NoMapIter != nil && HashesOnly(kernel):
		return NoMapIter, v.NoMapIter
	}
	return Latest, v.Latest
}

// Spec is a probe's collection before it is loaded.
type Spec struct {
	*ebpf.CollectionSpec
	// Kernel are the types of the running kernel.
	Kernel *btf.Spec
	// Variant is the chosen one.
	Variant Variant

	name  string
	types *btf.Cache
}

// ringBuffers is the need of each spec that has one.
var ringBuffers = Need{Feature: "BPF ring buffers", MinKernel: "5.8", Has: HasHelper("ringbuf_output")}

// ReadSpec reads the variant of a probe for the running kernel, of which types is the cache. name is the probe's, for
// errors. The error is a *NotSupportedError where the kernel lacks a need.
func ReadSpec(ctx context.Context, name string, types *btf.Cache, variants Variants, needs ...Need) (*Spec, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	kernel, err := KernelTypes(types)
	if err != nil {
		return nil, err
	}
	if err := Check(kernel, needs...); err != nil {
		return nil, err
	}
	s := &Spec{Kernel: kernel, name: name, types: types}
	variant, read := variants.choose(kernel)
	if s.CollectionSpec, err = read(); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	s.Variant = variant
	if s.ring() != nil {
		err = Check(kernel, ringBuffers)
	}
	return s, err
}

// ring is the map that is a ring buffer; nil: none is.
func (s *Spec) ring() *ebpf.MapSpec {
	for _, m := range s.Maps {
		if m.Type == ebpf.RingBuf {
			return m
		}
	}
	return nil
}

// SetRing sets the size of the ring buffer, in bytes, rounded up to what the kernel takes; 0 keeps that of the C
// source.
func (s *Spec) SetRing(bytes uint32) {
	if bytes != 0 {
		s.ring().MaxEntries = RingSize(bytes)
	}
}

// Set sets global variables of the programs, by their names in C.
func (s *Spec) Set(values map[string]any) error {
	for name, value := range values {
		if err := s.Variables[name].Set(value); err != nil {
			return fmt.Errorf("load %s: set %s: %w", s.name, name, err)
		}
	}
	return nil
}

// SetShares sets the sizes of the tables of a probe, in the order of SHARE_TABLES in C.
func (s *Spec) SetShares(tables ...Share) error {
	open, size := make([]uint64, len(tables)), make([]uint64, len(tables))
	for i, t := range tables {
		open[i], size[i] = uint64(t.Open), uint64(t.Size)
	}
	return s.Set(map[string]any{"share_open": open, "share_size": size})
}
