package kit

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
)

// Tracers lists the running tracer pods of all namespaces. It finds them by the image of any container, since a label
// could be missing and an injected container could be the first.
func (e *Env) Tracers(t testing.TB) []corev1.Pod {
	t.Helper()
	pods, err := e.Client.CoreV1().Pods("").List(t.Context(), metav1.ListOptions{FieldSelector: "status.phase=Running"})
	if err != nil {
		t.Fatal(err)
	}
	var tracers []corev1.Pod
	for _, p := range pods.Items {
		ours := slices.ContainsFunc(p.Spec.Containers,
			func(c corev1.Container) bool { return strings.Contains(c.Image, "orb8-tracer") })
		if ours && p.DeletionTimestamp == nil {
			tracers = append(tracers, p)
		}
	}
	return tracers
}

// AwaitNoTracer waits until no tracer pod runs.
func (e *Env) AwaitNoTracer(t testing.TB, within time.Duration) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), poll, within, true, func(context.Context) (bool, error) {
		return len(e.Tracers(t)) == 0, nil
	})
	if err != nil {
		t.Errorf("tracers still run after %s", within)
	}
}

// Component runs the cluster program's restart, stop or start.
func (e *Env) Component(t testing.TB, args ...string) {
	t.Helper()
	if out, err := e.Cluster(args...); err != nil {
		t.Fatalf("cluster %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// PIDsOf returns the pids of a pod's processes on this machine. It finds them by the pod's UID in their cgroup.
func PIDsOf(t testing.TB, uid types.UID, comm string) []uint32 {
	t.Helper()
	return processes(t, comm, func(cgroup string) bool {
		// The systemd cgroup driver writes the UID with underscores.
		return strings.Contains(strings.ReplaceAll(cgroup, "_", "-"), string(uid))
	})
}

// Freeze stops a pod's processes of this name (SIGSTOP). It returns a function that continues them, as does the test's
// end.
func Freeze(t testing.TB, uid types.UID, comm string) (goOn func()) {
	t.Helper()
	pids := PIDsOf(t, uid, comm)
	if len(pids) == 0 {
		t.Fatalf("no %s runs in pod %s", comm, uid)
	}
	goOn = sync.OnceFunc(func() {
		for _, pid := range pids {
			_ = syscall.Kill(int(pid), syscall.SIGCONT) // it may have ended
		}
	})
	t.Cleanup(goOn)
	for _, pid := range pids {
		if err := syscall.Kill(int(pid), syscall.SIGSTOP); err != nil {
			t.Fatalf("stop %s (%d): %v", comm, pid, err)
		}
	}
	return goOn
}

// AwaitNoProcess waits until no pod on this machine has a process of this name.
func AwaitNoProcess(t testing.TB, comm string, within time.Duration) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), poll, within, true, func(context.Context) (bool, error) {
		return len(processes(t, comm, func(cgroup string) bool { return strings.Contains(cgroup, "pod") })) == 0, nil
	})
	if err != nil {
		t.Errorf("%s still runs after %s", comm, within)
	}
}

func processes(t testing.TB, comm string, in func(cgroup string) bool) []uint32 {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	var pids []uint32
	for _, dir := range dirs {
		cgroup, err1 := os.ReadFile(dir + "/cgroup")
		name, err2 := os.ReadFile(dir + "/comm")
		if err1 != nil || err2 != nil || strings.TrimSpace(string(name)) != comm || !in(string(cgroup)) {
			continue // another process, or one that has just ended
		}
		pid, err := strconv.ParseUint(filepath.Base(dir), 10, 32)
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, uint32(pid))
	}
	return pids
}

// RoleUser creates a user with only the rights that `kubectl orb8 rbac` grants in a namespace, and returns the path of
// its kubeconfig.
func (e *Env) RoleUser(t testing.TB, name, namespace string) string {
	t.Helper()
	cmd := exec.Command("bash", "-c", `set -o pipefail; kubectl orb8 rbac -n "$1" --user "$2" | kubectl apply -f -`,
		"bash", namespace, name)
	cmd.Env = e.Environ(e.Kubeconfig)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("grant %s the rights of kubectl orb8 rbac: %v\n%s", name, err, out)
	}
	return e.User(t, name)
}
