package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/version"

	"github.com/orb8-dev/kubectl-orb8/e2e/kit"
)

// capabilityBits are the bits of include/uapi/linux/capability.h.
var capabilityBits = map[string]uint{
	"SETGID": 6, "SETUID": 7, "NET_ADMIN": 12, "SYS_PTRACE": 19, "SYS_RESOURCE": 24, "PERFMON": 38, "BPF": 39,
}

// documented returns the capabilities that docs/SECURITY.md lists for a kernel and a kind of events, sorted.
func documented(t *testing.T, e *kit.Env, kernel, kind string) []string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(e.Root, "docs", "SECURITY.md"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	running := version.MustParseGeneric(kernel)
	for _, m := range regexp.MustCompile("(?m)^- `CAP_([A-Z_]+)`(?:, on Linux before ([0-9.]+))?(?:, for `trace "+
		"([a-z]+)`)?:").FindAllStringSubmatch(string(b), -1) {
		if m[3] != "" && m[3] != kind {
			continue
		}
		if m[2] == "" || running.LessThan(version.MustParseGeneric(m[2])) {
			names = append(names, m[1])
		}
	}
	slices.Sort(names)
	return names
}

// TestTracer_PrivilegesMatchDocs checks the tracers' pods and processes.
func TestTracer_PrivilegesMatchDocs(t *testing.T) {
	e := kit.NeedOwn(t)
	ns := busy(t, e)
	for _, kind := range []string{"network", "gpu"} {
		t.Run(kind, func(t *testing.T) { privileges(t, e, ns, kind) })
	}
}

func privileges(t *testing.T, e *kit.Env, ns, kind string) {
	tr := e.Trace(t, "trace", kind, "-n", ns, "-o", "json")
	tr.AwaitStreaming(t, 2)
	tr.AwaitLines(t, 1)
	kernel, err := os.ReadFile("/proc/sys/kernel/osrelease") // all nodes have this one
	if err != nil {
		t.Fatal(err)
	}
	allowed := documented(t, e, strings.TrimSpace(string(kernel)), kind)
	if len(allowed) == 0 {
		t.Fatal("docs/SECURITY.md lists no capability")
	}
	var mask uint64
	for _, c := range allowed {
		bit, ok := capabilityBits[c]
		if !ok {
			t.Fatalf("docs/SECURITY.md lists CAP_%s, which this test does not expect at all", c)
		}
		mask |= 1 << bit
	}

	tracers := e.Tracers(t)
	if len(tracers) != 2 {
		t.Fatalf("%d tracers run, want 2", len(tracers))
	}
	for _, pod := range tracers {
		checkPod(t, &pod, allowed)
		pids := kit.PIDsOf(t, pod.UID, "orb8-tracer")
		if len(pids) != 1 {
			t.Fatalf("tracer on %s has the processes %d, want one", pod.Spec.NodeName, pids)
		}
		proc := fmt.Sprintf("/proc/%d", pids[0])
		status, err := os.ReadFile(proc + "/status")
		if err != nil {
			t.Fatal(err)
		}
		for _, set := range []string{"CapEff", "CapPrm", "CapBnd"} {
			m := regexp.MustCompile(`(?m)^` + set + `:\s+([0-9a-f]+)$`).FindSubmatch(status)
			if m == nil {
				t.Fatalf("no %s in %s/status", set, proc)
			}
			if got, err := strconv.ParseUint(string(m[1]), 16, 64); err != nil || got != mask {
				t.Errorf("%s is %#x, want %#x for %v", set, got, mask, allowed)
			}
		}
		if !regexp.MustCompile(`(?m)^NoNewPrivs:\s+1$`).Match(status) {
			t.Errorf("no_new_privs is not set")
		}
		if _, err := os.Stat(proc + "/root/var/run/secrets/kubernetes.io"); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the tracer has a service account token: %v", err)
		}
		for _, dir := range []string{"/", "/host/cgroup"} {
			// Through the process's own mounts.
			err := os.WriteFile(filepath.Join(proc, "root", dir, "orb8-e2e"), nil, 0o600)
			if !errors.Is(err, syscall.EROFS) {
				t.Errorf("writing to %s in the tracer's root gives %v, want %v", dir, err, syscall.EROFS)
			}
		}
	}
	tr.Stop(t)
}

func checkPod(t *testing.T, pod *corev1.Pod, allowed []string) {
	t.Helper()
	s := pod.Spec
	if s.AutomountServiceAccountToken == nil || *s.AutomountServiceAccountToken {
		t.Errorf("%s mounts a service account token", pod.Name)
	}
	if s.HostNetwork || s.HostIPC {
		t.Errorf("%s shares the host's network (%v) or IPC (%v)", pod.Name, s.HostNetwork, s.HostIPC)
	}
	for _, v := range s.Volumes {
		if v.HostPath == nil || v.HostPath.Path != "/sys/fs/cgroup" {
			t.Errorf("%s has the volume %s", pod.Name, v.Name)
		}
	}
	if len(s.Containers) != 1 || len(s.InitContainers) != 0 {
		t.Fatalf("%s has %d containers and %d init containers", pod.Name, len(s.Containers), len(s.InitContainers))
	}
	c := s.Containers[0]
	for _, m := range c.VolumeMounts {
		if !m.ReadOnly {
			t.Errorf("%s can write to %s", pod.Name, m.MountPath)
		}
	}
	if c.Resources.Limits.Memory().IsZero() || c.Resources.Limits.Cpu().IsZero() {
		t.Errorf("%s has no limits: %v", pod.Name, c.Resources.Limits)
	}
	sc := c.SecurityContext
	if sc == nil || sc.Capabilities == nil || sc.ReadOnlyRootFilesystem == nil || !*sc.ReadOnlyRootFilesystem {
		t.Fatalf("%s has the security context %+v", pod.Name, sc)
	}
	if sc.Privileged != nil && *sc.Privileged {
		t.Errorf("%s is privileged", pod.Name)
	}
	if !slices.Equal(sc.Capabilities.Drop, []corev1.Capability{"ALL"}) {
		t.Errorf("%s drops %v, want ALL", pod.Name, sc.Capabilities.Drop)
	}
	var added []string
	for _, c := range sc.Capabilities.Add {
		added = append(added, strings.TrimPrefix(string(c), "CAP_"))
	}
	slices.Sort(added)
	if !slices.Equal(added, allowed) {
		t.Errorf("%s adds %v, docs/SECURITY.md gives reasons for %v", pod.Name, added, allowed)
	}
}

// TestRole_IsSufficient runs a trace as a user who has only the rights that `kubectl orb8 rbac` grants in one
// namespace.
func TestRole_IsSufficient(t *testing.T) {
	e := kit.NeedOwn(t)
	ns := busy(t, e)
	user := e.RoleUser(t, "role-user", ns)
	before := e.Snapshot(t, true)
	tr := e.TraceAs(t, user, "trace", "network,dns", "-n", ns, "--tracer-namespace", ns, "-o", "json")
	tr.AwaitStderr(t, `note: forbidden: may not list services in namespace "kube-system": DNS on other ports than 53 `)
	tr.AwaitStreaming(t, 2)
	tr.AwaitJQ(t, `any(.kind == "flow" and .src.pod == "client" and .dst.pod == "server" and .phase == "closed")`)
	tr.Stop(t)
	before.NothingLeft(t)
}
