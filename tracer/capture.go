//go:build linux

package tracer

import (
	"context"

	"golang.org/x/net/bpf"

	"github.com/orb8-dev/kubectl-orb8/bpf/capture"
	"github.com/orb8-dev/kubectl-orb8/bpf/scope"
	"github.com/orb8-dev/kubectl-orb8/event/session"
)

func openCapture(ctx context.Context, scope *scope.Scope, o SourceOptions) (Source, error) {
	config := o.Config.GetCapture()
	options := capture.Options{
		Scope: scope, CgroupRoot: o.CgroupRoot, SnapLength: config.GetSnapLength(), RingBytes: o.Config.GetRingBytes(),
	}
	for _, packed := range config.GetFilter() {
		options.Filter = append(options.Filter, bpf.RawInstruction(session.UnpackInstruction(packed)))
	}
	p, err := capture.Open(ctx, options)
	if err != nil {
		return nil, err
	}
	return p, nil
}
