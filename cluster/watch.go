package cluster

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"github.com/orb8-dev/kubectl-orb8/cluster/targets"
	"github.com/orb8-dev/kubectl-orb8/internal/kube"
)

// Options of a Cluster.
type Options struct {
	// Note receives messages for the user, one line each; nil drops them. Any goroutine may call it.
	Note func(string)
}

// Cluster watches targets and names. It implements collect.Namer.
type Cluster struct {
	targets *targets.Set
	names   *names
	client  kube.Interface
	matcher *matcher
	note    func(string)

	watches sync.WaitGroup
	stop    context.CancelFunc
	nodes   knownNodes
}

// Open resolves the query, and returns after the first list of targets. The watches run until Close. Errors that the
// user can fix are *NotFoundError, *ForbiddenError and *BadTargetError.
func Open(ctx context.Context, client kube.Interface, q Query, o Options) (*Cluster, error) {
	m, err := newMatcher(q)
	if err != nil {
		return nil, err
	}
	if o.Note == nil {
		o.Note = func(string) {}
	}
	c := &Cluster{
		targets: targets.New(m.match, q.Container), names: newNames(time.Now), client: client, matcher: m, note: o.Note,
		nodes: newKnownNodes(),
	}
	if q.AllNodes {
		// Before the watches, which bring nodes in any order.
		if err := c.addNodes(ctx); err != nil {
			return nil, err
		}
	}
	// The watches outlive this call; its context only bounds the wait for the first list.
	watching, stop := context.WithCancel(context.WithoutCancel(ctx))
	c.stop = stop

	namespace := q.Namespace
	if q.AllNamespaces {
		namespace = metav1.NamespaceAll
	}
	// With all namespaces one watch of pods serves targets and names. It has no filter; the matcher selects.
	shared := q.AllNamespaces
	refused := make(chan error, 1)
	// The names of the query are looked up while the pods are listed. No pod is matched before.
	resolved := make(chan struct{})
	synced := c.watch(watching, podsOf(client, namespace, func(lo *metav1.ListOptions) {
		if shared {
			return
		}
		if q.Selector != nil {
			lo.LabelSelector = q.Selector.String()
		}
		if q.Node != "" {
			lo.FieldSelector = fields.OneTermEqualSelector("spec.nodeName", q.Node).String()
		}
	}), &corev1.Pod{}, targets.Handlers{
		Set: func(obj any) {
			select {
			case <-resolved:
			case <-watching.Done():
				return
			}
			c.targets.Apply(obj.(*corev1.Pod))
			if shared {
				c.names.applyPod(obj.(*corev1.Pod))
			}
		},
		Gone: func(_ types.NamespacedName, uid types.UID) {
			c.targets.Remove(string(uid))
			if shared {
				c.names.deletePod(uid)
			}
		},
	}, func(err error) {
		select {
		case refused <- err:
		default:
		}
	})
	c.watchNames(watching, client, q.Namespace, shared)
	// An informer retries for ever while the API server is unreachable. This request fails instead.
	c.watches.Go(func() {
		if _, err := client.CoreV1().Pods(namespace).List(watching, metav1.ListOptions{Limit: 1}); err != nil {
			select {
			case refused <- err:
			default:
			}
		}
	})

	if err := m.resolve(ctx, client); err != nil {
		c.Close()
		return nil, err
	}
	close(resolved)
	select {
	case <-synced:
	case err := <-refused:
		c.Close()
		if apierrors.IsForbidden(err) {
			return nil, &ForbiddenError{Verb: "list", Resource: "pods", Namespace: namespace, Err: err}
		}
		return nil, fmt.Errorf("list pods: %w", err)
	case <-ctx.Done():
		c.Close()
		return nil, fmt.Errorf("list pods: %w", ctx.Err())
	}
	if pods, _ := c.targets.Count(); pods == 0 && !q.AllNamespaces {
		if err := namespaceExists(ctx, client, q.Namespace); err != nil {
			c.Close()
			return nil, err
		}
	}
	return c, nil
}

// Close ends the watches and waits for them.
func (c *Cluster) Close() {
	c.stop()
	c.watches.Wait()
}

