// Package fakeapi is a small API server in memory, for tests of commands that read, apply and delete objects. It knows
// JSON, server-side apply of whole fields, lists by label, and discovery.
package fakeapi

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"
)

// kinds are the resources that the server has, by group and version.
var kinds = map[string][]metav1.APIResource{
	"v1": {
		cluster("namespaces", "Namespace"), namespaced("configmaps", "ConfigMap"), namespaced("secrets", "Secret"),
		namespaced("serviceaccounts", "ServiceAccount"), namespaced("services", "Service"), namespaced("pods", "Pod"),
		namespaced("events", "Event"), cluster("nodes", "Node"),
	},
	"apps/v1": {
		namespaced("daemonsets", "DaemonSet"), namespaced("deployments", "Deployment"),
		namespaced("controllerrevisions", "ControllerRevision"),
	},
	"rbac.authorization.k8s.io/v1": {
		cluster("clusterroles", "ClusterRole"), cluster("clusterrolebindings", "ClusterRoleBinding"),
		namespaced("roles", "Role"), namespaced("rolebindings", "RoleBinding"),
	},
	"node.k8s.io/v1":         {cluster("runtimeclasses", "RuntimeClass")},
	"networking.k8s.io/v1":   {namespaced("networkpolicies", "NetworkPolicy")},
	"policy/v1":              {namespaced("poddisruptionbudgets", "PodDisruptionBudget")},
	"scheduling.k8s.io/v1":   {cluster("priorityclasses", "PriorityClass")},
	"coordination.k8s.io/v1": {namespaced("leases", "Lease")},
	"certificates.k8s.io/v1": {cluster("certificatesigningrequests", "CertificateSigningRequest")},
}

func namespaced(name, kind string) metav1.APIResource {
	return metav1.APIResource{Name: name, Kind: kind, Namespaced: true,
		Verbs: metav1.Verbs{"get", "list", "create", "patch", "delete"}}
}

func cluster(name, kind string) metav1.APIResource {
	r := namespaced(name, kind)
	r.Namespaced = false
	return r
}

// Request is one that the server has answered.
type Request struct {
	// Verb is get, list, apply or delete, and "apply (dry run)".
	Verb, Resource, Namespace, Name string
}

// Server is the API server.
type Server struct {
	http *httptest.Server

	mu       sync.Mutex
	objects  map[target]*unstructured.Unstructured
	version  int
	requests []Request
	forbid   func(verb, resource string) bool
	after    func(r Request)
	conflict map[string]string
	hold     map[string]bool
}

// target names an object.
type target struct {
	gv, resource, namespace, name string
}

// New starts a server that ends with the test.
func New(t testing.TB) *Server {
	s := &Server{objects: map[target]*unstructured.Unstructured{}, conflict: map[string]string{},
		hold: map[string]bool{}}
	s.http = httptest.NewServer(s)
	t.Cleanup(s.http.Close)
	return s
}

// Config returns the configuration of a client.
func (s *Server) Config() *rest.Config {
	return &rest.Config{
		Host: s.http.URL, QPS: -1, ContentConfig: rest.ContentConfig{ContentType: runtime.ContentTypeJSON},
	}
}

// Forbid makes the server refuse verbs on resources, in access reviews too.
func (s *Server) Forbid(forbid func(verb, resource string) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forbid = forbid
}

// Conflict makes applying objects of a resource without force conflict in a field.
func (s *Server) Conflict(resource, field string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conflict[resource] = field
}

// Hold keeps objects of a resource that are deleted, as a finalizer would; Release deletes them.
func (s *Server) Hold(resource string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hold[resource] = true
}

// Release undoes Hold.
func (s *Server) Release(resource string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.hold, resource)
	for key, o := range s.objects {
		if key.resource == resource && o.GetDeletionTimestamp() != nil {
			s.remove(key, o)
		}
	}
}

// After calls f after each request that changed something, as a controller would notice it.
func (s *Server) After(f func(r Request)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.after = f
}

// Requests returns the requests so far.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// Put stores an object, which replaces one of the same name.
func (s *Server) Put(t testing.TB, object runtime.Object) {
	t.Helper()
	raw, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	s.PutYAML(t, string(raw))
}

// PutYAML is Put for an object as text.
func (s *Server) PutYAML(t testing.TB, text string) {
	t.Helper()
	u := &unstructured.Unstructured{}
	raw, err := yaml.YAMLToJSON([]byte(text))
	if err == nil {
		err = u.UnmarshalJSON(raw)
	}
	if err != nil {
		t.Fatal(err)
	}
	for gv, resources := range kinds {
		for _, r := range resources {
			if gv == u.GetAPIVersion() && r.Kind == u.GetKind() {
				s.mu.Lock()
				s.store(target{gv, r.Name, u.GetNamespace(), u.GetName()}, u)
				s.mu.Unlock()
				return
			}
		}
	}
	t.Fatalf("no resource for %s %s", u.GetAPIVersion(), u.GetKind())
}

