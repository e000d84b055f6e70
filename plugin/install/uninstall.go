package install

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/orb8-dev/kubectl-orb8/deploy"
	"github.com/orb8-dev/kubectl-orb8/event/orbit"
)

// object is an object in the cluster.
type object struct {
	Resource
	metav1.PartialObjectMetadata
}

func (o *object) String() string {
	name := resourceName(o.Kind, o.GVR.Group, o.Name)
	if o.Namespace != "" {
		name += " in namespace " + o.Namespace
	}
	return name
}

// phase orders the deletion: first what makes other objects, so that nothing comes back; last the namespaces.
func (o *object) phase() int {
	switch o.GVR.Resource {
	case "daemonsets", "deployments", "replicasets", "controllerrevisions", "pods":
		return 0
	case "namespaces":
		return 2
	}
	return 1
}

// dependent reports whether the cluster deletes the object with another one.
func (o *object) dependent() bool {
	return metav1.GetControllerOf(o) != nil || o.GVR.Resource == "endpoints"
}

// LeftError reports what is not gone at the end of the time-out.
type LeftError struct {
	After time.Duration
	Left  []string
}

func (e *LeftError) Error() string {
	return fmt.Sprintf("not gone after %v: %s: run kubectl orb8 uninstall once more", e.After.Round(time.Second),
		strings.Join(e.Left, ", "))
}

// Uninstall deletes all objects of orb8 and waits until they are gone. It begins with what it finds, and so continues
// what was interrupted. It reports whether there was anything.
func (i *Installer) Uninstall(parent context.Context, namespace string, timeout time.Duration) (bool, error) {
	ctx, cancel := context.WithTimeout(parent, timeout)
	defer cancel()
	resources, err := i.Discover(ctx)
	if err != nil {
		return false, err
	}
	if resources.Unknown != "" {
		i.Logf("not all API resources can be examined: %s", resources.Unknown)
	}
	s := &sweep{Installer: i, resources: resources, namespace: namespace, deleted: map[string]bool{}}
	started := time.Now()
	tick := time.NewTicker(i.Interval)
	defer tick.Stop()
	var left []object
	for {
		now, err := s.step(ctx)
		if err == nil {
			left = now
		}
		switch {
		case err != nil && parent.Err() != nil:
			return len(s.deleted) > 0, parent.Err()
		case err != nil && ctx.Err() == nil && !isTransient(err):
			return len(s.deleted) > 0, err
		case err == nil && len(left) == 0:
			return len(s.deleted) > 0, nil
		}
		select {
		case <-ctx.Done():
			if parent.Err() != nil {
				return len(s.deleted) > 0, parent.Err()
			}
			return true, &LeftError{time.Since(started), s.describe(left)}
		case <-tick.C:
		}
	}
}

// isTransient reports whether a request may succeed when it is repeated.
func isTransient(err error) bool {
	return apierrors.IsServerTimeout(err) || apierrors.IsTimeout(err) || apierrors.IsTooManyRequests(err) ||
		apierrors.IsInternalError(err) || apierrors.IsServiceUnavailable(err)
}

// sweep is one run of Uninstall.
type sweep struct {
	*Installer
	resources *Resources
	// namespace of the installation.
	namespace string
	checked   bool
	// deleted are the objects whose deletion was requested, by UID or, in tests, by name.
	deleted map[string]bool
}

// step lists what is left, and deletes what may be deleted now.
func (s *sweep) step(ctx context.Context) ([]object, error) {
	left, err := s.list(ctx)
	if err != nil || len(left) == 0 {
		return left, err
	}
	if !s.checked {
		if err := s.checkRights(ctx, left); err != nil {
			return left, err
		}
		s.checked = true
	}
	first := slices.MinFunc(left, func(a, b object) int { return cmp.Compare(a.phase(), b.phase()) })
	phase := first.phase()
	for n := range left {
		o := &left[n]
		id := o.GVR.Resource + " " + o.Namespace + "/" + o.Name + " " + string(o.UID)
		if o.phase() != phase || o.DeletionTimestamp != nil || s.deleted[id] || o.dependent() {
			continue
		}
		if o.Kind == "Namespace" {
			if err := s.examine(ctx, o.Name); err != nil {
				return left, err
			}
		}
		if err := s.delete(ctx, o.GVR, &o.PartialObjectMetadata); err != nil {
			return left, err
		}
		s.deleted[id] = true
		s.Resultf("%s deleted", o)
	}
	return left, nil
}

// checkRights returns a *ForbiddenError unless the user may delete the objects.
func (s *sweep) checkRights(ctx context.Context, objects []object) error {
	var needed []right
	for n := range objects {
		o := &objects[n]
		r := right{"delete", o.GVR.Group, o.GVR.Resource, o.Namespace}
		if !o.dependent() && !slices.Contains(needed, r) {
			needed = append(needed, r)
		}
	}
	return s.review(ctx, needed)
}

