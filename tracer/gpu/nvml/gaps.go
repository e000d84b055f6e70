//go:build linux && cgo

package nvml

import (
	"fmt"
	"slices"
	"strings"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
)

// gaps are the missing fields of an event by reason.
type gaps struct {
	reasons []string
	fields  map[string][]string
	// lost: the device does not answer, or needs a reset.
	lost nvml.Return
}

func (g *gaps) add(field string, ret nvml.Return) {
	if ret == nvml.ERROR_GPU_IS_LOST || ret == nvml.ERROR_RESET_REQUIRED {
		g.lost = ret
	}
	g.addReason(field, words(ret))
}

func (g *gaps) addReason(field, reason string) {
	if g.fields == nil {
		g.fields = map[string][]string{}
	}
	if !slices.Contains(g.reasons, reason) {
		g.reasons = append(g.reasons, reason)
	}
	if !slices.Contains(g.fields[reason], field) {
		g.fields[reason] = append(g.fields[reason], field)
	}
}

// String returns for example "not supported: power, ecc; no permission: sm".
func (g *gaps) String() string {
	parts := make([]string, 0, len(g.reasons))
	for _, reason := range g.reasons {
		parts = append(parts, reason+": "+strings.Join(g.fields[reason], ", "))
	}
	return strings.Join(parts, "; ")
}

// words describes a return code. It does not call nvmlErrorString, which the library may lack.
func words(ret nvml.Return) string {
	switch ret {
	case nvml.ERROR_UNINITIALIZED:
		return "NVML is not initialized"
	case nvml.ERROR_INVALID_ARGUMENT:
		return "refused as an invalid argument"
	case nvml.ERROR_NOT_SUPPORTED:
		return "not supported"
	case nvml.ERROR_NO_PERMISSION:
		return "no permission"
	case nvml.ERROR_NOT_FOUND:
		return "not found"
	case nvml.ERROR_DRIVER_NOT_LOADED:
		return "the driver is not loaded, or its device files cannot be opened here"
	case nvml.ERROR_TIMEOUT:
		return "timed out"
	case nvml.ERROR_IRQ_ISSUE:
		return "the device has an interrupt problem"
	case nvml.ERROR_LIBRARY_NOT_FOUND:
		return "library not found"
	case nvml.ERROR_FUNCTION_NOT_FOUND:
		return "the driver is older than this"
	case nvml.ERROR_CORRUPTED_INFOROM:
		return "corrupted infoROM"
	case nvml.ERROR_GPU_IS_LOST:
		return "the GPU has fallen off the bus"
	case nvml.ERROR_RESET_REQUIRED:
		return "the GPU needs a reset"
	case nvml.ERROR_OPERATING_SYSTEM:
		return "blocked by the operating system"
	case nvml.ERROR_LIB_RM_VERSION_MISMATCH:
		return "library and kernel module of the driver are of different versions"
	case nvml.ERROR_IN_USE:
		return "in use"
	case nvml.ERROR_MEMORY:
		return "out of memory"
	case nvml.ERROR_NO_DATA:
		return "no data"
	case nvml.ERROR_ARGUMENT_VERSION_MISMATCH:
		return "the driver knows no such version"
	case nvml.ERROR_DEPRECATED:
		return "deprecated"
	case nvml.ERROR_NOT_READY:
		return "not ready"
	case nvml.ERROR_GPU_NOT_FOUND:
		return "no GPU found"
	case nvml.ERROR_INVALID_STATE:
		return "not in this state"
	}
	return fmt.Sprintf("NVML error %d", int32(ret))
}

// believed returns n unless it exceeds the possible maximum, else nil.
func believed[N uint32 | uint64](g *gaps, field string, n *N, most N) *N {
	if n != nil && *n > most {
		g.addReason(field, fmt.Sprintf("the driver says %d, which cannot be", *n))
		return nil
	}
	return n
}