// Object returns an object, nil if there is none.
func (s *Server) Object(resource, namespace, name string) *unstructured.Unstructured {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, o := range s.objects {
		if key.resource == resource && key.namespace == namespace && key.name == name {
			return o.DeepCopy()
		}
	}
	return nil
}

// Objects names all objects, sorted, as "resource namespace/name".
func (s *Server) Objects() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for key := range s.objects {
		all = append(all, key.resource+" "+key.namespace+"/"+key.name)
	}
	slices.Sort(all)
	return all
}

// Remove removes an object.
func (s *Server) Remove(resource, namespace, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.objects, func(key target, _ *unstructured.Unstructured) bool {
		return key.resource == resource && key.namespace == namespace && key.name == name
	})
}

// store gives the object a version and, once, a UID.
func (s *Server) store(key target, u *unstructured.Unstructured) {
	s.version++
	u.SetResourceVersion(strconv.Itoa(s.version))
	if u.GetUID() == "" {
		u.SetUID(types.UID("uid-" + strconv.Itoa(s.version)))
	}
	s.objects[key] = u
}

// ServeHTTP answers a request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if object, ok := discover(r.URL.Path); ok {
		answer(w, http.StatusOK, object)
		return
	}
	key, ok := parse(r.URL.Path)
	if !ok {
		answer(w, http.StatusNotFound, status(http.StatusNotFound, metav1.StatusReasonNotFound, r.URL.Path, nil))
		return
	}
	if strings.HasSuffix(key.resource, "reviews") {
		s.review(w, r)
		return
	}
	request, code, object := s.answer(key, r)
	answer(w, code, object)
	s.mu.Lock()
	after := s.after
	s.mu.Unlock()
	if after != nil && code < 300 && (request.Verb == "apply" || request.Verb == "delete") {
		after(request)
	}
}

func (s *Server) answer(key target, r *http.Request) (Request, int, any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	request := Request{Resource: key.resource, Namespace: key.namespace, Name: key.name}
	verb := ""
	switch {
	case r.Method == http.MethodGet && key.name == "":
		verb = "list"
	case r.Method == http.MethodGet:
		verb = "get"
	case r.Method == http.MethodPatch:
		verb = "apply"
	case r.Method == http.MethodDelete:
		verb = "delete"
	}
	request.Verb = verb
	if r.URL.Query().Get("dryRun") != "" {
		request.Verb += " (dry run)"
	}
	s.requests = append(s.requests, request)
	if s.forbid != nil && s.forbid(strings.ReplaceAll(verb, "apply", "patch"), key.resource) {
		return request, http.StatusForbidden, status(http.StatusForbidden, metav1.StatusReasonForbidden,
			fmt.Sprintf("%s is forbidden: cannot %s", key.resource, verb), nil)
	}
	switch verb {
	case "list":
		return request, http.StatusOK, s.list(key, r)
	case "apply":
		code, object := s.apply(key, r)
		return request, code, object
	case "delete", "get":
		o := s.objects[key]
		if o == nil {
			return request, http.StatusNotFound, status(http.StatusNotFound, metav1.StatusReasonNotFound,
				key.resource+" "+key.name+" not found", nil)
		}
		if verb == "delete" {
			s.remove(key, o)
		}
		return request, http.StatusOK, o.DeepCopy().Object
	}
	return request, http.StatusMethodNotAllowed, status(http.StatusMethodNotAllowed,
		metav1.StatusReasonMethodNotAllowed, r.Method, nil)
}

func (s *Server) remove(key target, o *unstructured.Unstructured) {
	if s.hold[key.resource] {
		now := metav1.Now()
		o.SetDeletionTimestamp(&now)
		return
	}
	delete(s.objects, key)
	if key.resource == "namespaces" {
		maps.DeleteFunc(s.objects, func(other target, _ *unstructured.Unstructured) bool {
			return other.namespace == key.name
		})
	}
	// The garbage collector deletes what the object owned.
	for other, owned := range s.objects {
		for _, owner := range owned.GetOwnerReferences() {
			if owner.UID == o.GetUID() {
				delete(s.objects, other)
			}
		}
	}
}

func (s *Server) list(key target, r *http.Request) any {
	selector, err := labels.Parse(r.URL.Query().Get("labelSelector"))
	if err != nil {
		selector = labels.Nothing()
	}
	items := []any{}
	for other, o := range s.objects {
		if other.gv == key.gv && other.resource == key.resource &&
			(key.namespace == "" || key.namespace == other.namespace) && selector.Matches(labels.Set(o.GetLabels())) {
			items = append(items, o.DeepCopy().Object)
		}
	}
	kind, apiVersion := kindOf(key)+"List", key.gv
	if strings.Contains(r.Header.Get("Accept"), "as=PartialObjectMetadataList") {
		kind, apiVersion = "PartialObjectMetadataList", "meta.k8s.io/v1"
	}
	return map[string]any{
		"kind": kind, "apiVersion": apiVersion, "items": items,
		"metadata": map[string]any{"resourceVersion": strconv.Itoa(s.version)},
	}
}

