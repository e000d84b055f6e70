package complete

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestScript_IsInstalledAndRemoved(t *testing.T) {
	dir := t.TempDir()
	name, content := Script()
	place := func(text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := RemoveScript(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("removed nothing: %v", err)
	}
	place("#!/bin/sh\n# Completions of kubectl orb8: kubectl 1.20 runs this\n")
	path, err := InstallScript(dir)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o755 {
		t.Errorf("%v, %v", info, err)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, content) {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := RemoveScript(dir); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%v left, %v", left, err)
	}
}

func TestScript_KeepsForeignFiles(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("links need a privilege")
	}
	dir := t.TempDir()
	name, content := Script()
	path := filepath.Join(dir, name)
	elsewhere := filepath.Join(dir, "elsewhere")
	if err := os.WriteFile(elsewhere, content, 0o755); err != nil {
		t.Fatal(err)
	}
	for what, place := range map[string]func() error{
		"another script": func() error { return os.WriteFile(path, []byte("#!/bin/sh\n"), 0o755) },
		"a directory":    func() error { return os.Mkdir(path, 0o755) },
		"a link":         func() error { return os.Symlink(elsewhere, path) },
	} {
		if err := place(); err != nil {
			t.Fatal(err)
		}
		before, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, change := range []func(string) (string, error){InstallScript, RemoveScript} {
			if _, err := change(dir); err == nil || !strings.Contains(err.Error(), path) {
				t.Errorf("%s: %v", what, err)
			}
		}
		if after, err := os.Lstat(path); err != nil || !os.SameFile(before, after) {
			t.Errorf("%s was replaced: %v", what, err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

func TestInstallScript_NamesDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "none")
	if _, err := InstallScript(dir); !errors.Is(err, fs.ErrNotExist) ||
		!strings.HasPrefix(err.Error(), "write "+dir+": ") || !strings.Contains(err.Error(), "--dir") {
		t.Error(err)
	}
}

func TestScripts_AreMarked(t *testing.T) {
	for name, script := range map[string][]byte{"Unix": unixScript, "Windows": windowsScript} {
		if !bytes.Contains(script, mark) || !bytes.Contains(script, []byte(" __complete ")) {
			t.Errorf("%s: %s", name, script)
		}
	}
	if !bytes.HasPrefix(unixScript, []byte("#!/bin/sh\n")) || bytes.Contains(unixScript, []byte("\r")) ||
		bytes.Count(windowsScript, []byte("\n")) != bytes.Count(windowsScript, []byte("\r\n")) {
		t.Errorf("ends of lines: %q, %q", unixScript, windowsScript)
	}
}

// TestWrite_CompletesTheProgram checks texts. PowerShell is not run by any test.
func TestWrite_CompletesTheProgram(t *testing.T) {
	for shell, want := range map[string][]string{
		"bash":       {"complete -o default -F __start_kubectl-orb8 kubectl-orb8\n"},
		"zsh":        {"compdef _kubectl-orb8 kubectl-orb8\n"},
		"fish":       {"complete -c kubectl-orb8 "},
		"powershell": {"Register-ArgumentCompleter -CommandName 'kubectl-orb8'", "$Program __complete $Arguments"},
	} {
		var out strings.Builder
		if err := Write(&out, shell); err != nil {
			t.Error(err)
		}
		for _, w := range want {
			if !strings.Contains(out.String(), w) {
				t.Errorf("%s: no %q", shell, w)
			}
		}
		if shell == "zsh" && !strings.HasPrefix(out.String(), "#compdef kubectl-orb8\n") {
			t.Error("zsh: the first line does not name the program")
		}
		if strings.Count(out.String(), "For kubectl orb8, see kubectl orb8 completion --help") != 1 {
			t.Errorf("%s: no hint", shell)
		}
	}
	if err := Write(&strings.Builder{}, "csh"); err == nil {
		t.Error("csh has a script")
	}
}
