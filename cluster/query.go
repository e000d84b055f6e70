package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/orb8-dev/kubectl-orb8/cluster/targets"
	"github.com/orb8-dev/kubectl-orb8/internal/kube"
)

// Query selects the pods to observe. A pod must match all of its fields.
type Query struct {
	// Namespace of the pods; ignored with AllNamespaces.
	Namespace     string
	AllNamespaces bool
	// Selector is a label selector, nil for every pod.
	Selector labels.Selector
	// Names are pods ("web-0", "pod/web-0") and workloads ("deploy/web"); empty for every pod of the namespace.
	Names []string
	// Container restricts to the containers of this name.
	Container string
	// Node restricts to the pods of this node.
	Node string
	// AllNodes makes every node a target, also a node without pods, for events of nodes. Without the right to list
	// nodes, only nodes with pods are traced.
	AllNodes bool
	// Exclude are the labels of pods that are targets only if Names contains them: those that have all labels of one of
	// the sets.
	Exclude []labels.Set
}

// String describes the query for messages to the user.
func (q *Query) String() string {
	var parts []string
	if len(q.Names) > 0 {
		parts = append(parts, strings.Join(q.Names, " "))
	} else {
		parts = append(parts, "pods")
	}
	if q.Selector != nil {
		parts = append(parts, "with labels "+q.Selector.String())
	}
	if q.Container != "" {
		parts = append(parts, "with a container "+strconv.Quote(q.Container))
	}
	if q.AllNamespaces {
		parts = append(parts, "in any namespace")
	} else {
		parts = append(parts, "in namespace "+strconv.Quote(q.Namespace))
	}
	if q.Node != "" {
		parts = append(parts, "on node "+strconv.Quote(q.Node))
	}
	return strings.Join(parts, " ")
}

// NotFoundError reports an object that the query names and that does not exist.
type NotFoundError struct {
	// Kind is the singular resource: "pod", "deployment", "namespace", "node".
	Kind, Namespace, Name string
	// Hint is a command that lists the existing objects.
	Hint string
}

func (e *NotFoundError) Error() string {
	where := ""
	if e.Namespace != "" {
		where = fmt.Sprintf(" in namespace %q", e.Namespace)
	}
	return fmt.Sprintf("%s %q not found%s: see %s", e.Kind, e.Name, where, e.Hint)
}

// ForbiddenError reports a missing permission.
type ForbiddenError struct {
	Verb, Resource string
	// Namespace of the request; empty for the whole cluster.
	Namespace string
	Err       error
}

func (e *ForbiddenError) Error() string {
	where := "in the whole cluster"
	if e.Namespace != "" {
		where = fmt.Sprintf("in namespace %q", e.Namespace)
	}
	return fmt.Sprintf("forbidden: may not %s %s %s", e.Verb, e.Resource, where)
}

func (e *ForbiddenError) Unwrap() error { return e.Err }

// BadTargetError reports an argument that cannot be resolved to pods.
type BadTargetError struct{ Arg, Want string }

func (e *BadTargetError) Error() string {
	return fmt.Sprintf("target %q: want %s", e.Arg, e.Want)
}

// matcher decides which pods are targets. Workload selectors are read once: a workload whose selector changes is a new
// workload to Kubernetes too, since selectors are immutable.
type matcher struct {
	query   Query
	exclude []labels.Selector

	resolving sync.Mutex // guards what follows until resolve returns
	podNames  []string
	selectors []workloadSelector
	cronJobs  []*cronJobPods
}

type workloadSelector struct {
	namespace string
	selector  labels.Selector
}

func (m *matcher) match(pod *corev1.Pod) bool {
	return m.matchPod(pod) &&
		(m.query.Container == "" || slices.Contains(targets.ContainerNames(pod), m.query.Container))
}

// matchPod is match without the container.
func (m *matcher) matchPod(pod *corev1.Pod) bool {
	q := &m.query
	if !q.AllNamespaces && pod.Namespace != q.Namespace {
		return false
	}
	if q.Node != "" && pod.Spec.NodeName != q.Node {
		return false
	}
	if q.Selector != nil && !q.Selector.Matches(labels.Set(pod.Labels)) {
		return false
	}
	if len(q.Names) == 0 {
		// Tracers and agents, also those of other sessions, would trace each other. A user who wants that names one.
		return !slices.ContainsFunc(m.exclude, func(s labels.Selector) bool {
			return s.Matches(labels.Set(pod.Labels))
		})
	}
	if slices.Contains(m.podNames, pod.Name) {
		return true
	}
	if slices.ContainsFunc(m.selectors, func(s workloadSelector) bool {
		return s.namespace == pod.Namespace && s.selector.Matches(labels.Set(pod.Labels))
	}) {
		return true
	}
	return slices.ContainsFunc(m.cronJobs, func(c *cronJobPods) bool { return c.match(pod) })
}