// kindOf returns the kind of a resource; empty where the server does not have it.
func kindOf(key target) string {
	for _, r := range kinds[key.gv] {
		if r.Name == key.resource {
			return r.Kind
		}
	}
	return ""
}

func (s *Server) apply(key target, r *http.Request) (int, any) {
	query := r.URL.Query()
	if field := s.conflict[key.resource]; field != "" && query.Get("force") != "true" {
		return http.StatusConflict, status(http.StatusConflict, metav1.StatusReasonConflict, "Apply failed",
			&metav1.StatusDetails{Causes: []metav1.StatusCause{{
				Type: metav1.CauseTypeFieldManagerConflict, Field: field, Message: `conflict with "kubectl-edit"`,
			}}})
	}
	if key.namespace != "" && s.objects[target{"v1", "namespaces", "", key.namespace}] == nil {
		return http.StatusNotFound, status(http.StatusNotFound, metav1.StatusReasonNotFound,
			"namespaces "+key.namespace+" not found", nil)
	}
	raw, err := io.ReadAll(r.Body)
	applied := &unstructured.Unstructured{}
	if err == nil {
		err = applied.UnmarshalJSON(raw)
	}
	if err != nil {
		return http.StatusBadRequest, status(http.StatusBadRequest, metav1.StatusReasonBadRequest, err.Error(), nil)
	}
	result := applied
	if before := s.objects[key]; before != nil {
		result = before.DeepCopy()
		for field, value := range applied.Object {
			if field != "metadata" {
				result.Object[field] = value
			}
		}
		result.SetLabels(applied.GetLabels())
		result.SetAnnotations(applied.GetAnnotations())
	}
	if query.Get("dryRun") == "" {
		s.store(key, result.DeepCopy())
		result = s.objects[key]
	}
	return http.StatusOK, result.DeepCopy().Object
}

func (s *Server) review(w http.ResponseWriter, r *http.Request) {
	var review map[string]any
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
		answer(w, http.StatusBadRequest, status(http.StatusBadRequest, metav1.StatusReasonBadRequest, err.Error(), nil))
		return
	}
	verb, _, _ := unstructured.NestedString(review, "spec", "resourceAttributes", "verb")
	resource, _, _ := unstructured.NestedString(review, "spec", "resourceAttributes", "resource")
	s.mu.Lock()
	forbid := s.forbid
	s.mu.Unlock()
	allowed := forbid == nil || verb != "*" && !forbid(verb, resource)
	review["status"] = map[string]any{"allowed": allowed}
	answer(w, http.StatusCreated, review)
}

// parse splits a path like /apis/apps/v1/namespaces/shop/deployments/web.
func parse(path string) (key target, ok bool) {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	switch {
	case parts[0] == "api" && len(parts) > 2:
		key.gv, parts = parts[1], parts[2:]
	case parts[0] == "apis" && len(parts) > 3:
		key.gv, parts = parts[1]+"/"+parts[2], parts[3:]
	default:
		return key, false
	}
	if parts[0] == "namespaces" && len(parts) > 2 {
		key.namespace, parts = parts[1], parts[2:]
	}
	key.resource = parts[0]
	if len(parts) > 1 {
		key.name = parts[1]
	}
	return key, len(parts) <= 2
}

// discover answers requests for the lists of groups and resources.
func discover(path string) (any, bool) {
	switch path {
	case "/api":
		return metav1.APIVersions{TypeMeta: metav1.TypeMeta{Kind: "APIVersions"}, Versions: []string{"v1"}}, true
	case "/apis":
		groups := metav1.APIGroupList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"}}
		for _, text := range slices.Sorted(maps.Keys(kinds)) {
			gv, err := schema.ParseGroupVersion(text)
			if err != nil || gv.Group == "" {
				continue
			}
			version := metav1.GroupVersionForDiscovery{GroupVersion: text, Version: gv.Version}
			groups.Groups = append(groups.Groups, metav1.APIGroup{Name: gv.Group,
				Versions: []metav1.GroupVersionForDiscovery{version}, PreferredVersion: version})
		}
		return groups, true
	}
	gv := strings.TrimPrefix(strings.TrimPrefix(path, "/apis/"), "/api/")
	resources, ok := kinds[gv]
	return metav1.APIResourceList{
		TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, GroupVersion: gv, APIResources: resources,
	}, ok
}

func status(code int32, reason metav1.StatusReason, message string, details *metav1.StatusDetails) metav1.Status {
	return metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure,
		Code: code, Reason: reason, Message: message, Details: details,
	}
}

func answer(w http.ResponseWriter, code int, object any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(object) // the client sees what is missing
}
