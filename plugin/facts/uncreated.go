package facts

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	"github.com/orb8-dev/kubectl-orb8/cluster"
	"github.com/orb8-dev/kubectl-orb8/cluster/targets"
	"github.com/orb8-dev/kubectl-orb8/internal/kube"
	"github.com/orb8-dev/kubectl-orb8/plugin/why/pods"
)

const (
	// failedCreate is the reason of events about controllers that cannot create a pod (controller_utils.go).
	failedCreate = "FailedCreate"
	// retried is how old the last report of a failed creation may be: controllers retry after 1,000 s at the latest
	// (client-go, DefaultTypedControllerRateLimiter).
	retried = 20 * time.Minute
	// maxControllers bounds the requests for controllers.
	maxControllers = 32
	// parallelReads is how many of these are made at once.
	parallelReads = 8
)

// controller is an object that creates pods: how many it wants, how many there are, and what they look like.
type controller struct {
	want, have int32
	kind       string
	meta       *metav1.ObjectMeta
	labels     map[string]string // of the pods
	// failure is why it cannot create one, as its status says; unwanted is why it wants no pods, where it does not.
	failure, unwanted string
}

// pod is one that the controller would create.
func (c *controller) pod() *corev1.Pod {
	yes := true
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: c.meta.Namespace, Labels: c.labels,
		OwnerReferences: []metav1.OwnerReference{{Kind: c.kind, Name: c.meta.Name, UID: c.meta.UID, Controller: &yes}}}}
}

// workload is the workload of its pods, as events have it.
func (c *controller) workload() string {
	if c.kind == "Deployment" {
		return "deploy/" + c.meta.Name
	}
	return targets.Workload(c.pod())
}

// facts are those of a workload without a pod.
func (c *controller) facts(why string) *pods.Facts {
	return &pods.Facts{Namespace: c.meta.Namespace, Workload: c.workload(), Old: true, NotStarted: why}
}

// missing says how many pods there are not, and why.
func (c *controller) missing(message string) string {
	return fmt.Sprintf("%d of %d pods cannot be created: %s", c.want-c.have, c.want,
		strings.TrimPrefix(message, "Error creating: "))
}

// uncreated returns facts about the workloads of a query whose pods Kubernetes fails to create, as a quota or an
// admission webhook makes it, and about named workloads that want no pods. It leaves out what the user may not read.
func uncreated(
	ctx context.Context, client kube.Interface, q cluster.Query, matches func(*corev1.Pod) bool, now time.Time,
) (all []*pods.Facts, err error) {
	if q.Node != "" || q.Container != "" {
		return nil, nil // a pod that does not exist has neither
	}
	known := map[string]bool{}
	add := func(c *controller, why string) {
		if f := c.facts(why); !known[f.Namespace+"/"+f.Workload] {
			known[f.Namespace+"/"+f.Workload] = true
			all = append(all, f)
		}
	}
	failed, err := failedCreations(ctx, client, q, now)
	if err != nil {
		return nil, err
	}
	failed = failed[:min(len(failed), maxControllers)]
	controllers := make([]*controller, len(failed))
	var reads errgroup.Group
	reads.SetLimit(parallelReads)
	for i, e := range failed {
		reads.Go(func() (err error) {
			of := &e.InvolvedObject
			controllers[i], err = controllerOf(ctx, client, of.Kind, of.Namespace, of.Name)
			return err
		})
	}
	if err := reads.Wait(); err != nil {
		return nil, err
	}
	for i, c := range controllers {
		if c != nil && c.have < c.want && matches(c.pod()) {
			add(c, c.missing(failed[i].Message))
		}
	}
	for _, target := range q.Names[:min(len(q.Names), maxControllers)] {
		kind, name, _ := strings.Cut(target, "/")
		resource, ok := cluster.TargetResource(kind)
		if !ok || name == "" {
			continue
		}
		c, err := controllerOf(ctx, client, kindOf[resource.Resource], q.Namespace, name)
		switch {
		case err != nil:
			return nil, err
		case c == nil:
		case c.want == 0 && c.have == 0 && c.unwanted != "":
			add(c, c.unwanted)
		case c.have < c.want && c.failure != "":
			add(c, c.missing(c.failure))
		}
	}
	return all, nil
}

// failedCreations returns the last report about each controller that failed to create a pod.
func failedCreations(
	ctx context.Context, client kube.Interface, q cluster.Query, now time.Time,
) ([]*corev1.Event, error) {
	namespace := q.Namespace
	if q.AllNamespaces {
		namespace = metav1.NamespaceAll
	}
	list, err := client.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("reason", failedCreate).String(), Limit: maxEvents,
	})
	if apierrors.IsForbidden(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list events: %w", err)
	}
	last := map[corev1.ObjectReference]*corev1.Event{}
	for i := range list.Items {
		e := &list.Items[i]
		of := corev1.ObjectReference{Kind: e.InvolvedObject.Kind, Namespace: e.InvolvedObject.Namespace,
			Name: e.InvolvedObject.Name}
		if e.Reason == failedCreate && now.Sub(lastTime(e)) < retried &&
			(last[of] == nil || lastTime(e).After(lastTime(last[of]))) {
			last[of] = e
		}
	}
	var all []*corev1.Event
	for _, e := range last {
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b *corev1.Event) int {
		return cmp.Or(lastTime(b).Compare(lastTime(a)), cmp.Compare(a.InvolvedObject.Name, b.InvolvedObject.Name))
	})
	return all, nil
}

