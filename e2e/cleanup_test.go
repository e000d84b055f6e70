package e2e

import (
	"net/netip"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/orb8-dev/kubectl-orb8/e2e/kit"
	"github.com/orb8-dev/kubectl-orb8/event/session"
)

// busy creates a namespace with a pod on each node and steady traffic between them.
func busy(t *testing.T, e *kit.Env) string {
	t.Helper()
	ns := e.Namespace(t, nil)
	server := e.Pods(t, kit.PodSpec{Namespace: ns, Name: "server", Node: e.Nodes[1],
		Args: []string{"serve", "-quiet", "-tcp", ":7000", "-udp", ":7000"}})[0]
	e.Pods(t, kit.PodSpec{
		Namespace: ns, Name: "client", Node: e.Nodes[0],
		Args: []string{"app", "-server", server.IP(t, false).String(), "-tcp", "7000", "-udp", "7000", "-every",
			"50ms"},
	})
	return ns
}

// TestSession_LeavesNothing ends sessions by each signal. They must leave the cluster and the kernel unchanged.
func TestSession_LeavesNothing(t *testing.T) {
	e := kit.NeedOwn(t)
	ns := busy(t, e)
	start := func(t *testing.T) *kit.Trace { return e.Trace(t, "trace", "network", "-n", ns, "-o", "json") }
	stream := func(t *testing.T, tr *kit.Trace) {
		t.Helper()
		tr.AwaitStreaming(t, 2)
		tr.AwaitLines(t, 10)
	}
	t.Run("signals", func(t *testing.T) {
		endings := []struct {
			signal syscall.Signal
			code   int
		}{{syscall.SIGINT, 130}, {syscall.SIGTERM, 130}, {syscall.SIGHUP, 130}, {syscall.SIGKILL, -1}}
		before := e.Snapshot(t, true)
		var sessions []*kit.Trace
		for range endings {
			sessions = append(sessions, start(t))
		}
		for _, tr := range sessions {
			stream(t, tr)
		}
		before.SomethingThere(t)
		for i, tr := range sessions {
			tr.Signal(t, endings[i].signal)
		}
		for i, tr := range sessions {
			if code := tr.Wait(t); code != endings[i].code {
				t.Errorf("%v: exit code %d, want %d", endings[i].signal, code, endings[i].code)
			}
		}
		before.NothingLeft(t)
	})
	t.Run("SIGSTOP, like a suspended laptop", func(t *testing.T) {
		before := e.Snapshot(t, true)
		tr := start(t)
		stream(t, tr)
		before.SomethingThere(t)
		tr.Signal(t, syscall.SIGSTOP)
		e.AwaitNoTracer(t, session.HeartbeatTimeout+kit.CleanupTime)
		tr.Signal(t, syscall.SIGKILL)
		if code := tr.Wait(t); code != -1 {
			t.Errorf("exit code %d, want -1: killed", code)
		}
		before.NothingLeft(t)
	})
}

func TestSession_EndsByClosedPipe(t *testing.T) {
	e := kit.NeedOwn(t)
	ns := busy(t, e)
	before := e.Snapshot(t, true)
	cmd := exec.Command("bash", "-c",
		`kubectl orb8 trace network -n "$1" -o json | head -1; echo "exit ${PIPESTATUS[0]}"`, "bash", ns)
	cmd.Env = e.Environ(e.Kubeconfig)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	first, rest, _ := strings.Cut(string(out), "\n")
	if !strings.HasPrefix(first, "{") || rest != "exit 0\n" {
		t.Errorf("stdout is %q, want one object and exit code 0; stderr:\n%s", out, stderr.String())
	}
	before.NothingLeft(t)
}

