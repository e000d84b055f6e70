package plugin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/orb8-dev/kubectl-orb8/event/safe"
	"github.com/orb8-dev/kubectl-orb8/internal/plural"
	"github.com/orb8-dev/kubectl-orb8/plugin/advise/manifest"
	"github.com/orb8-dev/kubectl-orb8/plugin/advise/seccomp"
)

// profileDirectory is where the kubelet looks for profiles, unless its --root-dir is another one.
const profileDirectory = "/var/lib/kubelet/seccomp/"

// seccompPrinter prints or writes profiles.
type seccompPrinter struct {
	streams genericiooptions.IOStreams
	specs   containerSpecs
	// patch: print patches only.
	patch bool
}

// profileJSON is a profile as its file holds it.
func profileJSON(p *seccomp.Profile) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	err := e.Encode(p)
	return b.Bytes(), err
}

// printYAML prints two documents for each container, the profile and the patch. JSON is YAML.
func (p *seccompPrinter) printYAML(all []*seccomp.Advice) error {
	var out bytes.Buffer
	for _, a := range all {
		if !p.patch {
			profile, err := profileJSON(a.Profile)
			if err != nil {
				return err
			}
			out.WriteString("---\n")
			out.Write(manifest.Comments(append([]string{profileDirectory + a.File + " on each node"}, a.Evidence...)))
			out.Write(profile)
		}
		patch, err := p.patchOf(a)
		if err != nil {
			return err
		}
		out.Write(patch)
	}
	_, err := p.streams.Out.Write(out.Bytes())
	return err
}

// patchOf is the patch of a workload as a YAML document.
func (p *seccompPrinter) patchOf(a *seccomp.Advice) ([]byte, error) {
	return manifest.Document([]string{
		fmt.Sprintf("container %s of %s: loads the profile, which must be on the node before", a.Container, a.Owner),
		a.Owner.Usage("FILE"),
	}, a.Patch(p.specs.isInit(a.Owner, a.Container)))
}

// seccompObject is a profile with all that is known about it, for programs.
type seccompObject struct {
	Namespace        string           `json:"namespace"`
	Workload         string           `json:"workload"`
	Container        string           `json:"container"`
	LocalhostProfile string           `json:"localhostProfile"`
	ObservedSeconds  float64          `json:"observedSeconds"`
	Profile          *seccomp.Profile `json:"profile"`
	Patch            map[string]any   `json:"patch"`
	Evidence         []string         `json:"evidence"`
	Warnings         []string         `json:"warnings"`
}

// printJSON prints an object for each container, a line each.
func (p *seccompPrinter) printJSON(all []*seccomp.Advice, seen *observation) error {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	for _, a := range all {
		err := e.Encode(seccompObject{
			Namespace: a.Owner.Namespace, Workload: a.Owner.Name(), Container: a.Container, LocalhostProfile: a.File,
			ObservedSeconds: seen.length().Seconds(), Profile: a.Profile,
			Patch:    a.Patch(p.specs.isInit(a.Owner, a.Container)),
			Evidence: a.Evidence, Warnings: append(incompleteWarnings(seen), a.Warnings...),
		})
		if err != nil {
			return err
		}
	}
	_, err := p.streams.Out.Write(out.Bytes())
	return err
}

// incompleteWarnings are the warnings about an observation, safe for a terminal. The list is never null.
func incompleteWarnings(seen *observation) []string {
	warnings := make([]string, 0, len(seen.incomplete))
	for _, why := range seen.incomplete {
		warnings = append(warnings, "the observation is incomplete: "+safe.Text(why))
	}
	return warnings
}

// write writes a file for each profile and each patch, and prints their names.
func (p *seccompPrinter) write(dir string, force bool, all []*seccomp.Advice) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("--dir: %w", err)
	}
	for _, a := range all {
		profile, err := profileJSON(a.Profile)
		if err != nil {
			return err
		}
		patch, err := p.patchOf(a)
		if err != nil {
			return err
		}
		name := path.Base(a.File)
		file := filepath.Join(dir, name)
		if err := writeNew(file, profile, force); err != nil {
			return err
		}
		patchFile := filepath.Join(dir, strings.TrimSuffix(name, ".json")+".patch.yaml")
		if err := writeNew(patchFile, patch, force); err != nil {
			return err
		}
		fmt.Fprintf(p.streams.Out, "%s  copy it to %s%s on each node\n%s  %s\n", file, profileDirectory, a.File,
			patchFile, a.Owner.Usage(patchFile))
	}
	return nil
}

