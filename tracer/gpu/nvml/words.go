//go:build linux && cgo

package nvml

import (
	"fmt"
	"strings"
)

// throttles are the words of nvmlClocksEventReason*, by bit (nvml.h).
var throttles = []string{"idle", "app-clocks", "power-cap", "hw-slowdown", "sync-boost", "sw-thermal", "hw-thermal",
	"power-brake", "display-clocks", "board-limit", "reliability"}

// throttleWords returns the words of a mask of reasons, separated by commas.
func throttleWords(mask uint64) string {
	if mask == 0 {
		return "none"
	}
	var list []string
	for bit, word := range throttles {
		if mask&(1<<bit) != 0 {
			list = append(list, word)
		}
	}
	if rest := mask &^ (1<<len(throttles) - 1); rest != 0 {
		list = append(list, fmt.Sprintf("%#x", rest))
	}
	return strings.Join(list, ",")
}

// xids describe the error numbers that NVIDIA documents ("XID Errors", docs.nvidia.com/deploy/xid-errors).
var xids = map[uint64]string{
	8:   "the GPU stopped processing",
	13:  "graphics engine exception: most often a program's access out of bounds",
	31:  "GPU memory page fault: most often a program's access to an illegal address",
	32:  "invalid or corrupted push buffer stream",
	38:  "driver firmware error",
	43:  "the GPU stopped processing: a program was at fault",
	45:  "a program was ended before its work was done",
	48:  "double-bit ECC error: not correctable",
	61:  "internal micro-controller breakpoint or warning",
	62:  "internal micro-controller halt",
	63:  "ECC: a page retired or a row remapped",
	64:  "ECC: a page could not be retired, or a row not remapped",
	68:  "NVDEC (video decoder) exception",
	69:  "graphics engine class error",
	74:  "NVLink error",
	79:  "the GPU has fallen off the bus",
	92:  "high rate of single-bit ECC errors",
	94:  "contained ECC error: one program is affected",
	95:  "uncontained ECC error: all programs on the GPU are affected",
	109: "context switch time-out",
	110: "security fault",
	119: "the GPU's firmware (GSP) did not answer",
	120: "the GPU's firmware (GSP) failed",
	121: "C2C link error",
	140: "ECC unrecovered error",
	143: "GPU initialization failed",
	149: "NVLink error",
}

func xidWords(xid uint64) string {
	if s, ok := xids[xid]; ok {
		return fmt.Sprintf("XID %d: %s", xid, s)
	}
	return fmt.Sprintf("XID %d", xid)
}