// TestSession_SurvivesFailures breaks a component that the session needs. The stream resumes, or restarts and reports a
// gap; afterwards nothing is left behind.
func TestSession_SurvivesFailures(t *testing.T) {
	e := kit.NeedOwn(t)
	ns := busy(t, e)
	for _, test := range []struct {
		name string
		hit  func(t *testing.T, tracers []corev1.Pod)
		// stderr is a pattern that stderr must match afterwards.
		stderr string
	}{
		{
			name: "the tracer's pod is deleted",
			hit: func(t *testing.T, tracers []corev1.Pod) {
				p := tracers[0]
				if err := e.Client.CoreV1().Pods(p.Namespace).Delete(t.Context(), p.Name,
					metav1.DeleteOptions{}); err != nil {
					t.Fatal(err)
				}
			},
			stderr: `starting another; what happens until it streams is not seen`,
		},
		{
			name: "the tracer is killed",
			hit: func(t *testing.T, tracers []corev1.Pod) {
				for _, pid := range kit.PIDsOf(t, tracers[0].UID, "orb8-tracer") {
					if err := syscall.Kill(int(pid), syscall.SIGKILL); err != nil {
						t.Fatal(err)
					}
				}
			},
			stderr: `starting another; what happens until it streams is not seen`,
		},
		{
			name: "the kubelet restarts",
			hit: func(t *testing.T, tracers []corev1.Pod) {
				e.Component(t, "restart", "kubelet", tracers[0].Spec.NodeName)
			},
		},
		{
			name: "the API server restarts",
			hit:  func(t *testing.T, _ []corev1.Pod) { e.Component(t, "restart", "kube-apiserver") },
		},
		{
			name: "the API server is down for longer than the heartbeat",
			hit: func(t *testing.T, _ []corev1.Pod) {
				e.Component(t, "stop", "kube-apiserver")
				kit.AwaitNoProcess(t, "orb8-tracer", session.HeartbeatTimeout+kit.CleanupTime)
				e.Component(t, "start", "kube-apiserver")
			},
			stderr: `starting another; what happens until it streams is not seen`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := e.Snapshot(t, true)
			tr := e.Trace(t, "trace", "network", "-n", ns, "-o", "json")
			tr.AwaitStreaming(t, 2)
			tr.AwaitLines(t, 10)
			tracers := e.Tracers(t)
			if len(tracers) != 2 {
				t.Fatalf("%d tracers run, want 2", len(tracers))
			}
			node := tracers[0].Spec.NodeName
			test.hit(t, tracers)
			hit := time.Now()
			if test.stderr != "" {
				tr.AwaitStderr(t, test.stderr)
			}
			// Only a tracer on that node knows the pid there, so this event is of its tracer after the failure.
			tr.AwaitJQ(t, `any(.kind == "flow" and .time > $since and
				((.src.node == $node and .src.pid != null) or (.dst.node == $node and .dst.pid != null)))`,
				"--arg", "since", hit.UTC().Format("2006-01-02T15:04:05.999999999Z"), "--arg", "node", node)
			tr.Stop(t)
			before.NothingLeft(t)
		})
	}
}

// TestSession_ResumesAfterCut cuts the user's connections for less than the heartbeat's timeout, under steady traffic.
// No byte and no connection may be missing.
func TestSession_ResumesAfterCut(t *testing.T) {
	e := kit.NeedOwn(t)
	ns := e.Namespace(t, nil)
	pods := e.Pods(t,
		kit.PodSpec{Namespace: ns, Name: "client", Node: e.Nodes[0]},
		kit.PodSpec{Namespace: ns, Name: "server", Node: e.Nodes[1], Args: []string{"serve", "-tcp", tcpPorts}},
	)
	before := e.Snapshot(t, true)
	proxy := e.Proxy(t)
	tr := e.TraceAs(t, proxy.Kubeconfig, "trace", "network", "-n", ns, "-o", "json")
	tr.AwaitStreaming(t, 2)
	s := scenario{
		protocol: "tcp", client: pods[0], server: pods[1], to: netip.AddrPortFrom(pods[1].IP(t, false), 7001),
		args: []string{"-conns", "400", "-pause", "25ms", "-send", "2000", "-recv", "3000"},
	}
	load := s.start(t)
	for range 3 {
		tr.AwaitLines(t, tr.Lines(t)+20)
		proxy.Cut()
		// The cut has to last, and there is no condition to wait for.
		time.Sleep(session.HeartbeatTimeout / 3)
		proxy.Restore()
	}
	s.clients = load.Wait(t)
	s.served(t)
	tr.Stop(t)
	s.check(t, tr)
	if stderr := tr.Stderr(); !strings.Contains(stderr, "connection cut") ||
		strings.Contains(stderr, "starting another") {
		t.Errorf("the connections were not cut and resumed:\n%s", stderr)
	}
	tr.NothingLost(t)
	before.NothingLeft(t)
}

func TestSessions_AreIndependent(t *testing.T) {
	e := kit.NeedOwn(t)
	ns := busy(t, e)
	user := e.RoleUser(t, "second", ns)
	before := e.Snapshot(t, true)
	first := e.Trace(t, "trace", "network", "-n", ns, "-o", "json")
	second := e.TraceAs(t, user, "trace", "network", "-n", ns, "-o", "json", "--tracer-namespace", ns)
	for _, tr := range []*kit.Trace{first, second} {
		tr.AwaitStreaming(t, 2)
		tr.AwaitLines(t, 10)
	}
	first.Signal(t, syscall.SIGKILL)
	first.Wait(t)
	n := second.Lines(t)
	second.AwaitLines(t, n+50)
	// A new session removes leftovers of others, and must not remove a running session.
	third := e.Trace(t, "trace", "network", "-n", ns, "-o", "json", "--duration", "2s")
	if code := third.Wait(t); code != 0 {
		t.Errorf("third session exits with %d", code)
	}
	n = second.Lines(t)
	second.AwaitLines(t, n+50)
	second.Stop(t)
	before.NothingLeft(t)
}
