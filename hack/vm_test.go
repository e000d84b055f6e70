// Package hack holds tests of the scripts for development.
package hack

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// limactl is a fake that keeps the state of one machine in a file, and appends its arguments to another.
const limactl = `#!/bin/sh
echo "$*" >>"$FAKE/calls"
case $1 in
list) cat "$FAKE/state" 2>/dev/null || true ;;
start) echo Running >"$FAKE/state" ;;
stop) echo Stopped >"$FAKE/state" ;;
delete) rm "$FAKE/state" ;;
esac
`

func TestVM_FollowsItsState(t *testing.T) {
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skip("needs sh")
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "limactl"), []byte(limactl), 0o755); err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct{ command, want string }{
		{"stop", ""},
		{"delete", ""},
		{"start", "start --tty=false --name orb8 --set .mounts = " +
			`[{"location": "` + root + `", "writable": true}] ` + root + "/hack/lima/orb8.yaml"},
		{"start", ""},
		{"run make images", "shell --workdir " + root + " orb8 sudo env HOME=/root make images"},
		{"stop", "stop orb8"},
		{"stop", ""},
		{"shell", "start --tty=false orb8|shell --workdir " + root + " orb8"},
		{"delete", "delete --force orb8"},
		{"delete", ""},
	} {
		calls := filepath.Join(dir, "calls")
		if err := os.WriteFile(calls, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("sh", append([]string{"vm.sh"}, strings.Fields(step.command)...)...)
		cmd.Env = append(os.Environ(), "FAKE="+dir, "PATH="+dir+string(os.PathListSeparator)+os.Getenv("PATH"))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", step.command, err, out)
		}
		raw, err := os.ReadFile(calls)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for call := range strings.Lines(string(raw)) {
			if !strings.HasPrefix(call, "list ") {
				got = append(got, strings.TrimSuffix(call, "\n"))
			}
		}
		if strings.Join(got, "|") != step.want {
			t.Errorf("%s: limactl %q, want %q", step.command, got, step.want)
		}
	}
}
