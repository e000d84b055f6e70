package cuda

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"

	"golang.org/x/arch/arm64/arm64asm"
	"golang.org/x/arch/x86/x86asm"
)

// endbr64 marks the target of an indirect jump. It does nothing else.
var endbr64 = []byte{0xf3, 0x0f, 0x1e, 0xfa}

// maxPassed is how many instructions of a function a probe may skip.
const maxPassed = 4

// instructionBytes is the most that maxPassed instructions and one more take, in bytes.
const instructionBytes = (maxPassed + 1) * 15

// begin returns the offset of the probe in the first bytes of a function, and whether the kernel emulates the
// instruction there. It single-steps other instructions out of line, which takes many times as long. So the probe
// skips instructions that change no argument, stack, memory or control flow, if the kernel emulates the next one. These
// are an endbr64, or the comparison that all functions of NVIDIA's driver 550 begin with, to jump elsewhere while the
// driver shuts down ("cmp dword [rip+N], 0x321cba00; je; jmp [rip+M]").
func begin(machine elf.Machine, code []byte) (offset uint64, emulated bool, err error) {
	switch machine {
	case elf.EM_X86_64:
		if rest, ok := bytes.CutPrefix(code, endbr64); ok {
			code, offset = rest, uint64(len(endbr64))
		}
		emulated, err = x86(code)
		if passed := behind(code); err == nil && !emulated && passed > 0 {
			offset, emulated = offset+passed, true
		}
	case elf.EM_AARCH64:
		// It never skips a paciasp, which signs the return address that the kernel replaces.
		emulated, err = arm64(code)
	default:
		err = fmt.Errorf("machine %v", machine)
	}
	return offset, emulated, err
}

// x86Stepped are instructions that functions begin with and that the kernel can single-step out of line.
var x86Stepped = map[x86asm.Op]bool{
	x86asm.ADD: true, x86asm.AND: true, x86asm.CMP: true, x86asm.LEA: true, x86asm.MOV: true, x86asm.MOVSX: true,
	x86asm.MOVSXD: true, x86asm.MOVZX: true, x86asm.OR: true,
	x86asm.PUSH: true, x86asm.RET: true, x86asm.SUB: true, x86asm.TEST: true, x86asm.XOR: true,
}

func x86(code []byte) (emulated bool, err error) {
	i, err := x86asm.Decode(code, 64)
	if err != nil {
		return false, fmt.Errorf("instruction % x: %w", head(code), err)
	}
	for _, p := range i.Prefix {
		// The kernel refuses some prefixes, and others change the instruction. REX does neither.
		if p != 0 && !p.IsREX() {
			return false, fmt.Errorf("instruction %v with a prefix", i)
		}
	}
	first := code[0]
	switch {
	case first >= 0x50 && first <= 0x57, first == 0x41 && i.Op == x86asm.PUSH && i.Len == 2: // push register
		return true, nil
	case first == 0x90, first == 0xe8, first == 0xe9, first == 0xeb: // nop, call, jmp
		return true, nil
	case first >= 0x70 && first <= 0x7f, first == 0x0f && code[1] >= 0x80 && code[1] <= 0x8f: // jumps on a condition
		return true, nil
	case first == 0xff && i.Op == x86asm.JMP: // by a pointer
		return false, nil
	}
	if !x86Stepped[i.Op] {
		return false, fmt.Errorf("instruction %v", i)
	}
	return false, nil
}

// behind returns the offset of the first emulated instruction that a probe may skip to, 0 where there is none.
func behind(code []byte) (offset uint64) {
	for range maxPassed {
		i, err := x86asm.Decode(code[offset:], 64)
		if err != nil || i.Op != x86asm.CMP && i.Op != x86asm.TEST {
			return 0
		}
		offset += uint64(i.Len)
		if emulated, err := x86(code[offset:]); err == nil && emulated {
			return offset
		}
	}
	return 0
}

// The kernel simulates arm64Jumps, and single-steps arm64Stepped.
var (
	arm64Jumps = map[arm64asm.Op]bool{
		arm64asm.ADR: true, arm64asm.ADRP: true, arm64asm.B: true, arm64asm.BL: true, arm64asm.BR: true,
		arm64asm.CBNZ: true, arm64asm.CBZ: true, arm64asm.RET: true,
		arm64asm.TBNZ: true, arm64asm.TBZ: true,
	}
	arm64Stepped = map[arm64asm.Op]bool{
		arm64asm.ADD: true, arm64asm.AND: true, arm64asm.CMP: true, arm64asm.LDP: true, arm64asm.LDR: true,
		arm64asm.MOV: true, arm64asm.MOVZ: true, arm64asm.NOP: true, arm64asm.ORR: true,
		arm64asm.STP: true, arm64asm.STR: true, arm64asm.SUB: true,
	}
)

// Hints that functions begin with.
const (
	paciasp = 0xd503233f
	pacibsp = 0xd503237f
	btiC    = 0xd503245f
	btiJC   = 0xd50324df
)

func arm64(code []byte) (emulated bool, err error) {
	if len(code) < 4 {
		return false, fmt.Errorf("instruction % x", code)
	}
	switch binary.LittleEndian.Uint32(code) {
	case paciasp, pacibsp, btiC, btiJC:
		return false, nil
	}
	i, err := arm64asm.Decode(code[:4])
	if err != nil {
		return false, fmt.Errorf("instruction % x: %w", code[:4], err)
	}
	if arm64Jumps[i.Op] {
		return true, nil
	}
	if !arm64Stepped[i.Op] {
		return false, fmt.Errorf("instruction %v", i)
	}
	return false, nil
}

func head(code []byte) []byte { return code[:min(len(code), 8)] }
