package kernels

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/orb8-dev/kubectl-orb8/event/session"
)

// column is a kernel in a table, "6.1 amd64".
func (r *result) column() string { return r.kernel.Series + " " + r.kernel.Arch }

// columns are the names of kernels in tables.
func columns(results []*result) (names []string) {
	for _, r := range results {
		names = append(names, r.column())
	}
	return names
}

// costsOf collects what the verifier went through.
func costsOf(results []*result) Costs {
	costs := Costs{}
	for _, r := range results {
		for _, probe := range r.report.Probes {
			for _, p := range probe.Programs {
				costs.Add(probe.Kind+" "+p.Name, r.column(), p.Instructions)
			}
		}
	}
	return costs
}

// page is the first part of docs/KERNELS.md.
func page(results []*result) string {
	var b strings.Builder
	b.WriteString("# Kernels\n\n<!-- Written by `make test-kernels UPDATE=1` from what it saw; do not edit. -->\n\n" +
		"Each kernel is Debian's, in a virtual machine. `orb8-tracer doctor` loads and attaches every probe with a " +
		"tracer's\ncapabilities (BPF, PERFMON, NET_ADMIN; before Linux 5.11 SYS_RESOURCE, too; no SYS_ADMIN). The " +
		"probes' own tests make\nknown events and compare what is reported with them.\n\n")
	for _, r := range results {
		fmt.Fprintf(&b, "- %s: `%s`\n", r.column(), r.report.Kernel)
	}
	writeProbes(&b, results)
	writeSuites(&b, results)
	writeHooks(&b, results)
	return b.String()
}

// kinds are the probes that any kernel reports, in their order.
func kinds(results []*result) (all []string) {
	for _, r := range results {
		for _, p := range r.report.Probes {
			if !slices.Contains(all, p.Kind) {
				all = append(all, p.Kind)
			}
		}
	}
	return all
}

func writeHeader(b *strings.Builder, first string, results []*result) {
	names := columns(results)
	fmt.Fprintf(b, "| %s | %s |\n|---|%s\n", first, strings.Join(names, " | "), strings.Repeat("---|", len(names)))
}

// writeNotes lists what cells have no room for.
func writeNotes(b *strings.Builder, notes []string) {
	if len(notes) > 0 {
		b.WriteString("\n- " + strings.Join(notes, "\n- ") + "\n")
	}
}

func writeProbes(b *strings.Builder, results []*result) {
	b.WriteString("\n## Probes\n\n")
	writeHeader(b, "probe", results)
	var errors []string
	for _, kind := range kinds(results) {
		fmt.Fprintf(b, "| %s |", kind)
		for _, r := range results {
			cell := "no" // for the reason of a probe that it needs
			for _, p := range r.report.Probes {
				if p.Kind != kind {
					continue
				}
				if p.Error == "" {
					cell = "yes"
				} else {
					errors = append(errors, fmt.Sprintf("%s on %s: %s", kind, r.column(), p.Error))
				}
			}
			b.WriteString(" " + cell + " |")
		}
		b.WriteString("\n")
	}
	writeNotes(b, errors)
}

// writeSuites writes how many tests passed.
func writeSuites(b *strings.Builder, results []*result) {
	b.WriteString("\n## Tests that passed\n\n")
	writeHeader(b, "folder", results)
	var skipped []string
	for i := range results[len(results)-1].suites {
		fmt.Fprintf(b, "| bpf/%s |", results[len(results)-1].suites[i].name)
		for _, r := range results {
			if len(r.suites) <= i {
				b.WriteString(" not run |")
				continue
			}
			s := r.suites[i]
			fmt.Fprintf(b, " %d |", len(s.passed))
			for _, test := range s.skipped {
				skipped = append(skipped, fmt.Sprintf("skipped on %s: bpf/%s %s", r.column(), s.name, test))
			}
		}
		b.WriteString("\n")
	}
	writeNotes(b, skipped)
}

func writeHooks(b *strings.Builder, results []*result) {
	b.WriteString("\n## Hooks\n\nOf all these kernels together: before 5.15 some hooks replace others.\n\n")
	for _, kind := range kinds(results) {
		var hooks []string
		for _, r := range results {
			for _, p := range r.report.Probes {
				for _, h := range p.Hooks {
					if p.Kind == kind && !slices.Contains(hooks, "`"+h+"`") {
						hooks = append(hooks, "`"+h+"`")
					}
				}
			}
		}
		if len(hooks) > 0 {
			b.WriteString(item(kind+": "+strings.Join(hooks, ", ")) + "\n")
		}
	}
}

// item is an item of a list in lines of at most 120 columns, broken at spaces.
func item(text string) string {
	const columns = 120
	var b strings.Builder
	line := "-"
	for word := range strings.FieldsSeq(text) {
		if len(line)+1+len(word) > columns {
			b.WriteString(line + "\n")
			line = " "
		}
		line += " " + word
	}
	return b.String() + line
}

func TestPage(t *testing.T) {
	hooks := []string{"tp_btf/inet_sock_set_state", "iter/bpf_sk_storage_map", "cgroup_skb/egress",
		"cgroup_skb/ingress", "tp_btf/kfree_skb"}
	results := []*result{
		{
			kernel: Kernel{Series: "5.10", Arch: "amd64"},
			report: &session.Report{Kernel: "5.10.0-32", Probes: []session.ProbeReport{
				{Kind: "scope", Hooks: []string{"tp_btf/cgroup_mkdir"}},
				{Kind: "flow", Error: "needs Linux 5.15"},
			}},
			suites: []suite{{name: "flows", passed: []string{"TestA"}, skipped: []string{"TestB", "TestC"}}},
		},
		{
			kernel: Kernel{Series: "6.1", Arch: "arm64"},
			report: &session.Report{Kernel: "6.1.0-50", Probes: []session.ProbeReport{
				{Kind: "scope"}, {Kind: "flow", Hooks: hooks}, {Kind: "tcp", Hooks: hooks[:1]},
			}},
			suites: []suite{{name: "flows", passed: []string{"TestA", "TestB"}},
				{name: "tcp", passed: []string{"TestD"}}},
		},
	}
	_, got, _ := strings.Cut(page(results), "compare what is reported with them.\n\n")
	want := `- 5.10 amd64: ` + "`5.10.0-32`" + `
- 6.1 arm64: ` + "`6.1.0-50`" + `

## Probes

| probe | 5.10 amd64 | 6.1 arm64 |
|---|---|---|
| scope | yes | yes |
| flow | no | yes |
| tcp | no | yes |

- flow on 5.10 amd64: needs Linux 5.15

## Tests that passed

| folder | 5.10 amd64 | 6.1 arm64 |
|---|---|---|
| bpf/flows | 1 | 2 |
| bpf/tcp | not run | 1 |

- skipped on 5.10 amd64: bpf/flows TestB
- skipped on 5.10 amd64: bpf/flows TestC

## Hooks

Of all these kernels together: before 5.15 some hooks replace others.

- scope: ` + "`tp_btf/cgroup_mkdir`" + `
- flow: ` + "`tp_btf/inet_sock_set_state`, `iter/bpf_sk_storage_map`, `cgroup_skb/egress`, `cgroup_skb/ingress`," + `
  ` + "`tp_btf/kfree_skb`" + `
- tcp: ` + "`tp_btf/inet_sock_set_state`" + `
`
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}
