package capture

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cloudflare/cbpfc"
	"golang.org/x/net/bpf"
)

// MaxFilter is how many instructions a filter may have.
const MaxFilter = 2048

// stub is the function in capture.bpf.c whose place the filter takes.
const stub = "matches"

// Offsets in struct __sk_buff.
const (
	skbLen     = 0
	skbData    = 76
	skbDataEnd = 80
)

// Disassemble decodes a filter, and refuses what is no classic BPF.
func Disassemble(raw []bpf.RawInstruction) ([]bpf.Instruction, error) {
	if len(raw) > MaxFilter {
		return nil, fmt.Errorf("%d instructions: want at most %d", len(raw), MaxFilter)
	}
	filter, ok := bpf.Disassemble(raw)
	if !ok {
		return nil, errors.New("not all instructions are of classic BPF")
	}
	return filter, nil
}

// translate returns a function of eBPF that takes a struct __sk_buff and returns what the filter returns for it.
func translate(raw []bpf.RawInstruction) (asm.Instructions, error) {
	filter, err := Disassemble(raw)
	if err != nil {
		return nil, err
	}
	filter, usesLength, err := keepLength(filter)
	if err != nil {
		return nil, err
	}
	body, err := cbpfc.ToEBPF(filter, cbpfc.EBPFOpts{
		PacketStart: asm.R2, PacketEnd: asm.R3,
		Result: asm.R0, ResultLabel: "filter_result",
		Working:     [4]asm.Register{asm.R4, asm.R5, asm.R6, asm.R7},
		LabelPrefix: "filter",
	})
	if err != nil {
		return nil, err
	}
	if usesLength {
		if err := loadLength(body); err != nil {
			return nil, err
		}
	}
	head := asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, skbData, asm.Word),
		asm.LoadMem(asm.R3, asm.R1, skbDataEnd, asm.Word),
	}
	return append(append(head, body...), asm.Return().WithSymbol("filter_result")), nil
}

const (
	// lengthSlot is the scratch memory that holds the length of the packet, lengthMark what is stored there first.
	lengthSlot = 15
	lengthMark = 0x6c656e67
)

// keepLength has a filter read the length of the packet from scratch memory. cbpfc calculates it from the end of what
// a program reads directly, but a packet may have more in pages. loadLength puts the length in place of lengthMark.
func keepLength(filter []bpf.Instruction) (_ []bpf.Instruction, used bool, err error) {
	changed := []bpf.Instruction{bpf.LoadConstant{Dst: bpf.RegA, Val: lengthMark},
		bpf.StoreScratch{Src: bpf.RegA, N: lengthSlot}}
	for _, i := range filter {
		switch of := i.(type) {
		case bpf.LoadExtension:
			if of.Num != bpf.ExtLen {
				return nil, false, fmt.Errorf("unknown extension %d", of.Num)
			}
			used = true
			i = bpf.LoadScratch{Dst: bpf.RegA, N: lengthSlot}
		case bpf.LoadScratch:
			if of.N == lengthSlot {
				return nil, false, fmt.Errorf("scratch memory %d is taken", lengthSlot)
			}
		case bpf.StoreScratch:
			if of.N == lengthSlot {
				return nil, false, fmt.Errorf("scratch memory %d is taken", lengthSlot)
			}
		}
		changed = append(changed, i)
	}
	if !used {
		return filter, false, nil
	}
	return changed, true, nil
}

// loadLength replaces the instruction that loads lengthMark. cbpfc leaves R1, the context, as it is.
func loadLength(body asm.Instructions) error {
	for i := range body {
		if o := body[i].OpCode; o.Class().IsALU() && o.ALUOp() == asm.Mov && o.Source() == asm.ImmSource &&
			body[i].Constant == lengthMark {
			load := asm.LoadMem(body[i].Dst, asm.R1, skbLen, asm.Word)
			load.Metadata = body[i].Metadata
			body[i] = load
			return nil
		}
	}
	return errors.New("the length of packets cannot be loaded")
}

// insertFilter replaces the stub in each program that has it.
func insertFilter(spec *ebpf.CollectionSpec, raw []bpf.RawInstruction) error {
	inserted := 0
	for _, p := range spec.Programs {
		// The programs share no instruction.
		function, err := translate(raw)
		if err != nil {
			return err
		}
		from := slices.IndexFunc(p.Instructions, func(i asm.Instruction) bool { return i.Symbol() == stub })
		if from < 0 {
			continue
		}
		to := from + 1
		for to < len(p.Instructions) && p.Instructions[to].Symbol() == "" {
			to++
		}
		// The first instruction carries the name and the type of the function.
		function[0].Metadata = p.Instructions[from].Metadata
		p.Instructions = slices.Replace(p.Instructions, from, to, function...)
		inserted++
	}
	if inserted == 0 {
		return fmt.Errorf("no program has the function %s", stub)
	}
	return nil
}
