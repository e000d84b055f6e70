package install

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/orb8-dev/kubectl-orb8/deploy"
)

func parsePod(t *testing.T, text string) *corev1.Pod {
	t.Helper()
	p := &corev1.Pod{}
	if err := unmarshal(text, p); err != nil {
		t.Fatal(err)
	}
	p.Labels = deploy.ComponentLabels(deploy.ComponentAgent)
	return p
}

func TestDescribePod_GivesReason(t *testing.T) {
	container := func(state string) string {
		return "status: {containerStatuses: [{name: agent, image: i, restartCount: 3, " + state + "}]}"
	}
	for _, test := range []struct {
		name, pod, want string
		stuck           bool
	}{
		{"no kubelet yet", "spec: {nodeName: n}", "starting", false},
		{"no room", `status: {conditions: [{type: PodScheduled, status: "False", message: "Insufficient cpu"}]}`,
			"not scheduled: Insufficient cpu", true},
		{"evicted", `status: {phase: Failed, reason: Evicted, message: "low on memory"}`,
			"Evicted low on memory", true},
		{"image", container(`state: {waiting: {reason: ImagePullBackOff, message: ` +
			`"Back-off: rpc error: code = NotFound desc = not found"}}`), "can not pull image i: not found", true},
		{"crash", container(`state: {waiting: {reason: CrashLoopBackOff}}, lastState: {terminated: {exitCode: 1, ` +
			`message: "orb8-agent: Linux 4.18 has no BTF"}}`),
			"exited with code 1: orb8-agent: Linux 4.18 has no BTF", true},
		{"ended", container(`state: {terminated: {exitCode: 137, reason: OOMKilled}}`),
			"was killed for its memory limit", true},
		{"restarted", container(`state: {running: {}}, lastState: {terminated: {exitCode: 2}}`),
			"not ready; before its last restart it exited with code 2", false},
		{"running", container(`state: {running: {}}`), "running, not ready", false},
		{"deleted", `metadata: {deletionTimestamp: "2026-01-01T00:00:00Z"}`, "ending", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := describePod(parsePod(t, test.pod))
			if d.Reason != test.want || d.Stuck != test.stuck || d.Ready {
				t.Errorf("%+v, want %q, %v", d, test.want, test.stuck)
			}
		})
	}
}

func TestDescribePod_NodeOfUnscheduledPod(t *testing.T) {
	d := describePod(parsePod(t, `spec: {affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {
  nodeSelectorTerms: [{matchFields: [{key: metadata.name, operator: In, values: [node-7]}]}]}}}}`))
	if d.Node != "node-7" {
		t.Errorf("node %q", d.Node)
	}
}

func TestJudge_NoNodeIsSelected(t *testing.T) {
	p := judge(&appsv1.DaemonSet{}, &appsv1.Deployment{}, nil, "")
	if p.done || !p.stuck || !strings.Contains(p.line(), "--node-selector") {
		t.Errorf("%+v", p)
	}
}

func TestProgress_NamesFewNodes(t *testing.T) {
	p := &progress{agents: 9, agentsReady: 4, servers: 2, reasons: []string{"a: x", "b: x", "c: x", "d: x", "e: x"}}
	p.reasons[1] = "b: " + strings.Repeat("y", 200)
	long := "b: " + strings.Repeat("y", 97) + "…"
	if got, want := p.line(), "4/9 nodes ready, 0/2 servers ready: a: x; "+long+"; c: x; and 2 more"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
