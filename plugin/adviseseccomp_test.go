package plugin

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// adviseOf runs a command of advise without a cluster.
func adviseOf(t *testing.T, args ...string) (code int, out, errOut string) {
	t.Helper()
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	var stdout, stderr bytes.Buffer
	root := newRoot(genericiooptions.IOStreams{In: strings.NewReader(""), Out: &stdout, ErrOut: &stderr})
	root.SetArgs(append([]string{"advise"}, args...))
	code, message := execute(context.Background(), root)
	return code, stdout.String(), stderr.String() + message
}

// callEvents are counts of calls by a container that started while it was observed.
func callEvents(names ...string) (events []*event.Event) {
	for i, name := range append([]string{"pivot_root"}, names...) {
		events = append(events, &event.Event{
			Time: uint64(began.UnixNano()) + uint64(i)*1e9, Node: "node-1", Namespace: "shop", Pod: "web-1",
			Workload: "deploy/web", Container: "app",
			Kind: &event.Event_SyscallSummary{SyscallSummary: &event.SyscallSummary{Id: name, Name: name, Abi: "amd64",
				Calls: 3}},
		})
	}
	return events
}

func TestAdviseSeccomp(t *testing.T) {
	file := recordAll(t, "shop", began, []string{"syscallSummary"}, callEvents("bind", "listen"))
	dir := t.TempDir()
	profile := filepath.Join(dir, "profile.json")
	write := func(text string) {
		if err := os.WriteFile(profile, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(`{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["bind","acct","opne"],"action":"SCMP_ACT_ALLOW"}]}`)
	for name, test := range map[string]struct {
		args      []string
		code      int
		out, errs string
	}{
		"documents": {[]string{"--from", file}, 0, `seccomp/orb8/shop_deploy-web_app.json on each node`,
			"warning: deploy/web in shop, container app: observed for 2s only"},
		"patch": {[]string{"--from", file, "--patch"}, 0, "localhostProfile: orb8/shop_deploy-web_app.json\n",
			"left out: pivot_root"},
		"JSON":            {[]string{"--from", file, "-o", "json"}, 0, `"workload":"deploy/web","container":"app"`, ""},
		"allowed as well": {[]string{"--from", file, "--allow", "ptrace", "-o", "json"}, 0, `"ptrace"`, ""},
		"audit": {[]string{"--from", file, "--audit", "--profile", profile}, 0,
			"refused, but seen: listen (amd64), 3 calls", `names the call "opne"`},
		"another workload":  {[]string{"deploy/api", "--from", file}, 1, "", "holds events of deploy/web in shop"},
		"no calls recorded": {[]string{"--from", recording(t, "dns")}, 1, "", "needs syscallSummary or syscall events"},
		"no such call":      {[]string{"--from", file, "--allow", "opne"}, 2, "", `unknown system call "opne"`},
		"no such file": {[]string{"--from", file, "--audit", "--profile", "/nowhere"}, 1, "",
			"--profile: open /nowhere"},
		"audit and patch":   {[]string{"--audit", "--profile", profile, "--patch"}, 2, "", "does not go with --patch"},
		"no profile":        {[]string{"--from", file, "--audit"}, 2, "", "--audit needs --profile FILE"},
		"profile alone":     {[]string{"--profile", profile}, 2, "", "--profile goes with --audit"},
		"force without dir": {[]string{"--from", file, "--force"}, 2, "", "--force goes with --dir"},
		"no such format":    {[]string{"--from", file, "-o", "xml"}, 2, "", `--output "xml": want json`},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, errs := adviseOf(t, append([]string{"seccomp"}, test.args...)...)
			if code != test.code || !strings.Contains(out, test.out) || !strings.Contains(errs, test.errs) {
				t.Errorf("exit code %d, %s\n%s\nwant %d, %q, %q", code, out, errs, test.code, test.out, test.errs)
			}
		})
	}
	write(`{"defaultAction":"SCMP_ACT_ERRNO",` + "\n" + `"syscalls":[}`)
	if code, _, errs := adviseOf(t, "seccomp", "--from", file, "--audit", "--profile", profile); code != 1 ||
		!strings.Contains(errs, "profile.json: line 2, column 13") {
		t.Errorf("exit code %d: %s", code, errs)
	}
}

// TestAdviseSeccomp_WritesFiles writes profiles that encoding/json reads, and replaces them with --force only.
func TestAdviseSeccomp_WritesFiles(t *testing.T) {
	file := recordAll(t, "shop", began, []string{"syscallSummary"}, callEvents("bind"))
	dir := filepath.Join(t.TempDir(), "new")
	if code, out, errs := adviseOf(t, "seccomp", "--from", file, "--dir", dir); code != 0 ||
		!strings.Contains(out, "kubectl patch deploy/web -n shop --patch-file "+dir) {
		t.Fatalf("exit code %d, %s\n%s", code, out, errs)
	}
	data, err := os.ReadFile(filepath.Join(dir, "shop_deploy-web_app.json"))
	var profile struct{ Architectures []string }
	if err != nil || json.Unmarshal(data, &profile) != nil || len(profile.Architectures) != 3 {
		t.Errorf("%v: %s", err, data)
	}
	if code, _, errs := adviseOf(t, "seccomp", "--from", file, "--dir", dir); code != 1 ||
		!strings.Contains(errs, "exists: replace it with --force") {
		t.Errorf("exit code %d: %s", code, errs)
	}
	if code, _, errs := adviseOf(t, "seccomp", "--from", file, "--dir", dir, "--force"); code != 0 {
		t.Errorf("exit code %d: %s", code, errs)
	}
}
