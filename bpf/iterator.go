package bpf

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// MapIteratorsRefused reports whether the kernel refuses iterators over maps, though it has iterators. Then the
// programs built with NOMAPITER serve. Seen on a 6.18 kernel, which returns EPERM for iter/bpf_map_elem and
// iter/bpf_sk_storage_map to any process, and loads other iterators.
var MapIteratorsRefused = sync.OnceValue(func() bool {
	refused := func(over string) bool {
		p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
			Name: "try_" + over[:3], Type: ebpf.Tracing, AttachType: ebpf.AttachTraceIter, AttachTo: over,
			License:      "Dual BSD/GPL",
			Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
		})
		if err == nil {
			err = p.Close()
		}
		return errors.Is(err, os.ErrPermission)
	}
	// A process that may load nothing has another problem.
	return refused("bpf_map_elem") && !refused("task_file")
})

// Iterator runs a program over all objects of one kind. User space runs programs that are no iterators itself.
type Iterator struct {
	program *ebpf.Program
	iter    *link.Iter
}

// Open starts an iteration. Reading from it runs the program and returns the program's output.
func (it *Iterator) Open() (io.ReadCloser, error) { return it.iter.Open() }

// Run returns when the program has seen everything.
func (it *Iterator) Run() error {
	if it.iter == nil {
		if _, err := it.program.Run(&ebpf.RunOptions{}); err != nil {
			return fmt.Errorf("run %s: %w", it.program, err)
		}
		return nil
	}
	r, err := it.iter.Open()
	if err != nil {
		return err
	}
	return errors.Join(runThrough(r), r.Close())
}

// runThrough reads to the end. Nothing is ever read: reading is what makes the program run. After a million objects
// without a byte the kernel wants another read.
func runThrough(r io.Reader) error {
	var none [8]byte
	for {
		_, err := r.Read(none[:])
		switch {
		case err == io.EOF:
			return nil
		case err != nil && !errors.Is(err, unix.EAGAIN):
			return err
		}
	}
}
