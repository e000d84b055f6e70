package install

import (
	"context"
	"errors"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/metadata"

	"github.com/orb8-dev/kubectl-orb8/internal/kube"
)

// Resource is an API resource whose objects can be listed and deleted.
type Resource struct {
	GVR        schema.GroupVersionResource
	Kind       string
	Namespaced bool
}

// Resources are those of a cluster.
type Resources struct {
	All []Resource
	// Unknown describes the API groups that the cluster did not list; empty: none.
	Unknown string
}

// find returns the resource of a kind; nil: the cluster has none.
func (r *Resources) find(gk schema.GroupKind) *Resource {
	for i := range r.All {
		if r.All[i].Kind == gk.Kind && r.All[i].GVR.Group == gk.Group {
			return &r.All[i]
		}
	}
	return nil
}

// Discover returns an Installer.Discover.
func Discover(client *kube.Clients) func(context.Context) (*Resources, error) {
	return func(ctx context.Context) (*Resources, error) {
		resources, err := client.APIResources(ctx)
		found := &Resources{}
		if unlisted := (*kube.UnlistedError)(nil); errors.As(err, &unlisted) {
			found.Unknown = unlisted.Error()
		} else if err != nil {
			return nil, fmt.Errorf("list API resources: %w", err)
		}
		for _, r := range resources {
			if slices.Contains(r.Verbs, "list") && slices.Contains(r.Verbs, "delete") {
				found.All = append(found.All, Resource{GVR: r.GVR, Kind: r.Kind, Namespaced: r.Namespaced})
			}
		}
		return found, nil
	}
}

// Lister lists the metadata of the objects of a resource in a namespace; empty: in all. The contents of Secrets stay
// where they are.
type Lister func(
	ctx context.Context, gvr schema.GroupVersionResource, namespace, selector string,
) ([]metav1.PartialObjectMetadata, error)

// listLimit is the size of a page.
const listLimit = 500

// List returns an Installer.List.
func List(client metadata.Interface) Lister {
	return func(
		ctx context.Context, gvr schema.GroupVersionResource, namespace, selector string,
	) (all []metav1.PartialObjectMetadata, err error) {
		options := metav1.ListOptions{LabelSelector: selector, Limit: listLimit}
		for {
			page, err := client.Resource(gvr).Namespace(namespace).List(ctx, options)
			if err != nil {
				return nil, err
			}
			all = append(all, page.Items...)
			if options.Continue = page.Continue; options.Continue == "" {
				return all, nil
			}
		}
	}
}
