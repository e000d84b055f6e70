package e2e

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/orb8-dev/kubectl-orb8/e2e/kit"
)

// TestTrace_FollowsNewPods starts a trace before its targets exist, then creates one on each node.
func TestTrace_FollowsNewPods(t *testing.T) {
	e := kit.NeedOwn(t)
	ns := e.Namespace(t, nil)
	before := e.Snapshot(t, true)
	tr := e.Trace(t, "trace", "network", "-l", "team=a", "-n", ns, "-o", "json")
	tr.AwaitStderr(t, `nothing matches pods with labels team=a in namespace "`+ns+`" yet`)
	if n := len(e.Tracers(t)); n != 0 {
		t.Errorf("%d tracers run for no pod", n)
	}

	target := map[string]string{"team": "a"}
	server := e.Pods(t, kit.PodSpec{Namespace: ns, Name: "server", Node: e.Nodes[1], Labels: target,
		Args: []string{"serve", "-quiet", "-tcp", ":7000"}})[0]
	tr.AwaitStreaming(t, 1)
	client := e.Pods(t, kit.PodSpec{
		Namespace: ns, Name: "client", Node: e.Nodes[0], Labels: target,
		Args: []string{"app", "-server", server.IP(t, false).String(), "-tcp", "7000", "-every", "50ms"},
	})[0]
	tr.AwaitStreaming(t, 2)
	tr.AwaitJQ(t, `any(.kind == "flow" and .src.pod == "client" and .dst.pod == "server" and
		.src.comm != null and .dst.comm != null)`)

	scheduled := condition(t, client.Pod, corev1.PodScheduled)
	for _, tracer := range e.Tracers(t) {
		if tracer.Spec.NodeName == client.Spec.NodeName {
			// The API's timestamps are whole seconds.
			took := tracer.CreationTimestamp.Sub(scheduled.Truncate(time.Second))
			t.Logf("the tracer's pod was created %s after the target was scheduled", took)
			if took > 3*time.Second {
				t.Errorf("want at most 2 s, in timestamps of whole seconds")
			}
		}
	}
	tr.Stop(t)
	before.NothingLeft(t)
}

func condition(t *testing.T, pod *corev1.Pod, kind corev1.PodConditionType) time.Time {
	t.Helper()
	for _, c := range pod.Status.Conditions {
		if c.Type == kind {
			return c.LastTransitionTime.Time
		}
	}
	// A pod that names its node is never scheduled; use its creation.
	return pod.CreationTimestamp.Time
}
