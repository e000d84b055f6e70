package tracer

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/orb8-dev/kubectl-orb8/bpf"
	"github.com/orb8-dev/kubectl-orb8/event/session"
)

// examined is a kernel whose scope and sources fail as the test wants.
type examined struct {
	root                string
	rootError           error
	scope               *examinedScope
	scopeError          error
	sources             map[string]*examinedSource
	unsupported, opened []string
}

func (k *examined) CgroupRoot() (string, error) { return k.root, k.rootError }

func (k *examined) OpenScope(string) (Scope, error) {
	if k.scopeError != nil {
		return nil, k.scopeError
	}
	return k.scope, nil
}

func (k *examined) Kinds() []string { return []string{"flow", "tcp", "dns", "gpu"} }

func (k *examined) OpenSource(_ context.Context, kind string, o SourceOptions) (Source, error) {
	if o.Scope == nil || o.CgroupRoot != k.root || !slices.Equal(o.Config.GetKinds(), []string{kind}) {
		return nil, errors.New("opened with other options")
	}
	k.opened = append(k.opened, kind)
	if slices.Contains(k.unsupported, kind) {
		return nil, &bpf.NotSupportedError{Feature: "wonders", MinKernel: "9.9"}
	}
	return k.sources[kind], nil
}

type examinedScope struct {
	Scope
	closes int
	err    error
}

func (s *examinedScope) Close() error { s.closes++; return s.err }

// examinedSource has hooks and programs, as probes in the kernel do.
type examinedSource struct {
	Source
	hook   string
	closes int
	err    error
}

func (s *examinedSource) Hooks() []string { return []string{s.hook} }

func (s *examinedSource) Programs() []bpf.Program {
	return []bpf.Program{{Name: s.hook, Instructions: 7}}
}

func (s *examinedSource) Close() error { s.closes++; return s.err }

func TestExamine_ReportsEveryProbe(t *testing.T) {
	k := &examined{
		root: "/sys/fs/cgroup", scope: &examinedScope{}, unsupported: []string{"tcp"},
		sources: map[string]*examinedSource{"flow": {hook: "inet_sock_set_state"},
			"dns": {hook: "cgroup_skb", err: errors.New("busy")}},
	}
	hooks := func(kind, hook string) session.ProbeReport {
		return session.ProbeReport{Kind: kind, Hooks: []string{hook},
			Programs: []session.ProgramReport{{Name: hook, Instructions: 7}}}
	}
	dns := hooks("dns", "cgroup_skb")
	dns.Error = "detach: busy"
	want := session.Report{Protocol: session.Protocol, Cgroup: "unified", Probes: []session.ProbeReport{
		{Kind: "scope"}, hooks("flow", "inet_sock_set_state"),
		{Kind: "tcp", Error: "kernel lacks wonders (needs Linux 9.9 or newer)", Unsupported: true}, dns,
	}}
	if diff := cmp.Diff(want, Examine(t.Context(), k)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// The GPU probe is not part of the kernel's report.
	if want := []string{"flow", "tcp", "dns"}; !slices.Equal(k.opened, want) {
		t.Errorf("opened %v, want %v", k.opened, want)
	}
	if k.scope.closes != 1 || k.sources["flow"].closes != 1 || k.sources["dns"].closes != 1 {
		t.Errorf("scope closed %d times, sources %d and %d times", k.scope.closes, k.sources["flow"].closes,
			k.sources["dns"].closes)
	}
}

func TestExamine_StopsWithoutScope(t *testing.T) {
	failure := errors.New("no permission")
	for name, test := range map[string]struct {
		kernel *examined
		want   session.Report
	}{
		"no cgroup v2": {&examined{rootError: failure}, session.Report{}},
		"scope fails on a hybrid node": {
			&examined{root: filepath.Join("/sys/fs/cgroup", "unified"), scopeError: failure},
			session.Report{Cgroup: "hybrid"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			test.want.Protocol = session.Protocol
			test.want.Probes = []session.ProbeReport{{Kind: "scope", Error: "no permission"}}
			if diff := cmp.Diff(test.want, Examine(t.Context(), test.kernel)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if len(test.kernel.opened) > 0 {
				t.Errorf("opened %v without a scope", test.kernel.opened)
			}
		})
	}
}

func TestExamine_ReportsScopeThatFailsToDetach(t *testing.T) {
	k := &examined{
		root: "/sys/fs/cgroup", scope: &examinedScope{err: errors.New("busy")},
		sources: map[string]*examinedSource{"flow": {}, "tcp": {}, "dns": {}},
	}
	if got := Examine(t.Context(), k).Probes[0]; got.Kind != scopeName || got.Error != "detach: busy" {
		t.Errorf("%+v", got)
	}
}