// writeNew writes a file that must not exist, unless force is set.
func writeNew(file string, data []byte, force bool) error {
	flags := os.O_WRONLY | os.O_CREATE | os.O_EXCL
	if force {
		flags = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	}
	f, err := os.OpenFile(file, flags, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists: replace it with --force, or name another --dir", file)
	}
	if err != nil {
		return fmt.Errorf("--dir: %w", err)
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err != nil {
		_ = os.Remove(file) // half a profile is none; the first error is the one that matters
		return fmt.Errorf("--dir: %w", err)
	}
	return nil
}

// auditObject is the result of an audit, for programs.
type auditObject struct {
	Namespace      string      `json:"namespace"`
	Workload       string      `json:"workload"`
	Container      string      `json:"container"`
	Refused        []auditCall `json:"refused"`
	Depends        []auditCall `json:"dependsOnArguments"`
	RuntimeRefused []string    `json:"runtimeRefused"`
	OfRuntime      []string    `json:"madeByRuntimeBeforeProfile"`
	Unused         []string    `json:"allowedNotSeen"`
	AllowsRest     bool        `json:"allowsUnnamedCalls"`
}

type auditCall struct {
	Name   string `json:"name"`
	ABI    string `json:"abi"`
	Calls  uint64 `json:"calls"`
	Errors uint64 `json:"errors"`
	Action string `json:"action"`
}

func auditCalls(calls []seccomp.AuditedCall) []auditCall {
	all := make([]auditCall, 0, len(calls))
	for _, c := range calls {
		all = append(all, auditCall{c.Name, c.ABI, c.Calls, c.Errors, string(c.Action)})
	}
	return all
}

// printAudit prints what a profile does with the observed calls.
func (c *adviseSeccomp) printAudit(observed *seccomp.Observed, r *reporter) error {
	for _, name := range c.audit.UnknownNames() {
		hint := ""
		if near := seccomp.Suggest(name); near != "" {
			hint = fmt.Sprintf(", did you mean %q?", near)
		}
		r.Logf("note: %s names the call %q, which amd64 and arm64 do not have%s", c.options.profile, safe.Text(name),
			hint)
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	for _, a := range observed.Audit(c.audit) {
		if c.options.output != "json" {
			appendAudit(&out, c.options.profile, a)
			continue
		}
		err := e.Encode(auditObject{
			Namespace: a.Owner.Namespace, Workload: a.Owner.Name(), Container: a.Container,
			Refused: auditCalls(a.Refused), Depends: auditCalls(a.Depends), RuntimeRefused: orEmpty(a.Runtime),
			OfRuntime: orEmpty(a.Left), Unused: orEmpty(a.Unused), AllowsRest: a.AllowsRest,
		})
		if err != nil {
			return err
		}
	}
	_, err := c.streams.Out.Write(out.Bytes())
	return err
}

func orEmpty(list []string) []string { return append([]string{}, list...) }

// appendAudit appends the result of an audit as text.
func appendAudit(out *bytes.Buffer, profile string, a *seccomp.Audit) {
	fmt.Fprintf(out, "container %s of %s, by %s:\n", a.Container, a.Owner, safe.Text(profile))
	if len(a.Refused)+len(a.Depends)+len(a.Runtime) == 0 {
		fmt.Fprintln(out, "  refuses nothing that was seen")
	}
	for _, c := range a.Refused {
		fmt.Fprintf(out, "  refused, but seen: %s (%s), %s, %s failed: %s\n", c.Name, c.ABI,
			plural.Count(c.Calls, "call"), fmt.Sprint(c.Errors), c.Action)
	}
	var depends []string
	for _, c := range a.Depends {
		depends = append(depends, c.Name)
	}
	for _, list := range []struct {
		what  string
		names []string
	}{
		{"allowed with some arguments only", depends},
		{"refused, but a container runtime needs it to start the container", a.Runtime},
		{"refused, but made by the runtime before it loads a profile", a.Left},
		{fmt.Sprintf("allowed, but not seen (%d)", len(a.Unused)), a.Unused},
	} {
		appendNames(out, list.what, list.names)
	}
	if a.AllowsRest {
		fmt.Fprintln(out, "  allows every call that it does not name")
	}
}

// nameColumns is the width of lists of names.
const nameColumns = 100

// appendNames appends a list of names in lines that fit.
func appendNames(out *bytes.Buffer, what string, names []string) {
	if len(names) == 0 {
		return
	}
	line := "  " + what + ":"
	for i, name := range names {
		if i < len(names)-1 {
			name += ","
		}
		name = safe.Text(name)
		if len(line)+1+len(name) > nameColumns {
			fmt.Fprintln(out, line)
			line = "   "
		}
		line += " " + name
	}
	fmt.Fprintln(out, line)
}
