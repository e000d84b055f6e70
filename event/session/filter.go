package session

// MaxFilter is how many instructions CaptureConfig.filter may have.
const MaxFilter = 2048

// Instruction is one of classic BPF, struct sock_filter.
type Instruction struct {
	Op     uint16
	Jt, Jf uint8
	K      uint32
}

// Pack encodes an instruction as CaptureConfig.filter has it.
func (i Instruction) Pack() uint64 {
	return uint64(i.Op)<<48 | uint64(i.Jt)<<40 | uint64(i.Jf)<<32 | uint64(i.K)
}

// UnpackInstruction decodes what Pack has encoded.
func UnpackInstruction(packed uint64) Instruction {
	return Instruction{Op: uint16(packed >> 48), Jt: uint8(packed >> 40), Jf: uint8(packed >> 32), K: uint32(packed)}
}
