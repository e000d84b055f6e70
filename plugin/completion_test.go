package plugin

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/orb8-dev/kubectl-orb8/plugin/complete"
)

func TestCompletion_InstallsBesideTheLink(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("krew makes links elsewhere")
	}
	store, links := t.TempDir(), t.TempDir()
	program := filepath.Join(store, "kubectl-orb8")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(program, filepath.Join(links, "kubectl-orb8")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", links)
	name, _ := complete.Script()
	path := filepath.Join(links, name)
	for _, step := range []struct{ command, out, errOut string }{
		{"completion install", path + " written\n", ""},
		{"completion install", path + " written\n", ""},
		{"completion uninstall", path + " removed\n", ""},
		{"completion uninstall", "", "nothing to remove: there is no " + path + "\n"},
		{"completion install --dir " + store, filepath.Join(store, name) + " written\n",
			"note: " + store + " is not in PATH: kubectl does not find the file\n"},
	} {
		code, out, errOut := run(t, strings.Fields(step.command)...)
		if code != ExitOK || out != step.out || errOut != step.errOut {
			t.Errorf("%s: exit code %d, stdout %q, stderr %q", step.command, code, out, errOut)
		}
	}
	t.Setenv("PATH", store+"/none")
	if code, _, errOut := run(t, "completion", "install"); code != ExitUsage ||
		errOut != "error: no kubectl-orb8 in PATH: name a directory in PATH by --dir\n" {
		t.Errorf("not in PATH: exit code %d, stderr %q", code, errOut)
	}
}

func TestCompletion_PrintsScripts(t *testing.T) {
	for _, shell := range complete.Shells() {
		if code, out, errOut := run(t, "completion", shell); code != ExitOK || errOut != "" ||
			!strings.Contains(out, "kubectl-orb8") {
			t.Errorf("%s: exit code %d, stdout %.40q, stderr %q", shell, code, out, errOut)
		}
	}
	if code, _, errOut := run(t, "completion", "fihs"); code != ExitUsage || !strings.Contains(errOut, `"fish"?`) {
		t.Errorf("exit code %d, stderr %q", code, errOut)
	}
}
