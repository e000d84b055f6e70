package launch

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	k8stesting "k8s.io/client-go/testing"

	"github.com/orb8-dev/kubectl-orb8/event/session"
	"github.com/orb8-dev/kubectl-orb8/internal/kube/kubefake"
)

const realUID types.UID = "the-job"

// cluster is a client whose API server sets the UID of Jobs to realUID.
func cluster(objects ...runtime.Object) *kubefake.Client {
	client := kubefake.New(objects...)
	client.PrependReactor("create", "jobs", func(a k8stesting.Action) (bool, runtime.Object, error) {
		a.(k8stesting.CreateAction).GetObject().(*batchv1.Job).UID = realUID
		return false, nil, nil
	})
	return client
}

// claiming returns a running pod that claims to be the tracer. change makes it differ from the expected pod.
func claiming(s *Spec, name string, change func(*corev1.Pod, *corev1.Container)) *corev1.Pod {
	pod := podOf(s, container(corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}))
	pod.Name, pod.UID = name, types.UID(name)
	pod.OwnerReferences[0].UID = realUID
	if change != nil {
		change(pod, &pod.Spec.Containers[0])
	}
	return pod
}

// forgeries are pods that anybody may make who may create pods in the tracer's namespace.
var forgeries = map[string]struct {
	change func(*corev1.Pod, *corev1.Container)
	want   string
}{
	"label and owner's name": {
		func(p *corev1.Pod, _ *corev1.Container) { p.OwnerReferences[0].UID = "another" },
		"its owner has another UID than the Job that was made",
	},
	"no UID": {
		func(p *corev1.Pod, _ *corev1.Container) { p.OwnerReferences[0].UID = "" },
		"its owner has another UID than the Job that was made",
	},
	"another node": {
		func(p *corev1.Pod, _ *corev1.Container) { p.Spec.NodeName = "evil" },
		"it is on node evil and not on node-1.example.com",
	},
	"another image": {
		func(_ *corev1.Pod, c *corev1.Container) { c.Image = "evil/orb8-tracer:v1.2.3" },
		"its image is evil/orb8-tracer:v1.2.3 and not ghcr.io/orb8-dev/orb8-tracer:v1.2.3",
	},
	"another command": {func(_ *corev1.Pod, c *corev1.Container) { c.Command = []string{"/bin/sh"} },
		`its command is ["/bin/sh"]`},
	"another container": {func(_ *corev1.Pod, c *corev1.Container) { c.Name = "evil" }, `it has no container "tracer"`},
	"other arguments": {func(_ *corev1.Pod, c *corev1.Container) { c.Args = []string{"session", "-x"} },
		`its arguments are ["session" "-x"]`},
	"another key": {func(_ *corev1.Pod, c *corev1.Container) { c.Env[0].Value = "evil" },
		"ORB8_CLIENT_KEY is not this session's"},
	"a second key": {
		func(_ *corev1.Pod, c *corev1.Container) {
			c.Env = append(c.Env, corev1.EnvVar{Name: session.EnvClientKey, Value: "evil"})
		},
		"ORB8_CLIENT_KEY is not this session's",
	},
	"another config": {
		func(_ *corev1.Pod, c *corev1.Container) {
			c.Env = append(c.Env, corev1.EnvVar{Name: session.EnvConfig, Value: "evil"})
		},
		"ORB8_CONFIG is not this session's",
	},
	"no key": {func(_ *corev1.Pod, c *corev1.Container) { c.Env = nil }, "ORB8_CLIENT_KEY is not set"},
	"another program": {
		func(_ *corev1.Pod, c *corev1.Container) {
			c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: "evil", MountPath: "/orb8-tracer",
				SubPath: "sh"})
		},
		"a volume is mounted at /orb8-tracer, over its program",
	},
	"another root": {
		func(_ *corev1.Pod, c *corev1.Container) {
			c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: "evil", MountPath: "//."})
		},
		"over its program",
	},
	"a hook": {func(_ *corev1.Pod, c *corev1.Container) { c.Lifecycle = &corev1.Lifecycle{} }, "lifecycle hook"},
}

// start makes a Job and waits for its tracer, with pods that were there before.
func start(t *testing.T, s *Spec, pods ...*corev1.Pod) (pod string, refused []string, err error) {
	t.Helper()
	var objects []runtime.Object
	for _, p := range pods {
		objects = append(objects, p)
	}
	l := New(t.Context(), cluster(objects...), s.Namespace, s.Session)
	defer l.Close()
	l.Refused = func(line string) { refused = append(refused, line) }
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := l.Create(ctx, s); err != nil {
		t.Fatal(err)
	}
	pod, err = l.Running(ctx, s, func(string) {})
	return pod, refused, err
}

