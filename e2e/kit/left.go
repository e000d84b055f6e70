package kit

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
)

// CleanupTime is the time after its end within which a session must have removed everything.
const CleanupTime = 15 * time.Second

// Snapshot is the list of objects in a cluster and its machine's kernel before a session.
type Snapshot struct {
	env     *Env
	objects map[string]bool
	bpf     []string
	own     bool
}

// Snapshot records all objects in the cluster and, if own (the nodes are on this machine), the kernel's BPF objects. It
// first waits for tracers of earlier tests to end.
func (e *Env) Snapshot(t testing.TB, own bool) *Snapshot {
	t.Helper()
	if own {
		AwaitNoProcess(t, "orb8-tracer", CleanupTime)
	}
	objects, err := e.objects(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s := &Snapshot{env: e, objects: map[string]bool{}, own: own}
	for _, o := range objects {
		s.objects[o] = true
	}
	if own {
		if s.bpf, err = bpfObjects(); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// SomethingThere fails if a running session adds no object, since NothingLeft would then prove nothing.
func (s *Snapshot) SomethingThere(t testing.TB) {
	t.Helper()
	objects, err := s.env.objects(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(objects, func(o string) bool { return !s.objects[o] }) {
		t.Error("a running session adds no object to the cluster")
	}
	if now, err := bpfObjects(); err != nil {
		t.Fatal(err)
	} else if s.own && len(now) <= len(s.bpf) {
		t.Errorf("a running session adds no BPF objects to the %d before", len(s.bpf))
	}
}

// NothingLeft waits up to CleanupTime until the cluster's objects and the kernel's BPF programs, maps and links are the
// same as in the snapshot.
func (s *Snapshot) NothingLeft(t testing.TB) {
	t.Helper()
	var left []string
	start := time.Now()
	err := wait.PollUntilContextTimeout(context.Background(), 100*time.Millisecond, CleanupTime, true,
		func(ctx context.Context) (bool, error) {
			objects, err := s.env.objects(ctx)
			if err != nil {
				if left == nil {
					left = []string{err.Error()}
				}
				return false, nil // the API server may be restarting, or the time is up
			}
			left = slices.DeleteFunc(objects, func(o string) bool { return s.objects[o] })
			if s.own {
				now, err := bpfObjects()
				if err != nil {
					return false, err
				}
				for _, o := range now {
					if !slices.Contains(s.bpf, o) {
						left = append(left, o)
					}
				}
				for _, o := range s.bpf {
					if !slices.Contains(now, o) {
						left = append(left, "gone: "+o)
					}
				}
			}
			return len(left) == 0, nil
		})
	if err != nil {
		t.Errorf("left %s after the session's end: %s", CleanupTime, strings.Join(left, ", "))
		return
	}
	t.Logf("nothing left %.1f s after the end", time.Since(start).Seconds())
}

// objects lists the cluster's objects of all kinds, as "kind namespace/name", except transient kinds and a test's own
// objects. A list by label would miss objects that lost their label.
func (e *Env) objects(ctx context.Context) ([]string, error) {
	disco, err := discovery.NewDiscoveryClientForConfig(e.REST)
	if err != nil {
		return nil, err
	}
	client, err := dynamic.NewForConfig(e.REST)
	if err != nil {
		return nil, err
	}
	lists, err := disco.ServerPreferredResources()
	if err != nil {
		return nil, err
	}
	var objects []string
	for _, list := range lists {
		gv, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			return nil, err
		}
		for _, r := range list.APIResources {
			if strings.Contains(r.Name, "/") || !slices.Contains(r.Verbs, "list") || transient[r.Kind] {
				continue
			}
			items, err := client.Resource(gv.WithResource(r.Name)).List(ctx, metav1.ListOptions{})
			if err != nil {
				return nil, fmt.Errorf("list %s: %w", r.Name, err)
			}
			for _, o := range items.Items {
				if r.Kind == "CertificateSigningRequest" && !strings.HasPrefix(o.GetName(), viewerRequests) {
					continue
				}
				if !workloadOf(o) {
					objects = append(objects, r.Kind+" "+o.GetNamespace()+"/"+o.GetName())
				}
			}
		}
	}
	slices.Sort(objects)
	return objects, nil
}

// transient are kinds that the cluster's own components create and delete all the time.
var transient = map[string]bool{
	"Event": true, "Lease": true, "EndpointSlice": true, "Endpoints": true, "ComponentStatus": true, "IPAddress": true,
	"APIService": true,
}

// viewerRequests begin the names of the CertificateSigningRequests of users. Others are the kubelets'.
const viewerRequests = "orb8-viewer-"

// workloadOf reports whether a test created an object in its own namespace, which outlives the session. Objects that a
// session created there do not count.
func workloadOf(o unstructured.Unstructured) bool {
	if o.GetKind() == "Namespace" {
		return strings.HasPrefix(o.GetName(), "e2e-")
	}
	return strings.HasPrefix(o.GetNamespace(), "e2e-") &&
		o.GetLabels()["app.kubernetes.io/managed-by"] != "kubectl-orb8" &&
		!strings.Contains(o.GetName(), "orb8")
}

// bpfObjects lists the kernel's BPF programs, maps and links by id.
func bpfObjects() ([]string, error) {
	var all []string
	for id := ebpf.ProgramID(0); ; {
		next, err := ebpf.ProgramGetNextID(id)
		if err != nil {
			break // ErrNotExist: no further program
		}
		id = next
		name := ""
		if p, err := ebpf.NewProgramFromID(id); err == nil {
			if info, err := p.Info(); err == nil {
				name = info.Name
			}
			_ = p.Close() // no longer needed, in any case
		}
		all = append(all, fmt.Sprintf("program %d %s", id, name))
	}
	for id := ebpf.MapID(0); ; {
		next, err := ebpf.MapGetNextID(id)
		if err != nil {
			break
		}
		id = next
		all = append(all, fmt.Sprintf("map %d", id))
	}
	links := new(link.Iterator)
	defer links.Close()
	for links.Next() {
		all = append(all, fmt.Sprintf("link %d", links.ID))
	}
	return all, links.Err()
}