// Targets returns the number of live target pods, and of nodes with one.
func (c *Cluster) Targets() (pods, nodes int) { return c.targets.Count() }

// NextNode waits for a node that has a target and that it has not returned before.
func (c *Cluster) NextNode(ctx context.Context) (string, error) { return c.targets.NextNode(ctx) }

// NewFeed returns the pods of a node, for its tracer.
func (c *Cluster) NewFeed(node string) *targets.Feed { return c.targets.NewFeed(node) }

// watchNames watches the objects that name peers: in the whole cluster, or if that is forbidden in the namespace only.
func (c *Cluster) watchNames(ctx context.Context, client kube.Interface, namespace string, havePods bool) {
	type resource struct {
		name     string
		kind     runtime.Object
		source   func(namespace string) cache.ListerWatcher
		handlers targets.Handlers
		scoped   bool
	}
	resources := []resource{
		{"services", &corev1.Service{}, func(ns string) cache.ListerWatcher {
			return servicesOf(client, ns)
		}, targets.Handlers{
			Set:  func(obj any) { c.names.applyService(obj.(*corev1.Service)) },
			Gone: func(name types.NamespacedName, _ types.UID) { c.names.deleteService(name) },
		}, true},
		{"endpointslices.discovery.k8s.io", &discoveryv1.EndpointSlice{}, func(ns string) cache.ListerWatcher {
			return endpointSlicesOf(client, ns)
		}, targets.Handlers{
			Set:  func(obj any) { c.names.applySlice(obj.(*discoveryv1.EndpointSlice)) },
			Gone: func(name types.NamespacedName, _ types.UID) { c.names.deleteSlice(name) },
		}, true},
		{nodeResource, &corev1.Node{}, func(string) cache.ListerWatcher { return nodesOf(client) }, targets.Handlers{
			Set: func(obj any) {
				c.nodes.set(obj.(*corev1.Node))
				c.names.applyNode(obj.(*corev1.Node))
				if c.matcher.query.AllNodes {
					c.targets.AddNode(obj.(*corev1.Node).Name)
				}
			},
			Gone: func(name types.NamespacedName, _ types.UID) {
				c.nodes.remove(name.Name)
				c.names.deleteNode(name.Name)
				c.targets.RemoveNode(name.Name)
			},
		}, false},
	}
	if !havePods {
		resources = append(resources, resource{"pods", &corev1.Pod{}, func(ns string) cache.ListerWatcher {
			return podsOf(client, ns, nil)
		}, targets.Handlers{
			Set:  func(obj any) { c.names.applyPod(obj.(*corev1.Pod)) },
			Gone: func(_ types.NamespacedName, uid types.UID) { c.names.deletePod(uid) },
		}, true})
	}
	answers := &refusals{note: c.note, missing: len(resources)}
	for _, r := range resources {
		wide, giveUp := context.WithCancel(ctx)
		var once sync.Once
		synced := c.watch(wide, r.source(metav1.NamespaceAll), r.kind, r.handlers, func(err error) {
			if !apierrors.IsForbidden(err) {
				return // the reflector retries
			}
			once.Do(func() {
				giveUp()
				answers.refused(r.name)
				if r.scoped && namespace != "" {
					c.watch(ctx, r.source(namespace), r.kind, r.handlers, func(error) {})
				}
			})
		})
		c.watches.Go(func() {
			select {
			case <-synced:
				once.Do(answers.allowed)
			case <-wide.Done():
			}
			if r.name == nodeResource {
				c.nodes.settle()
			}
		})
		context.AfterFunc(ctx, giveUp)
	}
}

// watch lists and watches a resource until ctx ends. The channel closes after h has received the first list. failed is
// called for each failed request, which is repeated; a streamed list that is not supported is none.
func (c *Cluster) watch(
	ctx context.Context, source cache.ListerWatcher, kind runtime.Object, h targets.Handlers, failed func(error),
) <-chan struct{} {
	done := make(chan struct{})
	r := targets.Reflection{Source: source, Kind: kind, Handlers: h, Failed: func(err error, streamed bool) {
		if !streamed || apierrors.IsForbidden(err) {
			failed(err)
		}
	}}
	c.watches.Go(func() { r.Run(ctx, func() { close(done) }) })
	return done
}
