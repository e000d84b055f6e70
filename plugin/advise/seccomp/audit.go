package seccomp

import (
	"errors"
	"maps"
	"slices"

	"github.com/orb8-dev/kubectl-orb8/event/calls"
	"github.com/orb8-dev/kubectl-orb8/plugin/advise/manifest"
)

// Audit compares a profile with the calls of one container.
type Audit struct {
	Owner     manifest.Owner
	Container string
	// Refused are observed calls that the profile refuses. Depends are those that it allows with some arguments only.
	Refused, Depends []AuditedCall
	// Unused are calls that the profile allows, and that neither the container nor its runtime was seen to make.
	Unused []string
	// AllowsRest: the profile allows every call that it does not name.
	AllowsRest bool
	// Runtime are calls that a runtime needs to start a container, and that the profile refuses.
	Runtime []string
	// Left are calls that were observed, and that the runtime makes before it loads the profile.
	Left []string
}

// AuditedCall is a call with what the profile does with it.
type AuditedCall struct {
	Name          string
	ABI           string
	Calls, Errors uint64
	Action        Action
}

// Audit compares a profile with each observed container.
func (o *Observed) Audit(p *Profile) (all []*Audit) {
	for _, c := range o.sorted() {
		if len(c.calls)+len(c.unnamed) > 0 {
			all = append(all, c.audit(p))
		}
	}
	return all
}

func (c *container) audit(p *Profile) *Audit {
	a := &Audit{Owner: c.owner, Container: c.name, AllowsRest: actions[p.DefaultAction]}
	used := map[string]struct{}{}
	left := map[string]struct{}{}
	for _, of := range slices.SortedFunc(maps.Keys(c.calls), compareCalls) {
		n := c.calls[of]
		if n.calls == 0 {
			continue
		}
		used[of.name] = struct{}{}
		action, depends := p.verdict(of)
		found := AuditedCall{Name: of.name, ABI: of.abi, Calls: n.calls, Errors: n.errors, Action: action}
		switch {
		case depends:
			a.Depends = append(a.Depends, found)
		case actions[action]:
		case c.fromRuntime(of.name):
			left[of.name] = struct{}{}
		default:
			a.Refused = append(a.Refused, found)
		}
	}
	a.Left = slices.Sorted(maps.Keys(left))
	for _, name := range base {
		if action, depends := p.verdict(call{name: name}); !depends && !actions[action] {
			a.Runtime = append(a.Runtime, name)
		}
		used[name] = struct{}{}
	}
	possible := c.possible()
	for _, name := range p.allowed() {
		if _, was := used[name]; !was && possible(name) {
			a.Unused = append(a.Unused, name)
		}
	}
	return a
}

// possible returns whether a call exists for the instruction sets of the container's calls.
func (c *container) possible() func(name string) bool {
	var abis []calls.ABI
	for _, name := range c.abis() {
		if abi, known := calls.Parse(name); known {
			abis = append(abis, abi)
		}
	}
	return func(name string) bool {
		return slices.ContainsFunc(abis, func(abi calls.ABI) bool { return abi.Has(name) })
	}
}

// verdict is what a profile does with a call. depends: it depends on the arguments. The instruction set of the call may
// be empty, for any.
func (p *Profile) verdict(of call) (action Action, depends bool) {
	if arch := architectureOf[of.abi]; arch != "" && len(p.Architectures) > 0 &&
		!slices.Contains(p.Architectures, arch) {
		return "SCMP_ACT_KILL", false
	}
	action = p.DefaultAction
	var conditional bool
	for _, r := range p.Syscalls {
		switch {
		case !slices.Contains(r.Names, of.name):
		case len(r.Args) == 0:
			return r.Action, false
		case actions[r.Action] != actions[p.DefaultAction]:
			conditional = true
		}
	}
	return action, conditional
}

// allowed are the names that a profile allows, with any or with some arguments, sorted.
func (p *Profile) allowed() []string {
	names := map[string]struct{}{}
	for _, r := range p.Syscalls {
		if actions[r.Action] {
			for _, name := range r.Names {
				names[name] = struct{}{}
			}
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// UnknownNames are names of a profile that neither amd64 nor arm64 have, nor their 32-bit programs, sorted. A runtime
// passes over names that it does not know.
func (p *Profile) UnknownNames() []string {
	all := calls.Names()
	unknown := map[string]struct{}{}
	for _, r := range p.Syscalls {
		for _, name := range r.Names {
			if _, known := slices.BinarySearch(all, name); !known {
				unknown[name] = struct{}{}
			}
		}
	}
	return slices.Sorted(maps.Keys(unknown))
}

// Suggest is the known call that is most like an unknown name; empty: none is.
func Suggest(name string) string {
	var unknown *calls.UnknownError
	if _, err := calls.Expand([]string{name}); errors.As(err, &unknown) {
		return unknown.Nearest
	}
	return ""
}