// kindOf are the kinds of the resources that create pods.
var kindOf = map[string]string{"deployments": "Deployment", "statefulsets": "StatefulSet", "daemonsets": "DaemonSet",
	"replicasets": "ReplicaSet", "replicationcontrollers": "ReplicationController", "jobs": "Job"}

// controllerOf reads a controller; nil where its kind creates no pods, where it is done or deleted, or where the user
// may not read it.
func controllerOf(ctx context.Context, client kube.Interface, kind, namespace, name string) (*controller, error) {
	read := readers[kind]
	if read == nil {
		return nil, nil
	}
	c := &controller{kind: kind}
	switch err := read(ctx, client, namespace, name, c); {
	case apierrors.IsNotFound(err), apierrors.IsForbidden(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("get %s %s/%s: %w", kind, namespace, name, err)
	case c.meta == nil || c.meta.DeletionTimestamp != nil:
		return nil, nil
	}
	return c, nil
}

// readers read the kinds of controllers. They leave meta nil where the object needs no pods any more.
var readers = map[string]func(ctx context.Context, client kube.Interface, namespace, name string, c *controller) error{
	"Deployment": func(ctx context.Context, client kube.Interface, namespace, name string, c *controller) error {
		o, err := client.AppsV1().Deployments(namespace).Get(ctx, name, metav1.GetOptions{})
		if err == nil {
			c.set(&o.ObjectMeta, o.Spec.Replicas, o.Status.Replicas, &o.Spec.Template)
			for _, condition := range o.Status.Conditions {
				if condition.Type == appsv1.DeploymentReplicaFailure && condition.Status == corev1.ConditionTrue {
					c.failure = condition.Message
				}
			}
		}
		return err
	},
	"ReplicaSet": func(ctx context.Context, client kube.Interface, namespace, name string, c *controller) error {
		o, err := client.AppsV1().ReplicaSets(namespace).Get(ctx, name, metav1.GetOptions{})
		if err == nil {
			c.set(&o.ObjectMeta, o.Spec.Replicas, o.Status.Replicas, &o.Spec.Template)
		}
		return err
	},
	"StatefulSet": func(ctx context.Context, client kube.Interface, namespace, name string, c *controller) error {
		o, err := client.AppsV1().StatefulSets(namespace).Get(ctx, name, metav1.GetOptions{})
		if err == nil {
			c.set(&o.ObjectMeta, o.Spec.Replicas, o.Status.Replicas, &o.Spec.Template)
		}
		return err
	},
	"ReplicationController": func(
		ctx context.Context, client kube.Interface, namespace, name string, c *controller,
	) error {
		o, err := client.CoreV1().ReplicationControllers(namespace).Get(ctx, name, metav1.GetOptions{})
		if err == nil {
			c.set(&o.ObjectMeta, o.Spec.Replicas, o.Status.Replicas, o.Spec.Template)
		}
		return err
	},
	"DaemonSet": func(ctx context.Context, client kube.Interface, namespace, name string, c *controller) error {
		o, err := client.AppsV1().DaemonSets(namespace).Get(ctx, name, metav1.GetOptions{})
		if err == nil {
			c.set(&o.ObjectMeta, &o.Status.DesiredNumberScheduled, o.Status.CurrentNumberScheduled, &o.Spec.Template)
			c.unwanted = "no node matches its node selector, affinity and tolerations"
		}
		return err
	},
	"Job": func(ctx context.Context, client kube.Interface, namespace, name string, c *controller) error {
		o, err := client.BatchV1().Jobs(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil || o.Status.CompletionTime != nil || jobFailed(o) {
			return err
		}
		c.set(&o.ObjectMeta, o.Spec.Parallelism, o.Status.Active, &o.Spec.Template)
		if o.Spec.Completions != nil {
			c.want = min(c.want, *o.Spec.Completions-o.Status.Succeeded)
		}
		if o.Spec.Suspend != nil && *o.Spec.Suspend {
			c.want, c.unwanted = 0, "it is suspended"
		}
		return nil
	},
}

// set sets how many pods a controller wants, by default one, and has.
func (c *controller) set(meta *metav1.ObjectMeta, want *int32, have int32, template *corev1.PodTemplateSpec) {
	c.meta, c.want, c.have, c.unwanted = meta, 1, have, "it is scaled to 0 replicas"
	if want != nil {
		c.want = *want
	}
	if template != nil {
		c.labels = template.Labels
	}
}

func jobFailed(o *batchv1.Job) bool {
	for _, condition := range o.Status.Conditions {
		if condition.Type == batchv1.JobFailed && condition.Status == corev1.ConditionTrue {
			return true
		}
	}
	return false
}
