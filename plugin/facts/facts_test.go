package facts

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	clienttesting "k8s.io/client-go/testing"

	"github.com/orb8-dev/kubectl-orb8/cluster"
	"github.com/orb8-dev/kubectl-orb8/internal/kube/kubefake"
	"github.com/orb8-dev/kubectl-orb8/plugin/why/pods"
)

var now = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

func ago(d time.Duration) metav1.Time { return metav1.NewTime(now.Add(-d)) }

// podOf is a pod that was created ten minutes ago.
func podOf(change func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:         "shop",
			Name:              "web",
			UID:               "u1",
			CreationTimestamp: ago(10 * time.Minute),
		},
		Spec:   corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "web"}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning},
	}
	change(p)
	return p
}

func is(s corev1.ContainerStatus) func(*corev1.Pod) {
	s.Name = "web"
	return func(p *corev1.Pod) { p.Status.ContainerStatuses = []corev1.ContainerStatus{s} }
}

func running() corev1.ContainerState {
	return corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: ago(9 * time.Minute)}}
}

func ended(code int32, reason string, at time.Duration) corev1.ContainerState {
	return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
		ExitCode: code, Reason: reason, FinishedAt: ago(at)}}
}

func waits(reason, message string) corev1.ContainerState {
	return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
}

func event(name, kind, reason, message string, at time.Duration, count int32) *corev1.Event {
	return &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: "shop", Name: name},
		InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: "shop", Name: "web", UID: types.UID("u1")},
		Type:           kind, Reason: reason, Message: message, LastTimestamp: ago(at), Count: count,
	}
}

func TestRead_States(t *testing.T) {
	ready := func(at time.Duration) corev1.PodCondition {
		return corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: ago(at)}
	}
	base := pods.Facts{Namespace: "shop", Name: "web", UID: "u1", Node: "n1", Old: true}
	for name, c := range map[string]struct {
		pod    *corev1.Pod
		events []*corev1.Event
		want   func(*pods.Facts)
	}{
		"runs and is ready": {podOf(func(p *corev1.Pod) {
			is(corev1.ContainerStatus{State: running()})(p)
			p.Status.Conditions = []corev1.PodCondition{ready(time.Minute)}
		}), nil, func(f *pods.Facts) { f.Running, f.Ready = true, true }},
		"cannot be scheduled": {podOf(func(p *corev1.Pod) {
			p.Spec.NodeName, p.Status.Phase = "", corev1.PodPending
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse,
				Message: "0/2 nodes are available: 2 Insufficient cpu."}}
		}), nil, func(f *pods.Facts) {
			f.Node, f.Message = "", "0/2 nodes are available: 2 Insufficient cpu."
			f.NotStarted = f.Message
		}},
		"its image cannot be pulled": {podOf(func(p *corev1.Pod) {
			p.Status.Phase = corev1.PodPending
			is(corev1.ContainerStatus{State: waits("ImagePullBackOff", "Back-off pulling image \"x\"")})(p)
		}), nil, func(f *pods.Facts) {
			f.NotStarted = `container web: ImagePullBackOff: Back-off pulling image "x"`
		}},
		"waits for an init container": {podOf(func(p *corev1.Pod) {
			p.Status.Phase = corev1.PodPending
			p.Spec.InitContainers = []corev1.Container{{Name: "migrate"}}
			p.Status.InitContainerStatuses = []corev1.ContainerStatus{{Name: "migrate", State: running()}}
			is(corev1.ContainerStatus{State: waits("PodInitializing", "")})(p)
		}), nil, func(f *pods.Facts) { f.Running, f.NotStarted = true, "init container migrate still runs" }},
		"is being created": {podOf(func(p *corev1.Pod) {
			p.Status.Phase, p.CreationTimestamp = corev1.PodPending, ago(5*time.Second)
			is(corev1.ContainerStatus{State: waits("ContainerCreating", "")})(p)
		}), nil, func(f *pods.Facts) { f.Old = false }},
		"cannot mount a volume": {podOf(func(p *corev1.Pod) {
			p.Status.Phase = corev1.PodPending
			is(corev1.ContainerStatus{State: waits("ContainerCreating", "")})(p)
		}), []*corev1.Event{event("a", "Warning", "FailedMount", "configmap \"conf\" not found", time.Minute, 4)},
			func(f *pods.Facts) {
				f.NotStarted = `FailedMount: configmap "conf" not found`
				f.Message = f.NotStarted
			}},
		"crashes": {podOf(is(corev1.ContainerStatus{
			State: waits("CrashLoopBackOff", "back-off 40s"), LastTerminationState: ended(2, "Error", time.Minute),
			RestartCount: 3,
		})), nil, func(f *pods.Facts) {
			f.Running, f.Restarting, f.Restarts, f.LastEnd = true, true, 3, "exit code 2"
		}},
		"crashes, and has just ended": {podOf(is(corev1.ContainerStatus{
			State: ended(2, "Error", time.Second), LastTerminationState: ended(2, "Error", time.Minute),
			RestartCount: 2,
		})), nil, func(f *pods.Facts) {
			f.Running, f.Restarting, f.Restarts, f.LastEnd = true, true, 2, "exit code 2"
		}},
		"crashed long ago": {podOf(is(corev1.ContainerStatus{
			State: running(), LastTerminationState: ended(2, "Error", time.Hour), RestartCount: 1,
		})), nil, func(f *pods.Facts) { f.Running, f.Restarts, f.LastEnd = true, 1, "exit code 2" }},
		"was killed for want of memory": {podOf(is(corev1.ContainerStatus{
			State: running(), LastTerminationState: ended(137, "OOMKilled", time.Minute), RestartCount: 1,
		})), nil, func(f *pods.Facts) {
			f.Running, f.Restarting, f.OOMKilled, f.Restarts, f.LastEnd = true, true, true, 1,
				"exit code 137 (OOMKilled)"
		}},
		"ended well": {podOf(func(p *corev1.Pod) {
			p.Status.Phase = corev1.PodSucceeded
			is(corev1.ContainerStatus{State: ended(0, "Completed", time.Minute)})(p)
		}), nil, func(f *pods.Facts) { f.Ready = true }},
		"is ended by its liveness probe": {podOf(is(corev1.ContainerStatus{State: running()})), []*corev1.Event{
			event("a", "Warning", "Unhealthy", "Liveness probe failed: HTTP 500", 2*time.Minute, 6),
			event("b", "Normal", "Killing", "Container web failed liveness probe, will be restarted", time.Minute, 2),
		}, func(f *pods.Facts) {
			f.Running, f.ProbeFailures, f.KilledByProbe = true, 6, true
			f.Message = "Unhealthy: Liveness probe failed: HTTP 500"
		}},
		"was not ready at first": {podOf(func(p *corev1.Pod) {
			is(corev1.ContainerStatus{State: running()})(p)
			p.Status.Conditions = []corev1.PodCondition{ready(time.Minute)}
		}), []*corev1.Event{
			event("a", "Warning", "Unhealthy", "Readiness probe failed", 2*time.Minute, 6),
			event("b", "Warning", "Unhealthy", "Readiness probe failed, long ago", time.Hour, 6),
			event("c", "Normal", "Killing", "Stopping container web", time.Minute, 1),
		}, func(f *pods.Facts) { f.Running, f.Ready = true, true }},
	} {
		t.Run(name, func(t *testing.T) {
			objects := []runtime.Object{c.pod}
			for _, e := range c.events {
				objects = append(objects, e)
			}
			q := cluster.Query{Namespace: "shop", Names: []string{"web"}}
			got, err := Read(t.Context(), kubefake.New(objects...), q, now)
			if err != nil || len(got) != 1 {
				t.Fatalf("%v, %v", got, err)
			}
			want := base
			c.want(&want)
			if !reflect.DeepEqual(*got[0], want) {
				t.Errorf("%+v\nwant %+v", *got[0], want)
			}
		})
	}
}

