package launch

import (
	"context"
	"errors"
	"flag"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	k8stesting "k8s.io/client-go/testing"
	"sigs.k8s.io/yaml"

	"github.com/orb8-dev/kubectl-orb8/event/session"
	"github.com/orb8-dev/kubectl-orb8/internal/kube/kubefake"
)

var update = flag.Bool("update", false, "write the golden files")

var gpuConfig = &session.Config{Gpu: &session.GpuConfig{Library: "/usr/lib/libnvidia-ml.so.1"}}

func spec() *Spec {
	return &Spec{
		Session: "k3x9q", Namespace: "demo", Node: "node-1.example.com", Image: "ghcr.io/orb8-dev/orb8-tracer:v1.2.3",
		ImagePullPolicy: corev1.PullIfNotPresent, ImagePullSecrets: []string{"registry"}, Deadline: time.Hour,
	}
}

func TestJob_MatchesGoldenFiles(t *testing.T) {
	privileged := spec()
	privileged.Privileged, privileged.Attempt = true, 2
	gpu := spec()
	gpu.Config, gpu.RuntimeClass = gpuConfig, "nvidia"
	pre511 := *gpu
	for name, s := range map[string]*Spec{"job": spec(), "job-privileged": privileged, "job-gpu": gpu,
		"job-gpu-pre511": &pre511} {
		s.Kernel = "5.11.0"
		if s == gpu {
			s.Kernel = "6.6.0"
		}
		t.Run(name, func(t *testing.T) {
			got, err := yaml.Marshal(s.Job())
			if err != nil {
				t.Fatal(err)
			}
			file := "testdata/" + name + ".yaml"
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("-want +got (go test ./plugin/launch -update writes it anew):\n%s", diff)
			}
		})
	}
}

func TestJob_OldKernelsNeedSysResource(t *testing.T) {
	for kernel, more := range map[string]bool{
		"5.10.0-32-cloud-amd64": true, "5.11.0": false, "5.15.0-1-gke": false, "6.1.0-18-cloud-arm64": false,
		"6.18.44-fc-v769": false, "": false, "custom": false,
	} {
		s := spec()
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: s.Node}}
		node.Status.NodeInfo.KernelVersion = kernel
		node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
		client := kubefake.New(node)
		l := New(t.Context(), client, s.Namespace, s.Session)
		defer l.Close()
		if err := l.Create(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		job, err := client.BatchV1().Jobs(s.Namespace).Get(t.Context(), s.JobName(), metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		want := []corev1.Capability{"BPF", "PERFMON", "NET_ADMIN"}
		if more {
			want = append(want, "SYS_RESOURCE")
		}
		if diff := cmp.Diff(want, job.Spec.Template.Spec.Containers[0].SecurityContext.Capabilities.Add); diff != "" {
			t.Errorf("Linux %q: -want +got:\n%s", kernel, diff)
		}
	}
}

func TestJobName_IsShortAndUnique(t *testing.T) {
	s := spec()
	seen := map[string]bool{}
	for _, node := range []string{"a", "b", strings.Repeat("long.", 50)} {
		for attempt := range 2 {
			s.Node, s.Attempt = node, attempt
			// The pod's name adds six characters, and must fit a label too.
			if name := s.JobName(); len(name) > 57 || seen[name] {
				t.Errorf("name %q of %d characters, seen %v", name, len(name), seen[name])
			} else {
				seen[name] = true
			}
		}
	}
}

func podOf(s *Spec, status corev1.PodStatus) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: s.JobName() + "-abcde", Namespace: s.Namespace, UID: "u",
			Labels:          map[string]string{LabelSession: s.Session},
			OwnerReferences: []metav1.OwnerReference{{Kind: "Job", Name: s.JobName(), Controller: ptr(true)}},
		},
		Spec:   corev1.PodSpec{NodeName: s.Node, Containers: []corev1.Container{s.container()}},
		Status: status,
	}
}

func container(state corev1.ContainerState) corev1.PodStatus {
	return corev1.PodStatus{Phase: corev1.PodPending, ContainerStatuses: []corev1.ContainerStatus{{Name: Container,
		Image: "img:1", State: state}}}
}

func waiting(reason, message string) corev1.PodStatus {
	return container(corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}})
}