// list lists the objects of orb8 in the whole cluster.
func (s *sweep) list(ctx context.Context) ([]object, error) {
	var all []object
	selector := deploy.Labels().AsSelector().String()
	for _, r := range s.resources.All {
		found, err := s.List(ctx, r.GVR, "", selector)
		switch {
		case apierrors.IsNotFound(err), apierrors.IsMethodNotSupported(err):
			continue // the API is gone, or lists nothing
		case apierrors.IsForbidden(err) && !s.installs(r.GVR):
			continue // orb8 makes no such objects
		case err != nil:
			return nil, fmt.Errorf("list %s: %w", r.GVR.GroupResource(), err)
		}
		for _, m := range found {
			all = append(all, object{r, m})
		}
	}
	requests, err := s.requests(ctx)
	if err != nil {
		return nil, err
	}
	authority, err := s.authority(ctx)
	if err != nil {
		return nil, err
	}
	for _, o := range slices.Concat(requests, authority) {
		if !slices.ContainsFunc(all, func(other object) bool { return o.String() == other.String() }) {
			all = append(all, o)
		}
	}
	return all, nil
}

// installs reports whether orb8 makes objects of a resource.
func (s *sweep) installs(gvr schema.GroupVersionResource) bool {
	needed := rightsOn(&deploy.Values{Namespace: s.namespace}, []string{"list"})
	return slices.ContainsFunc(needed, func(r right) bool { return r.group == gvr.Group && r.resource == gvr.Resource })
}

// requests lists the certificate requests of viewers, which have no labels.
func (s *sweep) requests(ctx context.Context) ([]object, error) {
	list, err := s.Client.CertificatesV1().CertificateSigningRequests().List(ctx, metav1.ListOptions{
		FieldSelector: "spec.signerName=" + orbit.ViewerSigner,
	})
	if err != nil {
		return nil, fmt.Errorf("list certificatesigningrequests: %w", err)
	}
	r := Resource{certificatesv1.SchemeGroupVersion.WithResource("certificatesigningrequests"),
		"CertificateSigningRequest", false}
	var all []object
	for n := range list.Items {
		if list.Items[n].Spec.SignerName == orbit.ViewerSigner {
			all = append(all, object{r, metav1.PartialObjectMetadata{ObjectMeta: list.Items[n].ObjectMeta}})
		}
	}
	return all, nil
}

// authority lists the Secret and the ConfigMap that servers make, which may have lost their labels.
func (s *sweep) authority(ctx context.Context) ([]object, error) {
	var all []object
	for _, r := range []Resource{
		{schema.GroupVersionResource{Version: "v1", Resource: "secrets"}, "Secret", true},
		{schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}, "ConfigMap", true},
	} {
		found, err := s.List(ctx, r.GVR, s.namespace, "")
		if err != nil {
			return nil, fmt.Errorf("list %s in namespace %s: %w", r.GVR.Resource, s.namespace, err)
		}
		for _, m := range found {
			if m.Name == deploy.Authority {
				all = append(all, object{r, m})
			}
		}
	}
	return all, nil
}

// examine returns an error for a namespace that has objects of others.
func (s *sweep) examine(ctx context.Context, namespace string) error {
	var others []string
	for _, r := range s.resources.All {
		if !r.Namespaced {
			continue
		}
		found, err := s.List(ctx, r.GVR, namespace, "")
		if apierrors.IsNotFound(err) || apierrors.IsMethodNotSupported(err) || apierrors.IsForbidden(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("list %s in namespace %s: %w", r.GVR.GroupResource(), namespace, err)
		}
		for n := range found {
			o := object{r, found[n]}
			if len(o.OwnerReferences) == 0 && o.DeletionTimestamp == nil && !o.automatic() {
				others = append(others, resourceName(o.Kind, o.GVR.Group, o.Name))
			}
		}
	}
	if len(others) == 0 {
		return nil
	}
	return fmt.Errorf("namespace %s is kept, since it has objects that are not orb8's: %s; to delete it with them: "+
		"kubectl delete namespace %s", namespace, firstOf(others), namespace)
}

// automatic reports whether the cluster itself makes the object in each namespace.
func (o *object) automatic() bool {
	switch o.Kind {
	case "Event", "Lease", "EndpointSlice", "Endpoints":
		return true
	case "ConfigMap": // of Kubernetes, OpenShift and Istio
		return slices.Contains([]string{"kube-root-ca.crt", "openshift-service-ca.crt", "istio-ca-root-cert"}, o.Name)
	case "ServiceAccount", "Secret": // the last three are OpenShift's
		for _, prefix := range []string{"default", "builder", "deployer"} {
			if o.Name == prefix || strings.HasPrefix(o.Name, prefix+"-") {
				return true
			}
		}
	case "RoleBinding":
		return strings.HasPrefix(o.Name, "system:")
	}
	return false
}

// firstOf names some of many.
func firstOf(names []string) string {
	if len(names) <= maxNamed {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:maxNamed], ", "), len(names)-maxNamed)
}

// describe names what is left, with the finalizers that hold it back.
func (s *sweep) describe(left []object) []string {
	var all []string
	for n := range left {
		o := &left[n]
		text := o.String()
		if o.DeletionTimestamp != nil && len(o.Finalizers) > 0 {
			text += " (finalizers " + strings.Join(o.Finalizers, ", ") + ")"
		}
		all = append(all, text)
	}
	if len(all) == 0 {
		all = []string{"the API server did not answer"}
	}
	return all
}
