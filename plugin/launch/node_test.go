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
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	k8stesting "k8s.io/client-go/testing"

	"github.com/orb8-dev/kubectl-orb8/internal/kube/kubefake"
)

// nodeOf is a node that is ready, until adapt makes another of it.
func nodeOf(name string, adapt func(*corev1.Node)) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
		corev1.LabelOSStable: "linux", corev1.LabelArchStable: "amd64",
	}}}
	n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	if adapt != nil {
		adapt(n)
	}
	return n
}

func TestCreate_SkipsNodesThatCannotRunJobs(t *testing.T) {
	for name, test := range map[string]struct {
		adapt func(*corev1.Node)
		want  string
	}{
		"windows by its label": {func(n *corev1.Node) {
			n.Labels[corev1.LabelOSStable], n.Status = "windows",
				corev1.NodeStatus{}
		},
			"platform: windows/amd64: tracers run on linux/amd64 and linux/arm64; trace pods on other nodes: " +
				"see kubectl get nodes -L kubernetes.io/os,kubernetes.io/arch"},
		"virtual": {func(n *corev1.Node) { n.Labels["type"] = "virtual-kubelet" },
			"platform: a virtual node runs no pods with host access; run the pods to be traced on nodes with a " +
				"kernel of their own"},
		"never heard of": {func(n *corev1.Node) { n.Status = corev1.NodeStatus{} },
			"not ready: its kubelet has never reported; see kubectl describe node node-1.example.com"},
		"not ready": {func(n *corev1.Node) {
			n.Status.Conditions[0].Status, n.Status.Conditions[0].Message = corev1.ConditionUnknown,
				"Kubelet stopped posting node status."
		}, "not ready: Kubelet stopped posting node status.; see kubectl describe node node-1.example.com"},
		"old": {func(n *corev1.Node) { n.Status.NodeInfo.KernelVersion = "5.4.0-1-generic" },
			"kernel: Linux 5.4.0-1-generic is older than 5.10; upgrade the node's image to one with Linux 5.10 " +
				"or later"},
		"fit": {nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := spec()
			client := kubefake.New(nodeOf(s.Node, test.adapt))
			l := New(t.Context(), client, s.Namespace, s.Session)
			defer l.Close()
			got := ""
			if err := l.Create(t.Context(), s); err != nil {
				got = err.Error()
			}
			jobs, err := client.BatchV1().Jobs("").List(t.Context(), metav1.ListOptions{})
			if err != nil || got != test.want || (len(jobs.Items) == 0) == (test.want == "") {
				t.Errorf("%d jobs, error %q\nwant %q (%v)", len(jobs.Items), got, test.want, err)
			}
		})
	}
}

// TestRunning_FailsForUnreachableNode judges by the pod alone, for a user who may not read nodes.
func TestRunning_FailsForUnreachableNode(t *testing.T) {
	for name, test := range map[string]struct {
		status corev1.PodStatus
		node   string
		want   string // a part of the error; empty: it goes on waiting
	}{
		"no kubelet": {corev1.PodStatus{Phase: corev1.PodPending}, "node-1.example.com",
			"kubelet: the node's kubelet did not take up the tracer's pod"},
		"no place": {corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{{
			Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: "Insufficient cpu",
		}}}, "", "scheduling: no place for the tracer's pod on the node within 15s: Insufficient cpu"},
		"a slow pull": {corev1.PodStatus{Phase: corev1.PodPending, StartTime: &metav1.Time{}}, "node-1.example.com",
			""},
	} {
		t.Run(name, func(t *testing.T) {
			s := spec()
			pod := podOf(s, test.status)
			pod.Spec.NodeName = test.node
			l := &Launcher{changed: make(chan struct{}), claims: map[string]*claim{s.JobName(): {tracer: pod}}}
			synctest.Test(t, func(t *testing.T) {
				l.changed = make(chan struct{})
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				began := time.Now()
				_, err := l.Running(ctx, s, func(string) {})
				took := time.Since(began)
				if test.want == "" {
					if !errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("after %v: %v", took, err)
					}
				} else if err == nil || !strings.Contains(err.Error(), test.want) || took > 20*time.Second {
					t.Errorf("after %v: %v\nwant %s", took, err, test.want)
				}
			})
		})
	}
}

