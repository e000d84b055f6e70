package e2e

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/orb8-dev/kubectl-orb8/e2e/kit"
)

// TestSignals traces a process that kills itself, a memory fault and a pod's deletion, and expects each signal with its
// sender.
func TestSignals(t *testing.T) {
	t.Parallel()
	e := kit.Need(t)
	ns := e.Namespace(t, nil)
	pods := e.Pods(t, kit.PodSpec{Namespace: ns, Name: "worker", Node: e.Nodes[0]},
		kit.PodSpec{Namespace: ns, Name: "stopped", Node: e.Nodes[1]})
	tr := e.Trace(t, "trace", "signals", "-n", ns, "-o", "json", "--fail-on-loss")
	tr.AwaitStreaming(t, 2)

	pods[0].Exec(t, "spawn", "die", "-signal", "11")
	tr.AwaitJQ(t, `any(.pod == "worker" and .container != null and .signal == "SIGSEGV" and .number == 11 and
		.origin == "kernel" and .outcome == "delivered" and .senderPid == null)`)
	pods[0].Exec(t, "spawn", "die", "-signal", "6")
	tr.AwaitJQ(t, `any(.pod == "worker" and .container != null and .signal == "SIGABRT" and .number == 6 and
		.origin == "process" and .outcome == "delivered" and .senderPid == .pid and .senderComm == .comm and
		.senderUid == 0)`)

	grace := int64(1)
	err := e.Client.CoreV1().Pods(ns).Delete(t.Context(), "stopped", metav1.DeleteOptions{GracePeriodSeconds: &grace})
	if err != nil {
		t.Fatal(err)
	}
	// The sender is a process of the container runtime, outside of any pod.
	tr.AwaitJQ(t, `any(.pod == "stopped" and .signal == "SIGTERM" and .origin == "process" and .containerPid == 1 and
		.senderPid != .pid and .code == 0 and .toThread == false)`)
	tr.Stop(t)
	tr.CheckSchema(t)
}
