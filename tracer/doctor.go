package tracer

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/orb8-dev/kubectl-orb8/bpf"
	"github.com/orb8-dev/kubectl-orb8/event/session"
)

// Examine attaches and detaches the scope and the probe of every kind, one after the other. The report holds the
// errors.
func Examine(ctx context.Context, kernel Kernel) session.Report {
	r := session.Report{Protocol: session.Protocol}
	root, err := kernel.CgroupRoot()
	if err != nil {
		r.Probes = append(r.Probes, outcome(scopeName, nil, err))
		return r
	}
	r.Cgroup = "unified"
	if filepath.Base(root) == "unified" {
		r.Cgroup = "hybrid"
	}
	scope, err := kernel.OpenScope(root)
	r.Probes = append(r.Probes, outcome(scopeName, scope, err))
	if err != nil {
		return r // every probe needs it
	}
	for _, kind := range kernel.Kinds() {
		if kind == "gpu" {
			continue // it needs no kernel support, and a node without a GPU is not an error
		}
		source, err := kernel.OpenSource(ctx, kind, SourceOptions{
			Scope: scope, CgroupRoot: root, Config: &session.Config{Kinds: []string{kind}},
		})
		p := outcome(kind, source, err)
		if err == nil {
			if err := source.Close(); err != nil {
				p.Error = "detach: " + err.Error()
			}
		}
		r.Probes = append(r.Probes, p)
	}
	if err := scope.Close(); err != nil {
		r.Probes[0].Error = "detach: " + err.Error()
	}
	return r
}

func outcome(kind string, opened any, err error) session.ProbeReport {
	p := session.ProbeReport{Kind: kind}
	if err != nil {
		p.Error = err.Error()
		var lacks *bpf.NotSupportedError
		p.Unsupported = errors.As(err, &lacks)
		return p
	}
	if h, ok := opened.(interface{ Hooks() []string }); ok {
		p.Hooks = h.Hooks()
	}
	if l, ok := opened.(interface{ Programs() []bpf.Program }); ok {
		for _, program := range l.Programs() {
			p.Programs = append(p.Programs, session.ProgramReport{Name: program.Name,
				Instructions: program.Instructions})
		}
	}
	return p
}
