// Package bpf holds what the probes in the folders below share: how they say that a kernel is too old, what they lost,
// and the kernel's clock as wall-clock time.
package bpf

import (
	"fmt"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// NotSupportedError says that this kernel lacks something a probe cannot do without.
type NotSupportedError struct {
	// Feature in words, such as "socket storage for tracing programs".
	Feature string
	// MinKernel is the first Linux release that has it, such as "5.11".
	MinKernel string
	// Err is what the kernel answered.
	Err error
}

func (e *NotSupportedError) Error() string {
	s := fmt.Sprintf("kernel lacks %s (needs Linux %s or newer)", e.Feature, e.MinKernel)
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap gives what the kernel answered.
func (e *NotSupportedError) Unwrap() error { return e.Err }

// Loss is how much a probe has dropped at one stage since it was opened.
type Loss struct {
	Stage event.LossStage
	// Count is cumulative.
	Count uint64
}
