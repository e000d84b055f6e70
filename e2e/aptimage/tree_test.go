package aptimage

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// unpackedPackages makes directories of packages: files by their paths, of which those with "-> " are links.
func unpackedPackages(t *testing.T, packages ...map[string]string) (all tree) {
	t.Helper()
	for _, files := range packages {
		dir := t.TempDir()
		for name, text := range files {
			at := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
				t.Fatal(err)
			}
			var err error
			if target, ok := strings.CutPrefix(text, "-> "); ok {
				err = os.Symlink(target, at)
			} else {
				err = os.WriteFile(at, []byte(text), 0o644)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		all = append(all, dir)
	}
	return all
}

func TestFind_FollowsLinksBetweenPackages(t *testing.T) {
	packages := unpackedPackages(t,
		map[string]string{
			"usr/bin/server": "-> checker", "usr/bin/far": "-> /lib/far", "usr/share/a/one": "1",
			"usr/share/a/b/two": "2", "usr/bin/dangling": "-> nowhere", "usr/bin/loop": "-> loop",
		},
		map[string]string{"usr/bin/checker": "server", "usr/lib/far": "far"})
	for pattern, want := range map[string]map[string]string{
		"usr/bin/server": {"usr/bin/server": "server"},
		"bin/checker":    {"usr/bin/checker": "server"},
		"usr/bin/far":    {"usr/bin/far": "far"},
		"usr/share/*":    {"usr/share/a/one": "1", "usr/share/a/b/two": "2"},
	} {
		found, err := packages.find([]File{{From: pattern}})
		if err != nil || len(found) != len(want) {
			t.Errorf("%s: %v, %v", pattern, found, err)
		}
		for to, text := range want {
			if got, err := os.ReadFile(found[to]); err != nil || string(got) != text {
				t.Errorf("%s: %s is %q, %v; want %q", pattern, to, got, err, text)
			}
		}
	}
	for pattern, want := range map[string]string{
		"usr/bin/absent":   "none of the downloaded packages has it",
		"usr/bin/dangling": "none of the downloaded packages has usr/bin/nowhere",
		"usr/bin/loop":     "symbolic links",
		"[":                "syntax error in pattern",
	} {
		if _, err := packages.find([]File{{From: pattern}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", pattern, err, want)
		}
	}
}

// TestFind_AddsLibraries takes a program of this machine as that of a package.
func TestFind_AddsLibraries(t *testing.T) {
	const program = "/bin/cat"
	text, err := os.ReadFile(program)
	if err != nil {
		t.Skip(err)
	}
	needed, linker, err := dependencies(program)
	if err != nil || linker == "" {
		t.Skipf("%s is not dynamically linked: %v", program, err)
	}
	libraries := map[string]string{"lib/x86_64-linux-gnu/" + filepath.Base(linker): "linker"}
	for _, l := range needed {
		libraries["usr/lib/aarch64-linux-gnu/"+l] = "library"
	}
	bin := map[string]string{"usr/bin/cat": string(text)}
	found, err := unpackedPackages(t, bin, libraries).find([]File{{From: "bin/cat", To: "bin/cat"}})
	if err != nil || len(found) != 2+len(needed) || found["lib/"+needed[0]] == "" || found[linker[1:]] == "" {
		t.Errorf("%v, %v; want %v and %s", found, err, needed, linker)
	}
	if _, err := unpackedPackages(t, bin).find([]File{{From: "bin/cat"}}); err == nil ||
		!strings.Contains(err.Error(), "bin/cat needs ") {
		t.Errorf("without libraries: %v", err)
	}
}
