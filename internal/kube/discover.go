package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"mime"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
)

// APIResource is a resource of the API server, in the version that its group prefers, or else in the first that has it.
type APIResource struct {
	GVR        schema.GroupVersionResource
	Kind       string
	Namespaced bool
	Verbs      []string
}

// UnlistedError is the reason why the resources of some versions of groups are not known, as when the server of an
// aggregated API does not answer.
type UnlistedError struct {
	// Versions are the causes by GROUP/VERSION.
	Versions map[string]error
}

func (e *UnlistedError) Error() string {
	var causes []string
	for _, gv := range slices.Sorted(maps.Keys(e.Versions)) {
		causes = append(causes, fmt.Sprintf("%s: %v", gv, e.Versions[gv]))
	}
	return "the API server does not list all resources: " + strings.Join(causes, ", ")
}

// aggregated asks for all groups in one answer, which API servers from Kubernetes 1.26 on have; older ones ignore it.
const aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList," +
	"application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json"

// stale is the freshness of a version whose server did not answer the API server.
const stale = "Stale"

// groupList is what is used of an APIGroupDiscoveryList, of either version.
type groupList struct {
	Items []struct {
		Metadata struct{ Name string }
		// Versions, the preferred one first.
		Versions []struct {
			Version, Freshness string
			Resources          []struct {
				Resource     string
				ResponseKind struct{ Kind string }
				Scope        string
				Verbs        []string
			}
		}
	}
}

// found collects resources. The first version of each counts.
type found struct {
	all      []APIResource
	seen     map[schema.GroupResource]bool
	unlisted map[string]error
}

func (f *found) add(r APIResource) {
	if gr := r.GVR.GroupResource(); !f.seen[gr] {
		f.seen[gr] = true
		f.all = append(f.all, r)
	}
}

// APIResources lists the resources of the API server without subresources. With an *UnlistedError it returns those
// that are known.
func (c *Clients) APIResources(ctx context.Context) ([]APIResource, error) {
	f := &found{seen: map[schema.GroupResource]bool{}, unlisted: map[string]error{}}
	for _, root := range []string{"/api", "/apis"} {
		answer := c.core.client.Get().AbsPath(root).SetHeader("Accept", aggregated).Do(ctx)
		body, err := answer.Raw()
		if err != nil {
			return nil, err
		}
		if isAggregated(answer) {
			err = f.addGroups(body)
		} else {
			err = c.addVersions(ctx, f, root, body)
		}
		if err != nil {
			return nil, fmt.Errorf("list of the resources below %s: %w", root, err)
		}
	}
	if len(f.unlisted) > 0 {
		return f.all, &UnlistedError{f.unlisted}
	}
	return f.all, nil
}

func isAggregated(answer rest.Result) bool {
	var header string
	answer.ContentType(&header)
	_, parameters, err := mime.ParseMediaType(header)
	return err == nil && parameters["as"] == "APIGroupDiscoveryList"
}

func (f *found) addGroups(body []byte) error {
	var groups groupList
	if err := json.Unmarshal(body, &groups); err != nil {
		return err
	}
	for _, group := range groups.Items {
		for _, v := range group.Versions {
			gv := schema.GroupVersion{Group: group.Metadata.Name, Version: v.Version}
			if v.Freshness == stale {
				f.unlisted[gv.String()] = errors.New("its server does not answer")
			}
			for _, r := range v.Resources {
				f.add(APIResource{GVR: gv.WithResource(r.Resource), Kind: r.ResponseKind.Kind,
					Namespaced: r.Scope == "Namespaced", Verbs: r.Verbs})
			}
		}
	}
	return nil
}

// addVersions adds the resources by a request for each version of each group.
func (c *Clients) addVersions(ctx context.Context, f *found, root string, body []byte) error {
	var versions []string
	if root == "/api" {
		var answer metav1.APIVersions
		if err := json.Unmarshal(body, &answer); err != nil {
			return err
		}
		versions = answer.Versions
	} else {
		var answer metav1.APIGroupList
		if err := json.Unmarshal(body, &answer); err != nil {
			return err
		}
		for _, group := range answer.Groups {
			preferred := group.PreferredVersion.GroupVersion
			versions = append(versions, preferred)
			for _, v := range group.Versions {
				if v.GroupVersion != preferred {
					versions = append(versions, v.GroupVersion)
				}
			}
		}
	}
	for _, gv := range versions {
		body, err := c.core.client.Get().AbsPath(root, gv).Do(ctx).Raw()
		var answer metav1.APIResourceList
		if err == nil {
			err = json.Unmarshal(body, &answer)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			f.unlisted[gv] = err
			continue
		}
		if err := f.addResources(gv, answer.APIResources); err != nil {
			return err
		}
	}
	return nil
}

func (f *found) addResources(version string, resources []metav1.APIResource) error {
	gv, err := schema.ParseGroupVersion(version)
	if err != nil {
		return err
	}
	for _, r := range resources {
		if !strings.Contains(r.Name, "/") {
			f.add(APIResource{GVR: gv.WithResource(r.Name), Kind: r.Kind, Namespaced: r.Namespaced, Verbs: r.Verbs})
		}
	}
	return nil
}
