//go:build linux

package tracer

import (
	"context"
	"time"

	"github.com/orb8-dev/kubectl-orb8/bpf/scope"
	"github.com/orb8-dev/kubectl-orb8/bpf/syscalls"
	"github.com/orb8-dev/kubectl-orb8/event/session"
)

func openSyscalls(ctx context.Context, scope *scope.Scope, o SourceOptions) (Source, error) {
	p, err := syscalls.Open(ctx, syscallOptions(scope, o.Config))
	if err != nil {
		return nil, err
	}
	return p, nil
}

func openSyscallSummary(ctx context.Context, scope *scope.Scope, o SourceOptions) (Source, error) {
	s, err := syscalls.OpenSummary(ctx, syscallOptions(scope, o.Config))
	if err != nil {
		return nil, err
	}
	return s, nil
}

func syscallOptions(scope *scope.Scope, config *session.Config) syscalls.Options {
	c := config.GetSyscall()
	return syscalls.Options{
		Scope:       scope,
		Names:       c.GetNames(),
		ErrorsOnly:  c.GetErrorsOnly(),
		MinDuration: time.Duration(c.GetMinDuration()),
		Interval:    time.Duration(config.GetInterval()),
		RingBytes:   config.GetRingBytes(),
		MaxThreads:  maxStored(memoryLimit(), config.GetKinds()),
	}
}
