package bpf

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// MapIteratorsRefused reports whether the kernel refuses iterators over maps, though it has iterators. Seen on a 6.18
// kernel, which returns EPERM for iter/bpf_map_elem and iter/bpf_sk_storage_map to any process, and loads other
// iterators.
var MapIteratorsRefused = sync.OnceValue(func() bool {
	refused := func(over string) bool { return refusesIterator(over, asm.Mov.Imm(asm.R0, 0), asm.Return()) }
	// A process that may load nothing has another problem.
	return refused("bpf_map_elem") && !refused("task_file")
})

// fileSockets is the result of FileSocketsUntrusted.
var fileSockets struct {
	sync.Once
	untrusted bool
}

// FileSocketsUntrusted reports whether the verifier trusts no socket that a program finds through a file: it passes it
// to no helper, so that an iterator over files gets to no socket's storage. Seen on a 6.18 kernel, where what is read
// from a pointer that is neither trusted nor untrusted is untrusted. kernel are the running kernel's types.
func FileSocketsUntrusted(kernel *btf.Spec) bool {
	fileSockets.Do(func() { fileSockets.untrusted = tryFileSockets(kernel) })
	return fileSockets.untrusted
}

func tryFileSockets(kernel *btf.Spec) bool {
	var socket *btf.Struct
	if err := kernel.TypeByName("socket", &socket); err != nil {
		return false
	}
	i := slices.IndexFunc(socket.Members, func(m btf.Member) bool { return m.Name == "sk" })
	if i < 0 {
		return false
	}
	const file = 24 // in struct bpf_iter__task_file
	find := func(use ...asm.Instruction) []asm.Instruction {
		return slices.Concat([]asm.Instruction{
			asm.LoadMem(asm.R1, asm.R1, file, asm.DWord),
			asm.JEq.Imm(asm.R1, 0, "out"),
			asm.FnSockFromFile.Call(),
			asm.JEq.Imm(asm.R0, 0, "out"),
			asm.LoadMem(asm.R1, asm.R0, int16(socket.Members[i].Offset.Bytes()), asm.DWord),
			asm.JEq.Imm(asm.R1, 0, "out"),
		}, use, []asm.Instruction{asm.Mov.Imm(asm.R0, 0).WithSymbol("out"), asm.Return()})
	}
	return refusesIterator("task_file", find(asm.FnSkcToTcpSock.Call())...) && !refusesIterator("task_file", find()...)
}

// HashesOnly reports whether the programs built with NOMAPITER serve. kernel are the running kernel's types.
func HashesOnly(kernel *btf.Spec) bool { return MapIteratorsRefused() || FileSocketsUntrusted(kernel) }

// refusesIterator reports whether the kernel does not permit an iterator over these objects.
func refusesIterator(over string, instructions ...asm.Instruction) bool {
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "try_" + over[:3], Type: ebpf.Tracing, AttachType: ebpf.AttachTraceIter, AttachTo: over,
		License: "Dual BSD/GPL", Instructions: instructions,
	})
	if err == nil {
		err = p.Close()
	}
	return errors.Is(err, os.ErrPermission)
}

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
