package seccomp

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// summary is the totals of a call by the container app of deploy/web.
func summary(name string, calls, errors uint64) *event.Event {
	return of("web-1", &event.Event{Kind: &event.Event_SyscallSummary{SyscallSummary: &event.SyscallSummary{
		Id: name, Name: name, Abi: "amd64", Calls: calls, Errors: errors}}})
}

func of(pod string, ev *event.Event) *event.Event {
	ev.Namespace, ev.Workload, ev.Pod, ev.Container = "shop", "deploy/web", pod, "app"
	return ev
}

// single is one call.
func single(comm, name, args, errno string) *event.Event {
	return of("web-1", &event.Event{Kind: &event.Event_Syscall{Syscall: &event.Syscall{
		Phase: event.SyscallPhase_SYSCALL_PHASE_RETURNED, Comm: []byte(comm), Name: name, Abi: "amd64", Args: args,
		Errno: errno}}})
}

func advise(t *testing.T, o Options, events ...*event.Event) *Advice {
	t.Helper()
	seen := NewObserved()
	for _, ev := range events {
		seen.Add(ev)
	}
	all := seen.Advise(o)
	if len(all) != 1 {
		t.Fatalf("%d containers, want 1", len(all))
	}
	return all[0]
}

// rules are the rules besides those of the base, as text.
func rules(t *testing.T, p *Profile) (added []string, special []string) {
	t.Helper()
	for i, r := range p.Syscalls {
		if i > 0 {
			text, err := json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			special = append(special, string(text))
			continue
		}
		for _, name := range r.Names {
			if !slices.Contains(base, name) {
				added = append(added, name)
			}
		}
	}
	return added, special
}

func TestAdvise(t *testing.T) {
	long := Options{Length: time.Hour}
	for name, test := range map[string]struct {
		options Options
		events  []*event.Event
		added   string
		special []string
		warns   []string
	}{
		"calls and base": {long, []*event.Event{summary("pivot_root", 1, 0), summary("bind", 3, 0),
			summary("read", 9, 1)}, "bind", nil, []string{"left out: pivot_root"}},
		"started before": {long, []*event.Event{summary("bind", 3, 0)}, "bind", nil,
			[]string{"started before the observation"}},
		"mounts of the program": {long, []*event.Event{summary("mount", 3, 0), summary("unshare", 1, 0)},
			"mount unshare", nil, []string{"started before"}},
		"mounts of the runtime": {long, []*event.Event{summary("pivot_root", 1, 0), summary("mount", 1, 0)}, "", nil,
			[]string{"left out: mount, pivot_root"}},
		"kubectl exec": {long, []*event.Event{summary("keyctl", 3, 0), summary("mount", 1, 0)}, "mount", nil,
			[]string{"started before", "left out: keyctl"}},
		"allowed by the user": {Options{Length: time.Hour, Allow: []string{"mount", "ptrace"}},
			[]*event.Event{summary("pivot_root", 1, 0), summary("mount", 1, 0)}, "mount ptrace", nil,
			[]string{"left out: pivot_root"}},
		"short": {Options{Length: 3 * time.Second}, []*event.Event{summary("pivot_root", 1, 0)}, "", nil,
			[]string{"observed for 3s only", "left out"}},
		"clone without arguments": {long, []*event.Event{summary("pivot_root", 1, 0), summary("clone", 1, 0)},
			"clone", nil, []string{"left out", "clone: allowed with any argument"}},
		"clone3 under a filter": {long, []*event.Event{summary("pivot_root", 1, 0), summary("clone3", 2, 2)}, "",
			[]string{`{"names":["clone3"],"action":"SCMP_ACT_ERRNO","errnoRet":38}`},
			[]string{"left out", "failed with ENOSYS each time, and will: clone3"}},
		"no name": {long, []*event.Event{summary("pivot_root", 1, 0), summary("syscall_700", 2, 2)}, "", nil,
			[]string{"left out", "syscall_700 (amd64)"}},
		"single calls": {long, []*event.Event{
			single("runc:[2:INIT]", "pivot_root", "", ""), single("runc:[2:INIT]", "mount", "", ""),
			single("app", "clone", "CLONE_VM|CLONE_THREAD|0x80, 0x1, 0x2", ""), single("app", "mount", "", "EPERM"),
			single("app", "socket", "AF_INET6, SOCK_STREAM, 0", ""),
			single("app", "socket", "AF_INET, SOCK_STREAM, 0", ""),
			single("app", "socket", "AF_INET, SOCK_DGRAM, 0", ""), single("app", "io_uring_setup", "", "ENOSYS")},
			"mount", []string{
				`{"names":["clone"],"action":"SCMP_ACT_ALLOW","args":[` +
					`{"index":0,"value":2114060288,"op":"SCMP_CMP_MASKED_EQ"}]}`,
				`{"names":["io_uring_setup"],"action":"SCMP_ACT_ERRNO","errnoRet":38}`,
				`{"names":["socket"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":2,"op":"SCMP_CMP_EQ"}]}`,
				`{"names":["socket"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":10,"op":"SCMP_CMP_EQ"}]}`,
			}, []string{"failed with ENOSYS each time, and will: io_uring_setup"}},
		"namespaces by clone": {long, []*event.Event{single("runc:[2:INIT]", "pivot_root", "", ""),
			single("app", "clone", "CLONE_NEWUSER|SIGCHLD, 0x0", "")}, "clone", nil, nil},
		"a family in words that nobody knows": {long, []*event.Event{single("runc:[2:INIT]", "pivot_root", "", ""),
			single("app", "socket", "?", "")}, "socket", nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			a := advise(t, test.options, test.events...)
			added, special := rules(t, a.Profile)
			if strings.Join(added, " ") != test.added || !slices.Equal(special, test.special) {
				t.Errorf("allows %q and %q, want %q and %q", added, special, test.added, test.special)
			}
			if len(a.Warnings) != len(test.warns) {
				t.Fatalf("warnings %q, want %q", a.Warnings, test.warns)
			}
			for i, want := range test.warns {
				if !strings.Contains(a.Warnings[i], want) {
					t.Errorf("warning %q, want %q", a.Warnings[i], want)
				}
			}
		})
	}
}

