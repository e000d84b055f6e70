package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/orb8-dev/kubectl-orb8/e2e/kit"
)

// TestAdviseSeccomp observes a container from its start, and runs it with the profile that orb8 advises, which
// containerd and runc enforce: it starts, does the same as before, and gets EPERM for a system call that it had not
// made.
func TestAdviseSeccomp(t *testing.T) {
	e := kit.NeedOwn(t)
	ns := e.Namespace(t, nil)
	// The first pod makes the session start a tracer on the node.
	other := e.Pods(t, kit.PodSpec{Namespace: ns, Name: "other", Node: e.Nodes[0]})[0]
	work := func(t *testing.T, pod *kit.Pod) {
		t.Helper()
		if r := pod.Exec(t, "syscalls", "-getppid", "10", "-absent", "2", "-block", "100ms"); len(r) != 1 {
			t.Errorf("%+v, want one report", r)
		}
	}
	dir, recording := filepath.Join(t.TempDir(), "profiles"), filepath.Join(t.TempDir(), "calls.orb8")
	tr := e.Trace(t, "advise", "seccomp", "-n", ns, "--duration", "0", "--dir", dir, "--record", recording,
		"--fail-on-loss")
	tr.AwaitStreaming(t, 1)
	work(t, other)
	worker := kit.PodSpec{Namespace: ns, Name: "worker", Node: e.Nodes[0]}
	work(t, e.Pods(t, worker)[0])
	tr.Stop(t)
	t.Log(tr.Stderr() + tr.Stdout(t))

	name := ns + "_pod-worker_workload.json"
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s", text)
	var profile struct {
		Syscalls []struct{ Names []string }
	}
	if err := json.Unmarshal(text, &profile); err != nil || len(profile.Syscalls) == 0 {
		t.Fatalf("%v: %s", err, text)
	}
	for _, forbidden := range []string{"sysinfo", "mount", "pivot_root", "setns", "unshare", "ptrace"} {
		if strings.Contains(string(text), `"`+forbidden+`"`) {
			t.Errorf("the profile allows %s", forbidden)
		}
	}
	for _, warning := range []string{"pod/worker in " + ns + ", container workload: left out: ",
		"pod/other in " + ns + ", container workload: the container started before the observation"} {
		if !strings.Contains(tr.Stderr(), warning) {
			t.Errorf("no warning %q", warning)
		}
	}
	// Which of the runtime's calls count for a container that it joins depends on when it enters the cgroup.
	for pod, want := range map[string]string{
		"pod/worker": "refuses nothing that was seen",
		"pod/other":  `refused, but made by the runtime before it loads a profile: (\w+,\s+)*keyctl(,\s+\w+)*\n`,
	} {
		audit := run(t, e, e.Kubeconfig, 0, "advise", "seccomp", pod, "-n", ns, "--from", recording, "--audit",
			"--profile", filepath.Join(dir, name))
		t.Log(audit)
		if !regexp.MustCompile(want).MatchString(audit) {
			t.Errorf("the audit of %s: %s, want %q", pod, audit, want)
		}
	}

	profiles := filepath.Join(e.KubeletRoot(t, e.Nodes[0]), "seccomp", "orb8")
	if err := os.MkdirAll(profiles, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(profiles, name), text, 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Remove(filepath.Join(profiles, name)); err != nil {
			t.Error(err)
		}
	})
	localhost := "orb8/" + name
	guarded := worker
	guarded.Name = "guarded"
	guarded.Change = func(p *corev1.Pod) {
		p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{SeccompProfile: &corev1.SeccompProfile{
			Type: corev1.SeccompProfileTypeLocalhost, LocalhostProfile: &localhost}}
	}
	pod := e.Pods(t, guarded)[0]
	work(t, pod)
	for _, c := range []struct {
		pod  *kit.Pod
		want string
	}{{other, ""}, {pod, "EPERM"}} {
		if r := c.pod.Exec(t, "sysinfo"); len(r) != 1 || r[0].Error != c.want {
			t.Errorf("sysinfo in pod %s: %+v, want %q", c.pod.Name, r, c.want)
		}
	}
	pod.Exec(t, "syscalls", "-getppid", "3", "-block", "10ms") // the refused call has not broken it
}
