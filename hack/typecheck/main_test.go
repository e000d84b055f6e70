package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCheck_FindsErrorsOfASystem(t *testing.T) {
	dir := t.TempDir()
	const signal = "package main\n\nimport \"syscall\"\n\nfunc code() int { return int(syscall.SIGINFO) }\n"
	for name, text := range map[string]string{
		"go.mod":         "module example.org/x\n\ngo 1.26\n",
		"main.go":        "package main\n\nimport \"os\"\n\nfunc main() { os.Exit(code()) }\n",
		"code_darwin.go": signal,
		// Windows has no such signal.
		"code_windows.go": signal,
		"code_plan9.go": "package main\n\nimport \"example.org/missing\"\n\n" +
			"func code() int { return missing.Code }\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	t.Setenv("GOFLAGS", "-mod=mod")
	t.Setenv("GOPROXY", "off")
	for system, want := range map[string]string{
		"darwin/arm64":  "",
		"windows/amd64": "undefined: syscall.SIGINFO",
		"linux/amd64":   "undefined: code",
		"plan9/amd64":   "example.org/missing",
	} {
		t.Run(strings.ReplaceAll(system, "/", "-"), func(t *testing.T) {
			errs, err := check(system, ".")
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, e := range errs {
				got = append(got, e.Msg)
			}
			if all := strings.Join(got, "\n"); (want == "") != (all == "") || !strings.Contains(all, want) {
				t.Errorf("got %q, want %q", all, want)
			}
		})
	}
	for _, bad := range []string{"", "linux", "/amd64"} {
		if _, err := check(bad, "."); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}