// TestAdvise_CountsOnce sums totals of pods, and takes those of one series once.
func TestAdvise_CountsOnce(t *testing.T) {
	other := of("web-2", summary("bind", 5, 2))
	other.GetSyscallSummary().Id = "other"
	other.Pod = "web-2"
	a := advise(t, Options{}, summary("bind", 3, 0), summary("bind", 4, 1), other)
	if want := "container app of deploy/web in shop: 9 calls of 1 name by 2 pods"; !strings.HasPrefix(a.Evidence[0],
		want) {
		t.Errorf("%q, want %q", a.Evidence[0], want)
	}
	if a.File != "orb8/shop_deploy-web_app.json" {
		t.Error(a.File)
	}
}

func TestAdvise_Architectures(t *testing.T) {
	for abi, want := range map[string]string{
		"amd64": "[SCMP_ARCH_X86_64 SCMP_ARCH_X86 SCMP_ARCH_X32]",
		"386":   "[SCMP_ARCH_X86_64 SCMP_ARCH_X86 SCMP_ARCH_X32]",
		"arm64": "[SCMP_ARCH_AARCH64 SCMP_ARCH_ARM]",
	} {
		ev := summary("read", 1, 0)
		ev.GetSyscallSummary().Abi = abi
		if got := fmt.Sprint(advise(t, Options{}, ev).Profile.Architectures); got != want {
			t.Errorf("%s: %s, want %s", abi, got, want)
		}
	}
}

// TestAdd_RefusesNames takes no event whose names could leave the directory of the profiles.
func TestAdd_RefusesNames(t *testing.T) {
	o := NewObserved()
	for _, name := range []string{"", "..", "../x", "a/b", "A", "x\n", ".x", strings.Repeat("x", 300)} {
		ev := summary("read", 1, 0)
		ev.Container = name
		o.Add(ev)
		ev = summary("read", 1, 0)
		ev.Workload = "deploy/" + name
		o.Add(ev)
	}
	if n := len(o.Advise(Options{})); n != 0 || o.Refused() != 16 {
		t.Errorf("%d containers, %d refused", n, o.Refused())
	}
}

func TestBase_HasNames(t *testing.T) {
	for _, name := range base {
		if !named(call{name, "amd64"}) || !named(call{name, "arm64"}) {
			t.Errorf("%s is no call", name)
		}
	}
	for name := range setup {
		if !named(call{name, "amd64"}) || slices.Contains(base, name) {
			t.Errorf("%s is no call, or in the base", name)
		}
	}
}
