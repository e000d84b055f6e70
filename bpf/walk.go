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

// MapIteratorsRefused says whether the kernel lets nobody iterate over maps, though it has iterators. Then the programs are to be taken that were built with
// NO_MAP_ITERATORS. Seen on a 6.18 kernel, which gives EPERM for iter/bpf_map_elem and iter/bpf_sk_storage_map, whoever asks, and loads other iterators.
var MapIteratorsRefused = sync.OnceValue(func() bool {
	refused := func(over string) bool {
		p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
			Name: "try_" + over[:3], Type: ebpf.Tracing, AttachType: ebpf.AttachTraceIter, AttachTo: over, License: "Dual BSD/GPL",
			Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
		})
		if err == nil {
			err = p.Close()
		}
		return errors.Is(err, os.ErrPermission)
	}
	// Who may load nothing at all is not to be told of iterators.
	return refused("bpf_map_elem") && !refused("task_file")
})

// Walk runs a program over everything of some kind: an iterator's over what it iterates over, another as it is.
type Walk struct {
	program *ebpf.Program
	iter    *link.Iter
}

// OpenWalk attaches an iterator; over is the map that it is to iterate over, nil of those that do so over no map. Other programs (raw_tp) need nothing.
func OpenWalk(program *ebpf.Program, over *ebpf.Map) (*Walk, error) {
	w := &Walk{program: program}
	if program.Type() != ebpf.Tracing {
		return w, nil
	}
	var err error
	if w.iter, err = link.AttachIter(link.IterOptions{Program: program, Map: over}); err != nil {
		return nil, fmt.Errorf("attach %s: %w", program, err)
	}
	return w, nil
}

// Run returns when the program has seen everything.
func (w *Walk) Run() error {
	if w.iter == nil {
		if _, err := w.program.Run(&ebpf.RunOptions{}); err != nil {
			return fmt.Errorf("run %s: %w", w.program, err)
		}
		return nil
	}
	r, err := w.iter.Open()
	if err != nil {
		return err
	}
	return errors.Join(runThrough(r), r.Close())
}

// runThrough reads to the end. Nothing is ever read: reading is what makes the program run. After a million objects without
// a byte the kernel wants to be asked again.
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

// Close detaches the program. Of a nil Walk it does nothing.
func (w *Walk) Close() error {
	if w == nil || w.iter == nil {
		return nil
	}
	return w.iter.Close()
}