// newMatcher returns the matcher of a query, which is complete after resolve. It fails for names that mean nothing.
func newMatcher(q Query) (*matcher, error) {
	m := &matcher{query: q}
	for _, set := range q.Exclude {
		m.exclude = append(m.exclude, set.AsSelector())
	}
	if len(q.Names) > 0 && q.AllNamespaces {
		return nil, &BadTargetError{Arg: q.Names[0],
			Want: "no names together with --all-namespaces: a name means one object of one namespace"}
	}
	for _, arg := range q.Names {
		if _, name := kindAndName(arg); name == "" || strings.Contains(name, "/") {
			return nil, &BadTargetError{Arg: arg, Want: "POD or KIND/NAME"}
		}
	}
	return m, nil
}

// kindAndName splits a name of a query.
func kindAndName(arg string) (kind, name string) {
	kind, name, slash := strings.Cut(arg, "/")
	if !slash {
		return "pod", arg
	}
	return strings.ToLower(kind), name
}

// resolve checks that the objects in the query exist, with one request per name, all at once. Of several errors it
// returns the first in the order of the query.
func (m *matcher) resolve(ctx context.Context, client kube.Interface) error {
	if node := m.query.Node; node != "" {
		if _, err := client.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{}); apierrors.IsNotFound(err) {
			return &NotFoundError{Kind: "node", Name: node, Hint: "kubectl get nodes"}
		} else if err != nil && !apierrors.IsForbidden(err) {
			// A user without the right to read nodes may still name one. A wrong name then matches no pods, and the
			// caller reports that.
			return fmt.Errorf("look up node %q: %w", node, err)
		}
	}
	errs := make([]error, len(m.query.Names))
	var lookups errgroup.Group
	lookups.SetLimit(parallelLookups)
	for i, arg := range m.query.Names {
		lookups.Go(func() error {
			kind, name := kindAndName(arg)
			errs[i] = m.add(ctx, client, arg, kind, name)
			return nil
		})
	}
	_ = lookups.Wait() // has no error
	return cmp.Or(errs...)
}

// parallelLookups is how many names are looked up at once.
const parallelLookups = 8

// extend adds to what is selected.
func (m *matcher) extend(add func()) {
	m.resolving.Lock()
	defer m.resolving.Unlock()
	add()
}

func (m *matcher) add(ctx context.Context, client kube.Interface, arg, kind, name string) error {
	ns := m.query.Namespace
	if isPod(kind) {
		_, err := client.CoreV1().Pods(ns).Get(ctx, name, metav1.GetOptions{})
		m.extend(func() { m.podNames = append(m.podNames, name) })
		return m.lookupError(ctx, client, err, "pod", "pods", name)
	}
	w, ok := workloadKind(kind)
	if !ok {
		return &BadTargetError{Arg: arg, Want: "a pod's name, or one of " + strings.Join(knownKinds(), ", ")}
	}
	if w.owner != nil {
		uid, err := w.owner(ctx, client, ns, name)
		if err != nil {
			return m.lookupError(ctx, client, err, w.kind, w.plural, name)
		}
		m.extend(func() { m.cronJobs = append(m.cronJobs, newCronJobPods(client, ns, name, uid)) })
		return nil
	}
	ls, err := w.selector(ctx, client, ns, name)
	if bad := (*BadTargetError)(nil); errors.As(err, &bad) {
		bad.Arg = arg
		return bad
	}
	if err != nil {
		return m.lookupError(ctx, client, err, w.kind, w.plural, name)
	}
	selector, err := metav1.LabelSelectorAsSelector(ls)
	if err != nil {
		return fmt.Errorf("selector of %s: %w", arg, err)
	}
	m.extend(func() { m.selectors = append(m.selectors, workloadSelector{namespace: ns, selector: selector}) })
	return nil
}

func (m *matcher) lookupError(
	ctx context.Context, client kube.Interface, err error, kind, resource, name string,
) error {
	ns := m.query.Namespace
	switch {
	case err == nil:
		return nil
	case apierrors.IsForbidden(err):
		return &ForbiddenError{Verb: "get", Resource: resource, Namespace: ns, Err: err}
	case apierrors.IsNotFound(err):
		if err := namespaceExists(ctx, client, ns); err != nil {
			return err
		}
		return &NotFoundError{Kind: kind, Namespace: ns, Name: name, Hint: fmt.Sprintf("kubectl get %s -n %s", resource,
			ns)}
	}
	return fmt.Errorf("look up %s %s/%s: %w", kind, ns, name, err)
}

// namespaceExists distinguishes a missing namespace from an empty one. If the user may not read namespaces, it returns
// nil.
func namespaceExists(ctx context.Context, client kube.Interface, ns string) error {
	_, err := client.CoreV1().Namespaces().Get(ctx, ns, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return &NotFoundError{Kind: "namespace", Name: ns, Hint: "kubectl get namespaces"}
	}
	return nil
}
