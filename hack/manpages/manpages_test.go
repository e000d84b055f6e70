package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	programversion "github.com/orb8-dev/kubectl-orb8/internal/version"
)

func TestPages_AreTheSameEachTime(t *testing.T) {
	first, second := t.TempDir(), t.TempDir()
	for _, dir := range []string{first, second} {
		if err := run(dir, "v1.2.3", "2026-11-30"); err != nil {
			t.Fatal(err)
		}
	}
	files, err := os.ReadDir(first)
	if err != nil || len(files) < 30 {
		t.Fatalf("%d pages, %v", len(files), err)
	}
	for _, f := range files {
		one, err := os.ReadFile(filepath.Join(first, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		two, err := os.ReadFile(filepath.Join(second, f.Name()))
		if err != nil || !bytes.Equal(one, two) {
			t.Errorf("%s differs, %v", f.Name(), err)
		}
		if bytes.Contains(one, []byte(escape(programversion.Version()))) {
			t.Errorf("%s has the version of this program", f.Name())
		}
	}
}

func TestPages_AreReadByMan(t *testing.T) {
	groff, err := exec.LookPath("groff")
	if err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	if err := run(dir, "v1.2.3", "2026-11-30"); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.1"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		cmd := exec.CommandContext(t.Context(), groff, "-man", "-Tutf8", "-ww", "-P-c", "-P-b", "-P-u", file)
		var warnings bytes.Buffer
		cmd.Stderr = &warnings
		out, err := cmd.Output()
		// A line that no word allows to break is no fault of the page.
		for line := range strings.Lines(warnings.String()) {
			if !strings.Contains(line, "adjust line") && !strings.Contains(line, "break line") {
				t.Errorf("%s: %s", filepath.Base(file), line)
			}
		}
		if err != nil {
			t.Errorf("%s: %v", filepath.Base(file), err)
		}
		if filepath.Base(file) == "kubectl-orb8-trace-network.1" {
			for _, want := range []string{"kubectl orb8 v1.2.3", "WHERE EVENTS COME FROM", "-n, --namespace NAME",
				"--filter 'retransmits > 0' -o json |", "orb8-tracer:v1.2.3"} {
				if !strings.Contains(string(out), want) {
					t.Errorf("no %q in %s", want, out)
				}
			}
		}
	}
}

func TestEscape_ShowsTextAsItIs(t *testing.T) {
	for text, want := range map[string]string{
		".SH x": `\&.SH x`, "'a": `\&\(aqa`, `a\nb`: `a\enb`, "--since": `\-\-since`, "^C": `\(haC`,
		"=…": `=\[u2026]`,
	} {
		if got := escape(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func TestRun_RefusesOtherDates(t *testing.T) {
	if err := run(t.TempDir(), "v1.2.3", "today"); err == nil {
		t.Error("no error")
	}
}
