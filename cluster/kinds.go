package cluster

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/orb8-dev/kubectl-orb8/internal/kube"
)

// workload is a kind of object with pods that a user may write before the slash: the kinds that kubectl logs accepts,
// and CronJobs.
type workload struct {
	kind, plural, short, group string
	// selector reads the selector of an object's pods. A *BadTargetError is the reason why it has none.
	selector func(ctx context.Context, c kube.Interface, namespace, name string) (*metav1.LabelSelector, error)
	// owner, if not nil, replaces selector: the object has no selector, and owns the owners of the pods.
	owner func(ctx context.Context, c kube.Interface, namespace, name string) (types.UID, error)
}

var workloads = []workload{
	{kind: "deployment", plural: "deployments", short: "deploy", group: "apps", selector: deploymentSelector},
	{kind: "statefulset", plural: "statefulsets", short: "sts", group: "apps", selector: statefulSetSelector},
	{kind: "daemonset", plural: "daemonsets", short: "ds", group: "apps", selector: daemonSetSelector},
	{kind: "replicaset", plural: "replicasets", short: "rs", group: "apps", selector: replicaSetSelector},
	{kind: "replicationcontroller", plural: "replicationcontrollers", short: "rc",
		selector: replicationControllerSelector},
	{kind: "job", plural: "jobs", short: "job", group: "batch", selector: jobSelector},
	{kind: "cronjob", plural: "cronjobs", short: "cj", group: "batch", owner: cronJobUID},
	{kind: "service", plural: "services", short: "svc", selector: serviceSelector},
}

// workloadKind finds the kind that a user means by NAME, RESOURCE.GROUP or RESOURCE.VERSION.GROUP, in lower case.
func workloadKind(typed string) (*workload, bool) {
	name, rest, qualified := strings.Cut(typed, ".")
	for i := range workloads {
		w := &workloads[i]
		if name != w.kind && name != w.plural && name != w.short {
			continue
		}
		if !qualified || rest == w.group || rest == "v1."+w.group || w.group == "" && rest == "v1" {
			return w, true
		}
	}
	return nil, false
}

// knownKinds returns the accepted forms of a target, for errors.
func knownKinds() (names []string) {
	for _, w := range workloads {
		names = append(names, w.short+"/NAME")
	}
	return names
}

// TargetKinds returns the kinds that a target may have, each with its slash: "deploy/". Those of the past are fewer,
// see ParseName.
func TargetKinds(past bool) (kinds []string) {
	for i := range workloads {
		if w := &workloads[i]; !past || w.ownsPods() {
			kinds = append(kinds, w.short+"/")
		}
	}
	return append(kinds, "pod/")
}

// ownsPods reports whether events name the kind as the workload of pods.
func (w *workload) ownsPods() bool { return w.kind != "service" && w.kind != "cronjob" }

// TargetResource returns the resource of a target's kind as users write it before the slash.
func TargetResource(kind string) (schema.GroupVersionResource, bool) {
	kind = strings.ToLower(kind)
	if isPod(kind) {
		return corev1.SchemeGroupVersion.WithResource("pods"), true
	}
	w, ok := workloadKind(kind)
	if !ok {
		return schema.GroupVersionResource{}, false
	}
	return schema.GroupVersionResource{Group: w.group, Version: "v1", Resource: w.plural}, true
}

// isPod reports whether a target's kind, in lower case, is that of pods.
func isPod(kind string) bool { return kind == "pod" || kind == "pods" || kind == "po" }

func deploymentSelector(ctx context.Context, c kube.Interface, ns, name string) (*metav1.LabelSelector, error) {
	o, err := c.AppsV1().Deployments(ns).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	return o.Spec.Selector, nil
}

func statefulSetSelector(ctx context.Context, c kube.Interface, ns, name string) (*metav1.LabelSelector, error) {
	o, err := c.AppsV1().StatefulSets(ns).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	return o.Spec.Selector, nil
}

func daemonSetSelector(ctx context.Context, c kube.Interface, ns, name string) (*metav1.LabelSelector, error) {
	o, err := c.AppsV1().DaemonSets(ns).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	return o.Spec.Selector, nil
}

func replicaSetSelector(ctx context.Context, c kube.Interface, ns, name string) (*metav1.LabelSelector, error) {
	o, err := c.AppsV1().ReplicaSets(ns).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	return o.Spec.Selector, nil
}

func replicationControllerSelector(
	ctx context.Context, c kube.Interface, ns, name string,
) (*metav1.LabelSelector, error) {
	o, err := c.CoreV1().ReplicationControllers(ns).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	return &metav1.LabelSelector{MatchLabels: o.Spec.Selector}, nil
}

func jobSelector(ctx context.Context, c kube.Interface, ns, name string) (*metav1.LabelSelector, error) {
	o, err := c.BatchV1().Jobs(ns).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	return o.Spec.Selector, nil
}

func serviceSelector(ctx context.Context, c kube.Interface, ns, name string) (*metav1.LabelSelector, error) {
	o, err := c.CoreV1().Services(ns).Get(ctx, name, metav1.GetOptions{})
	switch {
	case err != nil:
		return nil, err
	case o.Spec.Type == corev1.ServiceTypeExternalName:
		return nil, &BadTargetError{
			Want: fmt.Sprintf("a Service with pods: this one is of type ExternalName, a CNAME for %q; "+
				"trace the pods that use it, their queries by: kubectl orb8 trace dns", o.Spec.ExternalName)}
	case len(o.Spec.Selector) == 0:
		return nil, &BadTargetError{Want: "a Service with a selector: this one's endpoints are set by hand"}
	}
	return &metav1.LabelSelector{MatchLabels: o.Spec.Selector}, nil
}

func cronJobUID(ctx context.Context, c kube.Interface, ns, name string) (types.UID, error) {
	o, err := c.BatchV1().CronJobs(ns).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	return o.UID, nil
}

// ParseName reads a target as users write it: POD, pod/POD or KIND/NAME. It returns either the pod, or the workload as
// events have it: "deploy/web". Services and kinds that own no pods are refused.
func ParseName(target string) (workload, pod string, err error) {
	kind, name, slash := strings.Cut(target, "/")
	if !slash {
		kind, name = "pod", target
	}
	kind = strings.ToLower(kind)
	if name == "" || strings.Contains(name, "/") || len(target) > maxTarget {
		return "", "", &BadTargetError{Arg: target, Want: "POD or KIND/NAME"}
	}
	if isPod(kind) {
		return "", name, nil
	}
	w, ok := workloadKind(kind)
	if !ok || !w.ownsPods() {
		return "", "", &BadTargetError{Arg: target, Want: "a pod's name, or deploy/, sts/, ds/, rs/, rc/ or job/NAME"}
	}
	if short, renamed := workloadNames[w.kind]; renamed {
		return short + "/" + name, "", nil
	}
	return w.kind + "/" + name, "", nil
}

// maxTarget limits a target, bytes: a kind with its group, and a name.
const maxTarget = 512

// workloadNames are the kinds that events name by a short name, as workloadOf does.
var workloadNames = map[string]string{"deployment": "deploy", "statefulset": "sts", "daemonset": "ds",
	"replicaset": "rs"}
