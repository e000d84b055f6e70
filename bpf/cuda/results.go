package cuda

import (
	"strconv"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// results are the errors that programs meet, in words (CUresult of cuda.h).
var results = map[uint32]string{
	1: "invalid value", 2: "out of memory", 3: "not initialized", 4: "the driver is shutting down",
	46: "devices unavailable", 100: "no device", 101: "invalid device", 200: "invalid image",
	201: "invalid context", 205: "map failed", 209: "no binary for this GPU", 214: "uncorrectable ECC error",
	217: "peer access not supported", 220: "uncorrectable NVLink error",
	226: "contained error", 400: "invalid handle", 401: "illegal state", 500: "not found", 700: "illegal address",
	701: "launch out of resources", 702: "launch timed out",
	708: "context already in use", 709: "context destroyed", 710: "assertion failed in a kernel",
	714: "hardware stack error", 715: "illegal instruction", 716: "misaligned address",
	717: "invalid address space", 718: "invalid program counter", 719: "a kernel failed", 800: "not permitted",
	801: "not supported", 802: "system not ready", 803: "driver mismatch",
	900: "stream capture unsupported", 901: "stream capture invalidated", 908: "capture of another thread's stream",
	999: "unknown error",
}

// explain names the call that failed, and the error: "cuMemAlloc_v2 of 16.0Gi bytes: out of memory (2)".
func explain(f *event.GpuFailure) string {
	b := append(make([]byte, 0, 64), f.GetCall()...)
	if f.GetBytes() > 0 {
		b = append(event.AppendBytes(append(b, " of "...), f.GetBytes()), " bytes"...)
	}
	b = append(b, ": "...)
	if word, ok := results[f.GetCode()]; ok {
		b = append(append(b, word...), " ("...)
	} else {
		b = append(b, "error ("...)
	}
	return string(append(strconv.AppendUint(b, uint64(f.GetCode()), 10), ')'))
}
