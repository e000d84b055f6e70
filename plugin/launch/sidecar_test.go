package launch

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/orb8-dev/kubectl-orb8/event/session"
	"github.com/orb8-dev/kubectl-orb8/internal/kube/kubefake"
)

// injected is the tracer's pod after an admission policy has put a container before the tracer's, which runs.
func injected(s *Spec, tracer corev1.ContainerState) *corev1.Pod {
	pod := podOf(s, corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{
		{Name: "mesh-proxy", Image: "mesh:1", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}},
		{Name: Container, Image: s.Image, State: tracer},
	}})
	pod.Spec.Containers = append([]corev1.Container{{Name: "mesh-proxy", Image: "mesh:1"}}, pod.Spec.Containers...)
	return pod
}

func TestTracer_FoundBehindSidecar(t *testing.T) {
	s := spec()
	ready := session.Ready{Protocol: session.Protocol, Version: "v1", Key: "k"}.Line()
	terminated := func(code int32, message string) corev1.ContainerState {
		return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Message: message}}
	}
	for name, test := range map[string]struct {
		state   corev1.ContainerState
		running bool
		waits   string
		err     string
	}{
		"running": {corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}, true, "", ""},
		"starting": {waitingFor("ContainerCreating", ""), false, "starting the container (pulling image " + s.Image +
			" where it is not there yet)", ""},
		"image missing": {waitingFor("ErrImageNeverPull", "not present"), false, "",
			"image: can not pull image " + s.Image +
				": not present; name another with --image, or a secret with --image-pull-secret"},
		"killed": {terminated(137, ready+"\ntime=2026-11-28T23:15:34Z level=INFO msg=observing kinds=flow\n"),
			false, "", "failed: tracer was killed by signal 9"},
		"has failed": {terminated(1, ready+"\nneeds BTF\n"), false, "", "failed: tracer exited with code 1: needs BTF"},
		"completed":  {terminated(0, ""), false, "", "failed: tracer exited with code 0"},
	} {
		t.Run(name, func(t *testing.T) {
			running, waits, err := judge(injected(s, test.state))
			got := ""
			if err != nil {
				got = err.Error()
			}
			if running != test.running || waits != test.waits || got != test.err {
				t.Errorf("running %v, waits %q, error %q", running, waits, got)
			}
		})
	}
}

func waitingFor(reason, message string) corev1.ContainerState {
	return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
}

func TestInitContainer_FailureIsNamed(t *testing.T) {
	s := spec()
	for name, test := range map[string]struct {
		phase corev1.PodPhase
		state corev1.ContainerState
		want  string
	}{
		"image": {corev1.PodPending, waitingFor("ImagePullBackOff", "no route"),
			"image: init container mesh-init: can not pull image mesh:1: no route; " +
				"admission has put it into the tracer's pod: run tracers in another namespace with --tracer-namespace"},
		"exit": {corev1.PodFailed, corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 2,
			Message: "iptables"}},
			"failed: tracer never ran: init container mesh-init exited with code 2: iptables"},
	} {
		t.Run(name, func(t *testing.T) {
			pod := podOf(s, waiting("PodInitializing", ""))
			pod.Status.Phase = test.phase
			pod.Status.InitContainerStatuses = []corev1.ContainerStatus{{Name: "mesh-init", Image: "mesh:1",
				State: test.state}}
			if _, _, err := judge(pod); err == nil || err.Error() != test.want {
				t.Errorf("error %v\nwant  %s", err, test.want)
			}
		})
	}
}

// TestEnded_IsTheTracersEnd ends the tracer in a pod whose sidecar runs on.
func TestEnded_IsTheTracersEnd(t *testing.T) {
	s := spec()
	pod := injected(s, corev1.ContainerState{Running: &corev1.ContainerStateRunning{}})
	client := kubefake.New(pod)
	l := New(t.Context(), client, s.Namespace, s.Session)
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := l.Create(ctx, s); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Running(ctx, s, func(string) {}); err != nil {
		t.Fatal(err)
	}
	killed := injected(s, corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 137}})
	pods := client.Clientset.CoreV1().Pods(s.Namespace)
	if _, err := pods.UpdateStatus(ctx, killed, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if how, err := l.Ended(ctx, s.JobName()); err != nil || how != "was killed by signal 9" {
		t.Errorf("ended %q, %v", how, err)
	}
}
