package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
)

// apiServer answers each request with the same body, below a path as behind a proxy, and keeps the last request.
type apiServer struct {
	code int
	body string
	last *http.Request
	sent string
}

func (a *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	sent, _ := io.ReadAll(r.Body)
	a.last, a.sent = r, string(sent)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(a.code)
	_, _ = io.WriteString(w, a.body)
}

func clientsOf(t *testing.T, handler http.Handler) *Clients {
	t.Helper()
	server := httptest.NewServer(http.StripPrefix("/k8s/clusters/one", handler))
	t.Cleanup(server.Close)
	c, err := NewForConfig(&rest.Config{Host: server.URL + "/k8s/clusters/one", QPS: 1000, Burst: 1000,
		ContentConfig: rest.ContentConfig{ContentType: runtime.ContentTypeJSON}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// names lists the objects of a resource.
func names[T, L runtime.Object](r Reader[T, L]) func(context.Context) ([]string, error) {
	return func(ctx context.Context) (names []string, err error) {
		list, err := r.List(ctx, metav1.ListOptions{LabelSelector: "app=web"})
		if err != nil {
			return nil, err
		}
		return names, meta.EachListItem(list, func(o runtime.Object) error {
			object, err := meta.Accessor(o)
			names = append(names, object.GetName())
			return err
		})
	}
}

func TestClients_ListEveryKind(t *testing.T) {
	api := &apiServer{code: http.StatusOK}
	c := clientsOf(t, api)
	for _, test := range []struct {
		kind, version, path string
		names               func(context.Context) ([]string, error)
	}{
		{"ConfigMapList", "v1", "/api/v1/namespaces/demo/configmaps", names(c.CoreV1().ConfigMaps("demo"))},
		{"EventList", "v1", "/api/v1/namespaces/demo/events", names(c.CoreV1().Events("demo"))},
		{"NamespaceList", "v1", "/api/v1/namespaces", names(c.CoreV1().Namespaces())},
		{"NodeList", "v1", "/api/v1/nodes", names(c.CoreV1().Nodes())},
		{"PodList", "v1", "/api/v1/pods", names(c.CoreV1().Pods(""))},
		{"ReplicationControllerList", "v1", "/api/v1/namespaces/demo/replicationcontrollers",
			names(c.CoreV1().ReplicationControllers("demo"))},
		{"ServiceList", "v1", "/api/v1/namespaces/demo/services", names(c.CoreV1().Services("demo"))},
		{"ControllerRevisionList", "apps/v1", "/apis/apps/v1/namespaces/demo/controllerrevisions",
			names(c.AppsV1().ControllerRevisions("demo"))},
		{"DaemonSetList", "apps/v1", "/apis/apps/v1/namespaces/demo/daemonsets",
			names(c.AppsV1().DaemonSets("demo"))},
		{"DeploymentList", "apps/v1", "/apis/apps/v1/namespaces/demo/deployments",
			names(c.AppsV1().Deployments("demo"))},
		{"ReplicaSetList", "apps/v1", "/apis/apps/v1/namespaces/demo/replicasets",
			names(c.AppsV1().ReplicaSets("demo"))},
		{"StatefulSetList", "apps/v1", "/apis/apps/v1/namespaces/demo/statefulsets",
			names(c.AppsV1().StatefulSets("demo"))},
		{"CronJobList", "batch/v1", "/apis/batch/v1/namespaces/demo/cronjobs", names(c.BatchV1().CronJobs("demo"))},
		{"JobList", "batch/v1", "/apis/batch/v1/jobs", names(c.BatchV1().Jobs(""))},
		{"EndpointSliceList", "discovery.k8s.io/v1", "/apis/discovery.k8s.io/v1/endpointslices",
			names(c.DiscoveryV1().EndpointSlices(""))},
		{"RuntimeClassList", "node.k8s.io/v1", "/apis/node.k8s.io/v1/runtimeclasses",
			names(c.NodeV1().RuntimeClasses())},
		{"ClusterRoleBindingList", "rbac.authorization.k8s.io/v1",
			"/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", names(c.RbacV1().ClusterRoleBindings())},
		{"CertificateSigningRequestList", "certificates.k8s.io/v1",
			"/apis/certificates.k8s.io/v1/certificatesigningrequests",
			names(c.CertificatesV1().CertificateSigningRequests())},
	} {
		api.body = fmt.Sprintf(`{"kind":%q,"apiVersion":%q,"items":[{"metadata":{"name":"a"}}]}`, test.kind,
			test.version)
		got, err := test.names(t.Context())
		if err != nil || len(got) != 1 || got[0] != "a" {
			t.Errorf("%s: %q, %v", test.kind, got, err)
		}
		if api.last.URL.Path != test.path || api.last.URL.Query().Get("labelSelector") != "app=web" {
			t.Errorf("%s: GET %s, want %s", test.kind, api.last.URL, test.path)
		}
	}
}

func TestClients_CreateReviews(t *testing.T) {
	api := &apiServer{code: http.StatusCreated, body: `{"kind":"SelfSubjectAccessReview",
		"apiVersion":"authorization.k8s.io/v1","status":{"allowed":true}}`}
	c := clientsOf(t, api)
	access, err := c.AuthorizationV1().SelfSubjectAccessReviews().Create(t.Context(),
		&authorizationv1.SelfSubjectAccessReview{}, metav1.CreateOptions{})
	if err != nil || !access.Status.Allowed {
		t.Errorf("%v, %v", access, err)
	}
	api.body = `{"kind":"SelfSubjectReview","apiVersion":"authentication.k8s.io/v1",
		"status":{"userInfo":{"username":"alice"}}}`
	user, err := c.AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{},
		metav1.CreateOptions{})
	if err != nil || user.Status.UserInfo.Username != "alice" {
		t.Errorf("%v, %v", user, err)
	}
	if want := "/apis/authentication.k8s.io/v1/selfsubjectreviews"; api.last.URL.Path != want {
		t.Errorf("POST %s, want %s", api.last.URL, want)
	}
}

func TestClients_WriteObjects(t *testing.T) {
	api := &apiServer{code: http.StatusOK, body: `{"kind":"Job","apiVersion":"batch/v1","metadata":{"name":"made"}}`}
	jobs := clientsOf(t, api).BatchV1().Jobs("demo")
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "one"}}
	for _, test := range []struct {
		want string
		send func() (*batchv1.Job, error)
	}{
		{"POST /apis/batch/v1/namespaces/demo/jobs?dryRun=All", func() (*batchv1.Job, error) {
			return jobs.Create(t.Context(), job, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		}},
		{"PUT /apis/batch/v1/namespaces/demo/jobs/one", func() (*batchv1.Job, error) {
			return jobs.Update(t.Context(), job, metav1.UpdateOptions{})
		}},
		{"PATCH /apis/batch/v1/namespaces/demo/jobs/one/status", func() (*batchv1.Job, error) {
			return jobs.Patch(t.Context(), "one", types.MergePatchType, []byte(`{}`), metav1.PatchOptions{}, "status")
		}},
		{"GET /apis/batch/v1/namespaces/demo/jobs/one", func() (*batchv1.Job, error) {
			return jobs.Get(t.Context(), "one", metav1.GetOptions{})
		}},
	} {
		got, err := test.send()
		if err != nil || got.Name != "made" {
			t.Errorf("%s: %v, %v", test.want, got, err)
		}
		if sent := api.last.Method + " " + api.last.URL.String(); sent != test.want {
			t.Errorf("%s, want %s", sent, test.want)
		}
		if test.want[:5] == "PATCH" && api.last.Header.Get("Content-Type") != string(types.MergePatchType) {
			t.Errorf("a patch of type %s", api.last.Header.Get("Content-Type"))
		}
	}
	foreground := metav1.DeletePropagationForeground
	if err := jobs.Delete(t.Context(), "one", metav1.DeleteOptions{PropagationPolicy: &foreground}); err != nil {
		t.Error(err)
	}
	var sent metav1.DeleteOptions
	if err := json.Unmarshal([]byte(api.sent), &sent); err != nil || sent.PropagationPolicy == nil {
		t.Errorf("DELETE with %s: %v", api.sent, err)
	}
}

func TestClients_DecodeErrors(t *testing.T) {
	api := &apiServer{code: http.StatusForbidden, body: `{"kind":"Status","apiVersion":"v1","status":"Failure",
		"reason":"Forbidden","message":"not for you","code":403}`}
	c := clientsOf(t, api)
	_, err := c.CoreV1().Pods("demo").Get(t.Context(), "web", metav1.GetOptions{})
	if !apierrors.IsForbidden(err) || err.Error() != "not for you" {
		t.Errorf("%v", err)
	}
	if _, err := c.ServerVersion(t.Context()); !apierrors.IsForbidden(err) {
		t.Errorf("%v", err)
	}
}

func TestClients_Watch(t *testing.T) {
	api := &apiServer{code: http.StatusOK, body: `{"type":"ADDED","object":{"kind":"Pod","apiVersion":"v1",
		"metadata":{"name":"web"}}}
		{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","reason":"Expired","code":410}}`}
	changes, err := clientsOf(t, api).CoreV1().Pods("demo").Watch(t.Context(), metav1.ListOptions{ResourceVersion: "7"})
	if err != nil {
		t.Fatal(err)
	}
	defer changes.Stop()
	if change := <-changes.ResultChan(); change.Type != watch.Added || change.Object.(*corev1.Pod).Name != "web" {
		t.Errorf("%v", change)
	}
	if change := <-changes.ResultChan(); !apierrors.IsResourceExpired(apierrors.FromObject(change.Object)) {
		t.Errorf("%v", change)
	}
	if want := "/api/v1/namespaces/demo/pods?resourceVersion=7&watch=true"; api.last.URL.String() != want {
		t.Errorf("GET %s, want %s", api.last.URL, want)
	}
}

func TestClients_LogsAndVersion(t *testing.T) {
	api := &apiServer{code: http.StatusOK, body: `{"gitVersion":"v1.37.2"}`}
	c := clientsOf(t, api)
	v, err := c.ServerVersion(t.Context())
	if err != nil || v.GitVersion != "v1.37.2" || api.last.URL.Path != "/version" {
		t.Errorf("%v, %v from %s", v, err, api.last.URL)
	}
	lines := int64(3)
	log, err := c.CoreV1().Pods("demo").GetLogs("web", &corev1.PodLogOptions{Container: "main", TailLines: &lines}).
		DoRaw(t.Context())
	if err != nil || string(log) != api.body {
		t.Errorf("%q, %v", log, err)
	}
	if want := "/api/v1/namespaces/demo/pods/web/log?container=main&tailLines=3"; api.last.URL.String() != want {
		t.Errorf("GET %s, want %s", api.last.URL, want)
	}
}
