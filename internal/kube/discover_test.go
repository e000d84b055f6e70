package kube

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// describe lists resources as VERSION/NAME:KIND, with a * where they are namespaced.
func describe(resources []APIResource) (all []string) {
	for _, r := range resources {
		text := fmt.Sprintf("%s/%s:%s", r.GVR.GroupVersion(), r.GVR.Resource, r.Kind)
		if r.Namespaced {
			text += "*"
		}
		all = append(all, text)
	}
	slices.Sort(all)
	return all
}

var discovered = []string{"apps/v1/deployments:Deployment*", "example.com/v1/widgets:Widget",
	"example.com/v1beta1/gadgets:Gadget*", "v1/pods:Pod*"}

func TestAPIResources_Aggregated(t *testing.T) {
	answers := map[string]string{
		"/api": `{"items":[{"metadata":{},"versions":[{"version":"v1","freshness":"Current","resources":[
			{"resource":"pods","responseKind":{"kind":"Pod"},"scope":"Namespaced","verbs":["list","delete"],
			 "subresources":[{"subresource":"log"}]}]}]}]}`,
		"/apis": `{"items":[
			{"metadata":{"name":"apps"},"versions":[{"version":"v1","freshness":"Current","resources":[
				{"resource":"deployments","responseKind":{"kind":"Deployment"},"scope":"Namespaced",
				 "verbs":["list"]}]}]},
			{"metadata":{"name":"example.com"},"versions":[
				{"version":"v1","freshness":"Current","resources":[
					{"resource":"widgets","responseKind":{"kind":"Widget"},"scope":"Cluster","verbs":["list"]}]},
				{"version":"v1beta1","freshness":"Current","resources":[
					{"resource":"widgets","responseKind":{"kind":"Widget"},"scope":"Cluster","verbs":["list"]},
					{"resource":"gadgets","responseKind":{"kind":"Gadget"},"scope":"Namespaced","verbs":["list"]}]}]},
			{"metadata":{"name":"metrics.k8s.io"},"versions":[{"version":"v1beta1","freshness":"Stale"}]}]}`,
	}
	c := clientsOf(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.Header.Get("Accept"), "as=APIGroupDiscoveryList") {
			t.Errorf("GET %s accepts %s", r.URL, r.Header.Get("Accept"))
		}
		w.Header().Set("Content-Type", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")
		_, _ = io.WriteString(w, answers[r.URL.Path])
	}))
	got, err := c.APIResources(t.Context())
	if !slices.Equal(describe(got), discovered) {
		t.Errorf("%q, want %q", describe(got), discovered)
	}
	unlisted := (*UnlistedError)(nil)
	if !errors.As(err, &unlisted) || !strings.Contains(err.Error(), "metrics.k8s.io/v1beta1") {
		t.Errorf("%v", err)
	}
	if i := slices.IndexFunc(got, func(r APIResource) bool { return r.Kind == "Pod" }); i < 0 ||
		!slices.Equal(got[i].Verbs, []string{"list", "delete"}) {
		t.Errorf("%v", got)
	}
}

func TestAPIResources_EachVersion(t *testing.T) {
	answers := map[string]string{
		"/api": `{"kind":"APIVersions","versions":["v1"]}`,
		"/apis": `{"kind":"APIGroupList","groups":[
			{"name":"apps","versions":[{"groupVersion":"apps/v1"}],"preferredVersion":{"groupVersion":"apps/v1"}},
			{"name":"example.com","versions":[{"groupVersion":"example.com/v1beta1"},{"groupVersion":"example.com/v1"}],
			 "preferredVersion":{"groupVersion":"example.com/v1"}},
			{"name":"metrics.k8s.io","versions":[{"groupVersion":"metrics.k8s.io/v1beta1"}],
			 "preferredVersion":{"groupVersion":"metrics.k8s.io/v1beta1"}}]}`,
		"/api/v1": `{"resources":[{"name":"pods","kind":"Pod","namespaced":true,"verbs":["list"]},
			{"name":"pods/log","kind":"Pod","namespaced":true,"verbs":["get"]}]}`,
		"/apis/apps/v1":        `{"resources":[{"name":"deployments","kind":"Deployment","namespaced":true}]}`,
		"/apis/example.com/v1": `{"resources":[{"name":"widgets","kind":"Widget"}]}`,
		"/apis/example.com/v1beta1": `{"resources":[{"name":"widgets","kind":"Widget"},
			{"name":"gadgets","kind":"Gadget","namespaced":true}]}`,
	}
	c := clientsOf(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		body, ok := answers[r.URL.Path]
		if !ok {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_, _ = io.WriteString(w, body)
	}))
	got, err := c.APIResources(t.Context())
	if !slices.Equal(describe(got), discovered) {
		t.Errorf("%q, want %q", describe(got), discovered)
	}
	if !errors.As(err, new(*UnlistedError)) || !strings.Contains(err.Error(), "metrics.k8s.io/v1beta1") {
		t.Errorf("%v", err)
	}
}

func TestAPIResources_Refused(t *testing.T) {
	c := clientsOf(t, &apiServer{code: http.StatusForbidden, body: `{"kind":"Status","apiVersion":"v1","code":403}`})
	if got, err := c.APIResources(t.Context()); err == nil || got != nil {
		t.Errorf("%v, %v", got, err)
	}
}