func TestIdentity_RefusesImpostors(t *testing.T) {
	for name, test := range forgeries {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := spec()
				impostor := claiming(s, "a-impostor", test.change)
				pod, refused, err := start(t, s, impostor, claiming(s, "tracer", nil))
				if err != nil || pod != "tracer" {
					t.Errorf("pod %q, %v", pod, err)
				}
				const line = "pod demo/a-impostor claims to be the tracer of job orb8-k3x9q-"
				if len(refused) > 1 || len(refused) == 1 && (!strings.Contains(refused[0], test.want) ||
					!strings.HasPrefix(refused[0], line)) {
					t.Errorf("refused %q", refused)
				}
				pod, refused, err = start(t, s, impostor)
				start := (*StartError)(nil)
				switch ours := impostor.OwnerReferences[0].UID == realUID; {
				case len(refused) != 1 || !strings.Contains(refused[0], test.want):
					t.Errorf("refused %q", refused)
				case ours && (!errors.As(err, &start) || start.Reason != "identity" ||
					!strings.Contains(err.Error(), test.want)):
					t.Errorf("with no other pod: pod %q, %v", pod, err)
				case !ours && !errors.Is(err, context.DeadlineExceeded): // the Job's own pod may come
					t.Errorf("with no pod of the Job: pod %q, %v", pod, err)
				}
			})
		})
	}
}

// TestIdentity_ToleratesAdmission accepts a pod with variables, volumes and containers that admission has added.
func TestIdentity_ToleratesAdmission(t *testing.T) {
	s := spec()
	pod, refused, err := start(t, s, claiming(s, "tracer", func(p *corev1.Pod, c *corev1.Container) {
		c.Env = append([]corev1.EnvVar{{Name: "DD_AGENT_HOST", Value: "x"}}, c.Env...)
		c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: "x", MountPath: "/orb8-tracer-extras"})
		c.Resources, c.ImagePullPolicy, p.Spec.NodeName = corev1.ResourceRequirements{}, corev1.PullAlways, ""
		p.Spec.Containers = append([]corev1.Container{{Name: "mesh-proxy", Image: "mesh:1"}}, *c)
		p.Spec.InitContainers = []corev1.Container{{Name: "mesh-init"}}
		p.Labels["x"], p.Annotations = "y", map[string]string{"x": "y"}
	}))
	if err != nil || pod != "tracer" || len(refused) > 0 {
		t.Errorf("pod %q, %v; refused %q", pod, err, refused)
	}
}

// TestIdentity_TakesTheJobsImage has admission rewrite the image in the Job, which the API server's answer shows.
func TestIdentity_TakesTheJobsImage(t *testing.T) {
	s := spec()
	made := s.Job()
	made.Spec.Template.Spec.Containers[0].Image = "mirror/orb8-tracer:v1.2.3"
	w := wantedOf(s, made)
	if why := w.mismatch(claiming(s, "x",
		func(_ *corev1.Pod, c *corev1.Container) { c.Image = "mirror/orb8-tracer:v1.2.3" })); why != "" {
		t.Error(why)
	}
	if why := w.mismatch(claiming(s, "x", nil)); why == "" {
		t.Error("another image than the Job's is taken")
	}
}

// TestIdentity_StaysTheSame changes the tracer's pod after it was accepted, and adds a second pod like it.
func TestIdentity_StaysTheSame(t *testing.T) {
	s := spec()
	client := cluster(claiming(s, "tracer", nil))
	l := New(t.Context(), client, s.Namespace, s.Session)
	defer l.Close()
	refused := make(chan string, 8)
	l.Refused = func(line string) { refused <- line }
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := l.Create(ctx, s); err != nil {
		t.Fatal(err)
	}
	if pod, err := l.Running(ctx, s, func(string) {}); err != nil || pod != "tracer" {
		t.Fatalf("pod %q, %v", pod, err)
	}
	pods := client.CoreV1().Pods(s.Namespace)
	if _, err := pods.Create(ctx, claiming(s, "a-twin", nil), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	select {
	case line := <-refused:
		if !strings.Contains(line, "pod demo/a-twin claims") || !strings.Contains(line, "pod tracer is that already") {
			t.Errorf("refused %q", line)
		}
	case <-ctx.Done():
		t.Fatal("a second pod is not refused")
	}
	evil := claiming(s, "tracer", func(_ *corev1.Pod, c *corev1.Container) { c.Image = "evil:1" })
	if _, err := pods.Update(ctx, evil, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	how, err := l.Ended(ctx, s.JobName())
	if err != nil || !strings.Contains(how, "the pod was changed: its image is evil:1") {
		t.Errorf("ended %q, %v", how, err)
	}
}

// TestIdentity_RefusesAForeignJob creates the session's Job beforehand, with another key or program.
func TestIdentity_RefusesAForeignJob(t *testing.T) {
	s := spec()
	foreign := s.Job()
	foreign.Spec.Template.Spec.Containers[0].Env[0].Value = "evil"
	l := New(t.Context(), kubefake.New(foreign), s.Namespace, s.Session)
	defer l.Close()
	err := l.Create(t.Context(), s)
	if start := (*StartError)(nil); !errors.As(err, &start) || start.Reason != "identity" ||
		!strings.Contains(err.Error(), "ORB8_CLIENT_KEY") {
		t.Errorf("error %v", err)
	}
}