func TestRead_WithoutEvents(t *testing.T) {
	client := kubefake.New(podOf(is(corev1.ContainerStatus{State: running()})))
	client.PrependReactor("list", "events", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "events"}, "", nil)
	})
	got, err := Read(t.Context(), client, cluster.Query{Namespace: "shop"}, now)
	if err != nil || len(got) != 1 || !got[0].EventsUnknown || !got[0].Running {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestRead_NamesThatDoNotExist(t *testing.T) {
	client := kubefake.New(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}})
	_, err := Read(t.Context(), client, cluster.Query{Namespace: "shop", Names: []string{"nosuch"}}, now)
	if missing := (*cluster.NotFoundError)(nil); !errors.As(err, &missing) || !strings.Contains(err.Error(), "nosuch") {
		t.Errorf("%v", err)
	}
}

func TestEndpoints(t *testing.T) {
	slice := func(service string, ready ...*bool) *discoveryv1.EndpointSlice {
		s := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: service + "-1",
			Labels: map[string]string{discoveryv1.LabelServiceName: service}}}
		for i, r := range ready {
			s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{
				Addresses: []string{"10.0.0.1"}, Conditions: discoveryv1.EndpointConditions{Ready: r},
				TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: fmt.Sprint(service, 9-i)}})
		}
		return s
	}
	yes, no := true, false
	client := kubefake.New(slice("ready", &no, &yes), slice("unknown", nil), slice("none"), slice("unready", &no, &no))
	var asked []pods.Service
	for _, name := range []string{"ready", "unknown", "none", "unready", "nosuch"} {
		asked = append(asked, pods.Service{Namespace: "shop", Name: name})
	}
	got := map[string]pods.Endpoints{}
	report := func(s pods.Service, e pods.Endpoints) { got[s.Name] = e }
	want := map[string]pods.Endpoints{"ready": {Ready: true, NotReady: "ready9"}, "unknown": {Ready: true}, "none": {},
		"unready": {NotReady: "unready8"}, "nosuch": {}}
	if err := Endpoints(t.Context(), client, asked, report); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	client.PrependReactor("list", "endpointslices", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "endpointslices"}, "", nil)
	})
	clear(got)
	if err := Endpoints(t.Context(), client, asked, report); err != nil || len(got) > 0 {
		t.Errorf("without the right to read them: %v, %v", got, err)
	}
}
