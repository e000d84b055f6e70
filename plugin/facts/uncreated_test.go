package facts

import (
	"reflect"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clienttesting "k8s.io/client-go/testing"

	"github.com/orb8-dev/kubectl-orb8/cluster"
	"github.com/orb8-dev/kubectl-orb8/internal/kube/kubefake"
	"github.com/orb8-dev/kubectl-orb8/plugin/why/pods"
)

// named returns the metadata of a workload, and the template of its pods.
func named(name string) (metav1.ObjectMeta, corev1.PodTemplateSpec, *metav1.LabelSelector) {
	app := map[string]string{"app": name}
	return metav1.ObjectMeta{Namespace: "shop", Name: name}, corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: app}}, &metav1.LabelSelector{MatchLabels: app}
}

// deploymentOf returns a Deployment and its ReplicaSet, NAME-1.
func deploymentOf(name string, want, have int32) []runtime.Object {
	d, set := &appsv1.Deployment{}, &appsv1.ReplicaSet{}
	d.ObjectMeta, d.Spec.Template, d.Spec.Selector = named(name)
	d.Spec.Replicas, d.Status.Replicas = &want, have
	set.ObjectMeta, set.Spec.Template, set.Spec.Selector = named(name)
	set.Name += "-1"
	set.Spec.Template.Labels = map[string]string{"app": name, "pod-template-hash": "1"}
	set.Spec.Replicas, set.Status.Replicas = &want, have
	return []runtime.Object{d, set}
}

// failedToCreate is the event of a controller.
func failedToCreate(kind, name, message string, at time.Duration) *corev1.Event {
	return &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: "shop", Name: name + "." + at.String()},
		InvolvedObject: corev1.ObjectReference{Kind: kind, Namespace: "shop", Name: name},
		Type:           corev1.EventTypeWarning, Reason: "FailedCreate", Message: message, LastTimestamp: ago(at),
	}
}

func forbid(client *kubefake.Client, verb, resource string) {
	client.PrependReactor(verb, resource, func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: resource}, "", nil)
	})
}