func TestState_DescribesPod(t *testing.T) {
	s := spec()
	for name, test := range map[string]struct {
		status  corev1.PodStatus
		running bool
		waits   string
		err     string
	}{
		"running":    {container(corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}), true, "", ""},
		"first pull": {waiting("ErrImagePull", "no route"), false, "pulling image img:1: no route", ""},
		"second pull": {waiting("ImagePullBackOff", "not found"), false, "",
			"image: can not pull image img:1: not found; name another with --image, or a secret with " +
				"--image-pull-secret"},
		"config": {waiting("CreateContainerError", "apparmor"), false, "", "failed: CreateContainerError: apparmor"},
		"not yet created": {waiting("ContainerCreating", ""), false, "starting the container (pulling image " +
			s.Image +
			" where it is not there yet)", ""},
		"unschedulable": {corev1.PodStatus{Conditions: []corev1.PodCondition{{
			Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: "0/2 nodes are available",
		}}}, false, "scheduling: 0/2 nodes are available", ""},
		"failed": {corev1.PodStatus{Phase: corev1.PodFailed,
			ContainerStatuses: []corev1.ContainerStatus{{Name: Container,
				State: corev1.ContainerState{
					Terminated: &corev1.ContainerStateTerminated{ExitCode: 1, Message: "needs BTF\n"},
				}}}}, false, "", "failed: tracer exited with code 1: needs BTF"},
		"evicted": {corev1.PodStatus{Phase: corev1.PodFailed, Message: "The node was low on memory"}, false, "",
			"failed: tracer ended: The node was low on memory"},
		"oom": {corev1.PodStatus{Phase: corev1.PodFailed, ContainerStatuses: []corev1.ContainerStatus{{Name: Container,
			State: corev1.ContainerState{
				Terminated: &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "OOMKilled"},
			}}}}, false, "", "failed: tracer was killed for its memory limit"},
	} {
		t.Run(name, func(t *testing.T) {
			running, waits, err := judge(podOf(s, test.status))
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

func TestLauncher_FollowsJobToRunning(t *testing.T) {
	client := kubefake.New()
	s := spec()
	l := New(t.Context(), client, s.Namespace, s.Session)
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for range 2 { // a request that is sent twice makes one Job
		if err := l.Create(ctx, s); err != nil {
			t.Fatal(err)
		}
	}
	var states []string
	progress := func(state string) {
		states = append(states, state)
		var err error
		switch len(states) {
		case 1:
			_, err = client.CoreV1().Pods(s.Namespace).Create(ctx, podOf(s, waiting("ContainerCreating", "")),
				metav1.CreateOptions{})
		case 2:
			_, err = client.CoreV1().Pods(s.Namespace).Update(ctx, podOf(s,
				container(corev1.ContainerState{Running: &corev1.ContainerStateRunning{}})), metav1.UpdateOptions{})
		}
		if err != nil {
			t.Error(err)
		}
	}
	name, err := l.Running(ctx, s, progress)
	if err != nil || name != s.JobName()+"-abcde" {
		t.Fatalf("pod %q, %v", name, err)
	}
	if len(states) != 2 || states[0] != "waiting for the Job's pod" ||
		!strings.HasPrefix(states[1], "starting the container") {
		t.Errorf("states %q", states)
	}
	if err := client.CoreV1().Pods(s.Namespace).Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if how, err := l.Ended(ctx, s.JobName()); err != nil || how != "ended: the pod was deleted" {
		t.Errorf("ended %q, %v", how, err)
	}
	for range 2 {
		if err := l.Delete(ctx, s.JobName()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRefusal_ExplainsRefusedPod(t *testing.T) {
	for name, test := range map[string]struct{ message, want string }{
		"pod security": {
			`Error creating: pods "x-abcde" is forbidden: violates PodSecurity "restricted:latest": ` +
				`host namespaces (hostPID=true)`,
			`pod security: namespace "demo" forbids the tracer (Pod Security level restricted); ` +
				`allow it with: kubectl label namespace demo ` +
				`pod-security.kubernetes.io/enforce=privileged --overwrite, ` +
				`or run it elsewhere with --tracer-namespace`,
		},
		"quota": {
			`Error creating: pods "x-abcde" is forbidden: exceeded quota: q, ` +
				`requested: pods=1, used: pods=2, limited: pods=2`,
			`quota: exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2; ` +
				`see kubectl describe quota -n demo, or run it elsewhere with --tracer-namespace`,
		},
		"another admission": {
			`Error creating: pods "x-abcde" is forbidden: no tracers on Fridays`,
			`forbidden: no tracers on Fridays`,
		},
		"a webhook": {
			`Error creating: admission webhook "policy.example.com" denied the request: host PID`,
			`forbidden: Error creating: admission webhook "policy.example.com" denied the request: host PID`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			client := kubefake.New()
			s := spec()
			l := New(t.Context(), client, s.Namespace, s.Session)
			defer l.Close()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_, err := l.Running(ctx, s, func(string) {
				_, err := client.CoreV1().Events(s.Namespace).Create(ctx, &corev1.Event{
					ObjectMeta:     metav1.ObjectMeta{Name: "e", Namespace: s.Namespace},
					InvolvedObject: corev1.ObjectReference{Kind: "Job", Name: s.JobName()}, Reason: "FailedCreate",
					Message: test.message,
				}, metav1.CreateOptions{})
				if err != nil {
					t.Error(err)
				}
			})
			start := (*StartError)(nil)
			if !errors.As(err, &start) || start.Node != s.Node || err.Error() != test.want {
				t.Errorf("error %v\nwant  %s", err, test.want)
			}
		})
	}
}

func TestSweep_RemovesOnlyLeftovers(t *testing.T) {
	now := time.Unix(100_000, 0)
	job := func(name string, age time.Duration, change func(*batchv1.Job)) *batchv1.Job {
		s := spec()
		j := s.Job()
		j.Name = name
		j.CreationTimestamp = metav1.NewTime(now.Add(-age))
		if change != nil {
			change(j)
		}
		return j
	}
	done := func(j *batchv1.Job) {
		j.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobComplete, Status: corev1.ConditionTrue}}
	}
	client := kubefake.New(
		job("runs", 10*time.Minute, nil),
		job("extended", 3*time.Hour, func(j *batchv1.Job) { j.Spec.ActiveDeadlineSeconds = ptr(int64(4 * 3600)) }),
		job("done", time.Minute, done),
		job("overdue", 2*time.Hour, nil),
		job("a-strangers", 2*time.Hour, func(j *batchv1.Job) { j.Labels = map[string]string{LabelName: "other"} }),
		job("going", 2*time.Hour, func(j *batchv1.Job) {
			j.DeletionTimestamp, j.Finalizers = ptr(metav1.NewTime(now)),
				[]string{"x"}
		}),
	)
	swept, err := Sweep(t.Context(), client, "demo", now)
	if err != nil || strings.Join(swept, " ") != "demo/done demo/overdue" {
		t.Errorf("swept %q, %v", swept, err)
	}
}

func TestResolveRuntimeClass(t *testing.T) {
	resource := schema.GroupResource{Group: "node.k8s.io", Resource: "runtimeclasses"}
	for name, test := range map[string]struct {
		class string
		err   error
		want  string
		fails bool
	}{
		"found": {RuntimeClassAuto, nil, NvidiaRuntimeClass, false},
		"none":  {RuntimeClassAuto, apierrors.NewNotFound(resource, NvidiaRuntimeClass), "", false},
		"forbidden": {RuntimeClassAuto, apierrors.NewForbidden(resource, NvidiaRuntimeClass, errors.New("no")), "",
			false},
		"no answer": {RuntimeClassAuto, errors.New("no route to host"), RuntimeClassAuto, true},
		"given":     {"kata", errors.New("not asked"), "kata", false},
	} {
		t.Run(name, func(t *testing.T) {
			client := kubefake.New()
			client.PrependReactor("get", "runtimeclasses", func(k8stesting.Action) (bool, runtime.Object, error) {
				return true, &nodev1.RuntimeClass{}, test.err
			})
			s := Spec{RuntimeClass: test.class}
			if err := s.ResolveRuntimeClass(t.Context(), client); (err != nil) != test.fails ||
				s.RuntimeClass != test.want {
				t.Errorf("class %q, %v; want %q", s.RuntimeClass, err, test.want)
			}
		})
	}
}

func TestNewSessionID_FitsIntoNames(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		id := NewSessionID()
		if len(id) > 8 || seen[id] || strings.Trim(id, "0123456789abcdefghijklmnopqrstuvwxyz") != "" {
			t.Errorf("id %q, seen %v", id, seen[id])
		}
		seen[id] = true
	}
}

func TestFollowLog(t *testing.T) {
	log, err := FollowLog(t.Context(), kubefake.New(), "demo", "pod")
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if b, err := io.ReadAll(log); err != nil || len(b) == 0 {
		t.Errorf("read %q, %v", b, err)
	}
}
