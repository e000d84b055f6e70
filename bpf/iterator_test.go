package bpf

import (
	"errors"
	"io"
	"os"
	"testing"
	"testing/iotest"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

func TestIterator_ReadsOnAfterEAGAIN(t *testing.T) {
	retry := iotest.ErrReader(&os.PathError{Op: "read", Path: "bpf_iter", Err: unix.EAGAIN})
	reads := 0
	if err := runThrough(readerFunc(func(b []byte) (int, error) {
		if reads++; reads < 4 {
			return retry.Read(b)
		}
		return 0, io.EOF
	})); err != nil || reads != 4 {
		t.Errorf("%d reads: %v", reads, err)
	}
	broken := errors.New("broken")
	if err := runThrough(iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

// TestMapIteratorsRefused_MatchesTheKernel loads a map iterator, and a program of the type that replaces it.
func TestMapIteratorsRefused_MatchesTheKernel(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.Tracing, AttachType: ebpf.AttachTraceIter, AttachTo: "bpf_map_elem", License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	})
	if err == nil {
		err = p.Close()
	}
	if refused := errors.Is(err, os.ErrPermission); refused != MapIteratorsRefused() {
		t.Errorf("loading a map iterator: %v; MapIteratorsRefused: %v", err, MapIteratorsRefused())
	}
	kernel, kernelErr := KernelTypes(btf.NewCache())
	if kernelErr != nil {
		t.Fatal(kernelErr)
	}
	if refused := errors.Is(err, os.ErrPermission); refused && !HashesOnly(kernel) {
		t.Error("iterators over maps are refused, and HashesOnly is false")
	}
	p, err = ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.RawTracepoint, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	w, err := new(Probe).AttachIterator(p, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Run(); err != nil {
		t.Error(err)
	}
}
