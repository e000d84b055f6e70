package bpf_test

import (
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/orb8-dev/kubectl-orb8/bpf"
	"github.com/orb8-dev/kubectl-orb8/bpf/bpftest"
)

func TestAllProgramsOfAProbeAreFound(t *testing.T) {
	bpftest.Root(t)
	load := func(n int) *ebpf.Program {
		t.Helper()
		ins := asm.Instructions{}
		for range n - 2 {
			ins = append(ins, asm.Mov.Imm(asm.R0, 1))
		}
		p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.CGroupSKB, License: "GPL",
			Instructions: append(ins, asm.Mov.Imm(asm.R0, 1), asm.Return())})
		if err != nil {
			t.Fatal(err)
		}
		bpftest.CloseAfter(t, p)
		return p
	}
	losses, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.PerCPUArray, KeySize: 4, ValueSize: 8, MaxEntries: 8})
	if err != nil {
		t.Fatal(err)
	}
	bpftest.CloseAfter(t, losses)
	type programs struct {
		A *ebpf.Program `ebpf:"a"`
		B *ebpf.Program `ebpf:"b"`
	}
	objects := struct {
		programs
		Losses *ebpf.Map     `ebpf:"losses"`
		C      *ebpf.Program `ebpf:"c"`
		Absent *ebpf.Program `ebpf:"absent"`
	}{programs: programs{load(2), load(3)}, Losses: losses, C: load(4)}
	got := bpf.Programs(&objects)
	if len(got) != 3 || got[0].Name != "a" || got[1].Name != "b" || got[2].Name != "c" {
		t.Fatalf("%+v, want a, b and c", got)
	}
	if got[0].Instructions != 0 && (got[0].Instructions != 2 || got[1].Instructions != 3 || got[2].Instructions != 4) {
		t.Errorf("%+v, want 2, 3 and 4 instructions", got)
	}
	l := bpf.NewLosses(&objects)
	if lost, err := l.Lost(); len(lost) != 0 || err != nil {
		t.Errorf("%v, %v, want no loss", lost, err)
	}
	if err := objects.C.Close(); err != nil {
		t.Fatal(err)
	}
	if lost, err := l.Lost(); err == nil {
		t.Errorf("%v of a program that is closed", lost)
	}
}
