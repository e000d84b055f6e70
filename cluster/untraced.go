package cluster

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	"github.com/orb8-dev/kubectl-orb8/cluster/targets"
	"github.com/orb8-dev/kubectl-orb8/internal/kube"
)

// Untraced explains why pods that match the query are not targets.
type Untraced struct {
	// Reasons are sentences, one per line; none if no pod matches.
	Reasons []string
	// Final: waiting does not help, since the named objects cannot become targets.
	Final bool
}

const (
	// maxExamined limits the number of examined pods.
	maxExamined = 500
	// maxNamed limits the pods or containers that a reason names.
	maxNamed = 5
)

// Untraced examines the pods that match the query, with one request to the API server. It returns no reasons if that
// fails.
func (c *Cluster) Untraced(ctx context.Context) Untraced {
	q := &c.matcher.query
	// The watch has just listed the same pods, and reports its own errors.
	pods, err := c.matcher.list(ctx, c.client)
	if err != nil {
		return Untraced{}
	}
	u := untracedPods{container: q.Container, containers: map[string]bool{}}
	for _, pod := range pods {
		u.add(pod)
	}
	return Untraced{Reasons: u.reasons(), Final: len(q.Names) > 0 && u.final(len(c.matcher.podNames), len(q.Names))}
}

// list lists the pods that match but for the container, of the first maxExamined, with one request.
func (m *matcher) list(ctx context.Context, client kube.Interface) ([]*corev1.Pod, error) {
	options := metav1.ListOptions{Limit: maxExamined}
	if m.query.Selector != nil {
		options.LabelSelector = m.query.Selector.String()
	}
	if m.query.Node != "" {
		options.FieldSelector = fields.OneTermEqualSelector("spec.nodeName", m.query.Node).String()
	}
	namespace := m.query.Namespace
	if m.query.AllNamespaces {
		namespace = metav1.NamespaceAll
	}
	all, err := client.CoreV1().Pods(namespace).List(ctx, options)
	if err != nil {
		return nil, err
	}
	var matching []*corev1.Pod
	for i := range all.Items {
		if pod := &all.Items[i]; m.matchPod(pod) {
			matching = append(matching, pod)
		}
	}
	return matching, nil
}

// Matching lists the pods that match a query now, whether they can be observed or not; at most 500. matches reports
// whether another pod would match. The error is one of this package where a name of the query does not exist.
func Matching(ctx context.Context, client kube.Interface, q Query) (
	pods []*corev1.Pod, matches func(*corev1.Pod) bool, err error,
) {
	m, err := newMatcher(q)
	if err != nil {
		return nil, nil, err
	}
	if err := m.resolve(ctx, client); err != nil {
		return nil, nil, err
	}
	if pods, err = m.list(ctx, client); err != nil {
		return nil, nil, fmt.Errorf("list pods: %w", err)
	}
	return pods, m.matchPod, nil
}

// untracedPods groups pods by the reason why they are not targets.
type untracedPods struct {
	container  string
	without    []string        // pods without the container
	containers map[string]bool // containers of those pods
	ended      []string
	renewed    int // ended pods whose controller recreates them with the same name
	waiting    []string
	others     int // pods that have become targets meanwhile
}

func (u *untracedPods) add(pod *corev1.Pod) {
	switch {
	case targets.Finished(pod):
		u.ended = append(u.ended, fmt.Sprintf("%s (%s)", pod.Name, pod.Status.Phase))
		if owner := metav1.GetControllerOf(pod); owner != nil && owner.Kind == "StatefulSet" {
			u.renewed++
		}
	case u.container != "" && !slices.Contains(targets.ContainerNames(pod), u.container):
		u.without = append(u.without, pod.Name)
		for _, name := range targets.ContainerNames(pod) {
			u.containers[name] = true
		}
	case pod.Spec.NodeName == "":
		u.waiting = append(u.waiting, pod.Name+unscheduled(pod))
	default:
		u.others++
	}
}

func (u *untracedPods) reasons() (all []string) {
	if n := len(u.without); n > 0 {
		all = append(all, fmt.Sprintf("no container %q in %s: there %s %s", u.container, list("pod", u.without),
			map[bool]string{true: "is", false: "are"}[len(u.containers) == 1],
			listNames(slices.Sorted(maps.Keys(u.containers)))))
	}
	if n := len(u.ended); n > 0 {
		all = append(all, fmt.Sprintf("%s %s ended: nothing runs in %s that could be traced", list("pod", u.ended),
			map[bool]string{true: "has", false: "have"}[n == 1], map[bool]string{true: "it", false: "them"}[n == 1]))
	}
	if n := len(u.waiting); n > 0 {
		all = append(all, fmt.Sprintf("%s %s pending", list("pod", u.waiting),
			map[bool]string{true: "is", false: "are"}[n == 1]))
	}
	return all
}

// final reports whether none of the named objects can become a target: all pods lack the container, or all names are
// pods, and each has ended for good or lacks the container.
func (u *untracedPods) final(pods, names int) bool {
	if u.others > 0 || len(u.waiting) > 0 {
		return false
	}
	if len(u.ended) == 0 {
		return len(u.without) > 0
	}
	return u.renewed == 0 && pods == names && len(u.ended)+len(u.without) == pods
}

// list formats a noun and at most maxNamed names: "pod a", "pods a, b and 3 more".
func list(noun string, names []string) string {
	if len(names) != 1 {
		noun += "s"
	}
	return noun + " " + listNames(names)
}

func listNames(names []string) string {
	if more := len(names) - maxNamed; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:maxNamed], ", "), more)
	}
	return strings.Join(names, ", ")
}

// unscheduled returns the scheduler's reason for a pending pod in parentheses, or "".
func unscheduled(pod *corev1.Pod) string {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Message != "" {
			return " (" + strings.TrimSuffix(c.Message, ".") + ")"
		}
	}
	return ""
}
