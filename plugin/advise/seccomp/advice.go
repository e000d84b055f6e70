package seccomp

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event/safe"
	"github.com/orb8-dev/kubectl-orb8/internal/plural"
	"github.com/orb8-dev/kubectl-orb8/plugin/advise/manifest"
)

// ShortObservation is the length below which an observation is reported as short.
const ShortObservation = 5 * time.Minute

// Advice is the profile of one container of a workload.
type Advice struct {
	Owner     manifest.Owner
	Container string
	// File is the path of the profile below the kubelet's directory of profiles: localhostProfile.
	File    string
	Profile *Profile
	// Evidence lists what the profile is made of, Warnings why it may refuse or allow too much. Neither is made safe
	// for a terminal.
	Evidence, Warnings []string
}

// Options change the advice.
type Options struct {
	// Length is how long was observed.
	Length time.Duration
	// Allow are calls to allow besides the observed ones.
	Allow []string
}

// Advise returns a profile for each observed container, sorted by name.
func (o *Observed) Advise(options Options) (all []*Advice) {
	for _, c := range o.sorted() {
		if len(c.calls) > 0 {
			all = append(all, c.advise(options))
		}
	}
	return all
}

// Refused is how many events had no usable name.
func (o *Observed) Refused() int { return o.refused }

// directory is where the profiles of advice lie below the kubelet's directory of profiles.
const directory = "orb8"

func (c *container) file() string {
	parts := []string{c.owner.Namespace, strings.ReplaceAll(c.owner.Name(), "/", "-"), c.name}
	return directory + "/" + strings.Join(parts, "_") + ".json"
}

func (c *container) advise(o Options) *Advice {
	a := &Advice{Owner: c.owner, Container: c.name, File: c.file(), Profile: &Profile{DefaultAction: actionErrno}}
	allowed := map[string]struct{}{}
	for _, name := range slices.Concat(base, o.Allow) {
		allowed[name] = struct{}{}
	}
	var special []Rule
	var left []string
	seen := c.byName()
	for _, name := range slices.Sorted(maps.Keys(seen)) {
		n := seen[name]
		_, wanted := allowed[name]
		switch rules := n.args.rules(name); {
		case wanted:
		case c.fromRuntime(name):
			left = append(left, name)
		case absent(name, n):
			special = append(special, Rule{Names: []string{name}, Action: actionErrno, ErrnoRet: ptr(enosys)})
		case rules != nil:
			special = append(special, rules...)
		default:
			allowed[name] = struct{}{}
		}
	}
	for _, arch := range architectures {
		if slices.ContainsFunc(c.abis(), func(abi string) bool { return slices.Contains(arch.of, abi) }) {
			a.Profile.Architectures = append(a.Profile.Architectures, arch.names...)
		}
	}
	a.Profile.Syscalls = append([]Rule{{Names: slices.Sorted(maps.Keys(allowed)), Action: actionAllow}}, special...)
	c.explain(a, o, seen, left)
	return a
}

// enosys is the errno of a call that the kernel does not have (asm-generic/errno.h).
const enosys uint = 38

func ptr[T any](v T) *T { return &v }

// absent reports whether a call was never there for the container: the kernel, or the filter of the runtime, answered
// all of them with ENOSYS, so that its libraries use another one. The profile answers the same. EPERM instead ends
// programs: glibc makes threads by clone only if clone3 fails with ENOSYS. Counts do not hold the error, and there only
// clone3 is taken for absent, which the runtimes' default profiles answer so.
func absent(name string, n *count) bool {
	return n.noSuchCall > 0 && n.noSuchCall == n.calls ||
		name == "clone3" && n.noSuchCall == 0 && n.calls > 0 && n.errors == n.calls
}

// byName sums the counts of all instruction sets.
func (c *container) byName() map[string]*count {
	sums := map[string]*count{}
	for of, n := range c.calls {
		sum := sums[of.name]
		if sum == nil {
			sum = &count{}
			sums[of.name] = sum
		}
		sum.calls += n.calls
		sum.errors += n.errors
		sum.noSuchCall += n.noSuchCall
		sum.args.merge(n.args)
	}
	return sums
}

// Patch is the strategic merge patch that makes the kubelet load the profile. init: it is an init container.
func (a *Advice) Patch(init bool) map[string]any {
	return a.Owner.Patch(manifest.Container{Name: a.Container, Init: init, Fields: map[string]any{
		"securityContext": map[string]any{"seccompProfile": map[string]any{
			"type": "Localhost", "localhostProfile": a.File,
		}},
	}})
}

// explain adds evidence and warnings.
func (c *container) explain(a *Advice, o Options, seen map[string]*count, left []string) {
	var made uint64
	for _, n := range seen {
		made += n.calls
	}
	a.Evidence = append(a.Evidence, fmt.Sprintf("container %s of %s: %s of %s by %s, observed for %s", c.name, c.owner,
		plural.Count(made, "call"), plural.Count(len(seen), "name"), plural.Count(len(c.pods), "pod"),
		o.Length.Round(time.Second)))
	if c.ofRuntime > 0 {
		a.Evidence = append(a.Evidence, plural.Count(c.ofRuntime, "call")+" of the container runtime left out")
	}
	a.warn(!c.started, "the container started before the observation: the calls of its start were not seen, and it "+
		"may not start with this profile. Restart its pods while you observe")
	a.warn(o.Length < ShortObservation, fmt.Sprintf("observed for %s only: calls of rare work were not seen "+
		"(shutdown, rotation of logs, errors). Observe for longer, or apply the profile with SCMP_ACT_LOG as its "+
		"defaultAction first", o.Length.Round(time.Second)))
	a.warn(len(left) > 0, "left out: "+strings.Join(left, ", ")+": the runtime makes these calls before it loads the "+
		"profile, when it starts a container or joins one (kubectl exec, probes), and counts of calls do not show "+
		"who made them. If the program makes them: --allow "+strings.Join(left, ","))
	a.warn(c.summaries, c.withoutArguments(seen))
	a.warn(len(c.unnamed) > 0, "calls without a name cannot be in a profile, and will be refused: "+c.unnamedList())
	var missing, failing []string
	for _, name := range slices.Sorted(maps.Keys(seen)) {
		n := seen[name]
		switch {
		case absent(name, n):
			missing = append(missing, name)
		case n.calls > 0 && n.errors == n.calls && !setup[name]:
			failing = append(failing, name)
		}
	}
	a.warn(len(missing) > 0, "failed with ENOSYS each time, and will: "+strings.Join(missing, ", "))
	if len(failing) > 0 {
		a.Evidence = append(a.Evidence, "allowed, but failed each time: "+strings.Join(failing, ", "))
	}
}

// withoutArguments is the warning about calls that are allowed with any argument; empty: there is none.
func (c *container) withoutArguments(seen map[string]*count) string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(seen)) {
		if filtered[name] != nil && seen[name].args.unknown {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return strings.Join(names, ", ") + ": allowed with any argument, since counts of calls have none. A recording of " +
		"single calls has them: trace syscalls --record FILE"
}

func (c *container) unnamedList() string {
	var list []string
	for _, of := range slices.SortedFunc(maps.Keys(c.unnamed), compareCalls) {
		list = append(list, safe.Text(of.name)+" ("+safe.Text(of.abi)+")")
	}
	return strings.Join(list, ", ")
}

func (a *Advice) warn(when bool, text string) {
	if when && text != "" {
		a.Warnings = append(a.Warnings, text)
	}
}