func TestSweepPods_RemovesPodsOfLostNodes(t *testing.T) {
	now := time.Unix(100_000, 0)
	pod := func(name, node string, deleted time.Duration) *corev1.Pod {
		p := podOf(spec(), corev1.PodStatus{Phase: corev1.PodRunning})
		p.Name, p.Spec.NodeName, p.Labels = name, node, Labels()
		p.OwnerReferences[0].Name = "gone"
		if deleted > 0 {
			p.DeletionTimestamp, p.Finalizers = ptr(metav1.NewTime(now.Add(-deleted))), []string{"x"}
		}
		return p
	}
	running := pod("running", "dead", 0)
	running.OwnerReferences[0].Name = "runs"
	client := kubefake.New(
		nodeOf("ready", nil), nodeOf("dead", func(n *corev1.Node) { n.Status.Conditions = nil }),
		&batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "runs"}},
		pod("ending", "ready", time.Second), pod("terminating", "dead", time.Second), pod("orphan", "dead", 0),
		pod("lost", "no-more", time.Hour), running,
	)
	var deleted []string
	client.PrependReactor("delete", "pods", func(action k8stesting.Action) (bool, runtime.Object, error) {
		d := action.(k8stesting.DeleteActionImpl)
		if d.DeleteOptions.GracePeriodSeconds == nil || *d.DeleteOptions.GracePeriodSeconds != 0 {
			t.Errorf("%s deleted with a grace period", d.Name)
		}
		deleted = append(deleted, d.Name)
		return true, nil, nil
	})
	removed, err := SweepPods(t.Context(), client, "demo", now)
	if err != nil || strings.Join(deleted, " ") != "lost orphan terminating" || len(removed) != 3 {
		t.Errorf("deleted %q, %q, %v", deleted, removed, err)
	}
	const want = "pod demo/terminating on node dead, which is not ready, was removed from the API; if the node comes " +
		"back its kubelet ends it"
	if len(removed) == 3 && removed[2] != want {
		t.Errorf("%q\nwant %q", removed[2], want)
	}
}

func TestSweepPods_NamesForbiddenPods(t *testing.T) {
	now := time.Unix(100_000, 0)
	p := podOf(spec(), corev1.PodStatus{Phase: corev1.PodPending})
	p.Labels, p.DeletionTimestamp, p.Finalizers = Labels(), ptr(metav1.NewTime(now.Add(-time.Hour))), []string{"x"}
	client := kubefake.New(p)
	forbid := func(action k8stesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: action.GetResource().Resource}, "n",
			errors.New("no"))
	}
	client.PrependReactor("delete", "pods", forbid)
	client.PrependReactor("get", "nodes", forbid)
	_, err := SweepPods(t.Context(), client, "demo", now)
	if err == nil || !strings.Contains(err.Error(), "kubectl delete pod "+p.Name+" -n demo --force --grace-period=0") ||
		!strings.Contains(err.Error(), "whose kubelet does not answer") {
		t.Errorf("%v", err)
	}
}

func TestDelete_RemovesPodOfUnreachableNode(t *testing.T) {
	s := spec()
	pod := podOf(s, corev1.PodStatus{Phase: corev1.PodRunning, StartTime: &metav1.Time{}})
	client := kubefake.New(nodeOf(s.Node, func(n *corev1.Node) { n.Status.Conditions = nil }), pod, s.Job())
	l := New(t.Context(), client, s.Namespace, s.Session)
	defer l.Close()
	l.expect(s.JobName())
	l.made(s, s.Job())
	for ctx := t.Context(); !l.Shared(s.JobName()); { // until the pod is seen
		l.mu.Lock()
		seen, changed := l.tracer(s.JobName()) != nil, l.changed
		l.mu.Unlock()
		if seen {
			break
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatal("the pod is never seen")
		}
	}
	if err := l.Delete(t.Context(), s.JobName()); err != nil {
		t.Fatal(err)
	}
	if _, err := client.CoreV1().Pods(s.Namespace).Get(t.Context(), pod.Name,
		metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the pod is still there: %v", err)
	}
}