func TestRead_PodsThatAreNotCreated(t *testing.T) {
	quota := `Error creating: pods "web-1-x" is forbidden: exceeded quota: small`
	lacking := func(workload, why string) *pods.Facts {
		return &pods.Facts{Namespace: "shop", Workload: workload, Old: true, NotStarted: why}
	}
	exceeded := `2 of 3 pods cannot be created: pods "web-1-x" is forbidden: exceeded quota: small`
	web := append(deploymentOf("web", 3, 1), failedToCreate("ReplicaSet", "web-1", quota, time.Minute),
		failedToCreate("ReplicaSet", "web-1", "Error creating: an older reason", 2*time.Minute))
	failing := deploymentOf("web", 3, 1)
	if d, ok := failing[0].(*appsv1.Deployment); ok {
		d.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentReplicaFailure,
			Status: corev1.ConditionTrue, Message: quota[len("Error creating: "):]}}
	}
	agents := &appsv1.DaemonSet{}
	agents.ObjectMeta, agents.Spec.Template, agents.Spec.Selector = named("agents")
	job := func(change func(*batchv1.Job)) *batchv1.Job {
		j := &batchv1.Job{}
		j.ObjectMeta, j.Spec.Template, j.Spec.Selector = named("load")
		change(j)
		return j
	}
	yes, two := true, int32(2)
	for name, c := range map[string]struct {
		objects []runtime.Object
		q       cluster.Query
		want    []*pods.Facts
	}{
		"of a namespace": {web, cluster.Query{}, []*pods.Facts{lacking("deploy/web", exceeded)}},
		"of a workload": {web, cluster.Query{Names: []string{"deploy/web"}},
			[]*pods.Facts{lacking("deploy/web", exceeded)}},
		"of another workload": {append(deploymentOf("db", 1, 1), web...),
			cluster.Query{Names: []string{"deploy/db"}}, nil},
		"by labels": {web, cluster.Query{Selector: labels.SelectorFromSet(labels.Set{"app": "web"})},
			[]*pods.Facts{lacking("deploy/web", exceeded)}},
		"by other labels": {web, cluster.Query{Selector: labels.SelectorFromSet(labels.Set{"app": "db"})}, nil},
		"of a node": {append([]runtime.Object{&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}}, web...),
			cluster.Query{Node: "n1"}, nil},
		"what is excluded":   {web, cluster.Query{Exclude: []labels.Set{{"app": "web"}}}, nil},
		"there are pods now": {append(deploymentOf("web", 3, 3), web[2]), cluster.Query{}, nil},
		"long ago": {append(deploymentOf("web", 3, 1), failedToCreate("ReplicaSet", "web-1", quota, time.Hour)),
			cluster.Query{}, nil},
		"by the status alone": {failing, cluster.Query{Names: []string{"deploy/web"}},
			[]*pods.Facts{lacking("deploy/web", exceeded)}},
		"deleted since": {[]runtime.Object{failedToCreate("ReplicaSet", "web-1", quota, time.Minute)},
			cluster.Query{}, nil},
		"scaled to 0": {deploymentOf("web", 0, 0), cluster.Query{Names: []string{"deploy/web"}},
			[]*pods.Facts{lacking("deploy/web", "it is scaled to 0 replicas")}},
		"scaled to 0 and not named": {deploymentOf("web", 0, 0), cluster.Query{}, nil},
		"on no node": {[]runtime.Object{agents}, cluster.Query{Names: []string{"ds/agents"}},
			[]*pods.Facts{lacking("ds/agents", "no node matches its node selector, affinity and tolerations")}},
		"suspended": {[]runtime.Object{job(func(j *batchv1.Job) { j.Spec.Suspend = &yes })},
			cluster.Query{Names: []string{"job/load"}}, []*pods.Facts{lacking("job/load", "it is suspended")}},
		"of a job": {[]runtime.Object{failedToCreate("Job", "load", quota, time.Minute), job(func(j *batchv1.Job) {
			j.Spec.Parallelism, j.Spec.Completions, j.Status.Succeeded = &two, &two, 1
		})}, cluster.Query{Names: []string{"job/load"}}, []*pods.Facts{lacking("job/load",
			`1 of 1 pods cannot be created: pods "web-1-x" is forbidden: exceeded quota: small`)}},
		"of a job that is done": {[]runtime.Object{failedToCreate("Job", "load", quota, time.Minute),
			job(func(j *batchv1.Job) { at := ago(time.Second); j.Status.CompletionTime = &at })},
			cluster.Query{Names: []string{"job/load"}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			c.q.Namespace = "shop"
			got, err := Read(t.Context(), kubefake.New(c.objects...), c.q, now)
			if err != nil || !reflect.DeepEqual(got, c.want) {
				t.Errorf("%v, %v\nwant %v", got, err, c.want)
			}
		})
	}
	t.Run("without rights", func(t *testing.T) {
		client := kubefake.New(web...)
		forbid(client, "get", "replicasets")
		if got, err := Read(t.Context(), client, cluster.Query{Namespace: "shop"}, now); err != nil || len(got) > 0 {
			t.Errorf("%v, %v", got, err)
		}
		forbid(client, "list", "events")
		if got, err := Read(t.Context(), client, cluster.Query{Namespace: "shop"}, now); err != nil || len(got) > 0 {
			t.Errorf("%v, %v", got, err)
		}
	})
}

func TestEndpoints_NameTheWorkload(t *testing.T) {
	service := func(name, app string) *corev1.Service {
		return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name},
			Spec: corev1.ServiceSpec{Selector: map[string]string{"app": app}}}
	}
	slice := func(name string) *discoveryv1.EndpointSlice {
		return &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name,
			Labels: map[string]string{discoveryv1.LabelServiceName: name}}}
	}
	db := &appsv1.StatefulSet{}
	db.ObjectMeta, db.Spec.Template, db.Spec.Selector = named("db")
	objects := append(deploymentOf("web", 0, 0), db, service("web", "web"), service("front", "web"),
		service("db", "db"), service("gone", "gone"), slice("web"), slice("front"), slice("db"), slice("gone"))
	names := func(client *kubefake.Client) map[string]string {
		got := map[string]string{}
		for _, name := range []string{"web", "front", "db", "gone", "nosuch"} {
			err := Endpoints(t.Context(), client, []pods.Service{{Namespace: "shop", Name: name}},
				func(s pods.Service, e pods.Endpoints) { got[s.Name] = e.NotReady })
			if err != nil {
				t.Fatal(err)
			}
		}
		return got
	}
	client := kubefake.New(objects...)
	want := map[string]string{"web": "deploy/web", "front": "deploy/web", "db": "sts/db", "gone": "", "nosuch": ""}
	if got := names(client); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	// The minimal Role has no right to list them, but to get each.
	forbid(client, "list", "deployments")
	forbid(client, "list", "statefulsets")
	want["front"] = ""
	if got := names(client); !reflect.DeepEqual(got, want) {
		t.Errorf("without the right to list: got %v, want %v", got, want)
	}
}
