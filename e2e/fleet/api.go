package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/scheme"
)

// api plays the API server to one server: it lists, watches, creates and updates objects of any built-in type, and
// reviews the access of users. It has no users of its own, no admission and no history of objects.
type api struct {
	// mayGet answers SubjectAccessReviews.
	mayGet func(namespace string) bool

	mu       sync.Mutex
	version  uint64
	objects  map[string]map[string]entry // by collection, then by namespace and name
	watchers map[*watcher]struct{}
}

// entry is an object, encoded.
type entry struct {
	namespace string
	labels    map[string]string
	encoded   json.RawMessage
}

// watcher is a watch that runs.
type watcher struct {
	request
	changes chan change
}

// change is of a watch.
type change struct {
	Type   watch.EventType `json:"type"`
	Object json.RawMessage `json:"object"`
}

// maxChanges is how many changes a watch may be behind. It ends then, and its client lists again.
const maxChanges = 1 << 14

// maxBody limits the body of a request, bytes.
const maxBody = 4 << 20

func newAPI(mayGet func(string) bool) *api {
	return &api{mayGet: mayGet, version: 1, objects: map[string]map[string]entry{}, watchers: map[*watcher]struct{}{}}
}

// request is what a path and its query ask for.
type request struct {
	collection, namespace, name string
	// label and value are a selector; an empty label: all.
	label, value string
}

// parseRequest reads /api/v1/[namespaces/NAMESPACE/]RESOURCE[/NAME], or the same below /apis/GROUP/VERSION.
func parseRequest(r *http.Request) (q request, ok bool) {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	group := 2
	if parts[0] == "apis" {
		group = 3
	}
	if len(parts) <= group {
		return q, false
	}
	q.collection, parts = strings.Join(parts[:group], "/"), parts[group:]
	if parts[0] == "namespaces" && len(parts) > 2 {
		q.namespace, parts = parts[1], parts[2:]
	}
	q.collection += "/" + parts[0]
	if len(parts) > 1 {
		q.name = parts[1]
	}
	q.label, q.value, _ = strings.Cut(r.URL.Query().Get("labelSelector"), "=")
	return q, true
}

func (q *request) match(e *entry) bool {
	return (q.namespace == "" || q.namespace == e.namespace) && (q.label == "" || e.labels[q.label] == q.value)
}

// put stores an object of a collection and tells who watches.
func (a *api) put(collection string, object runtime.Object) error {
	m, ok := object.(metav1.Object)
	if !ok {
		return fmt.Errorf("%T is no object with a name", object)
	}
	kinds, _, err := scheme.Scheme.ObjectKinds(object)
	if err != nil {
		return err
	}
	object.GetObjectKind().SetGroupVersionKind(kinds[0])
	a.mu.Lock()
	defer a.mu.Unlock()
	a.version++
	m.SetResourceVersion(strconv.FormatUint(a.version, 10))
	encoded, err := json.Marshal(object)
	if err != nil {
		return err
	}
	if a.objects[collection] == nil {
		a.objects[collection] = map[string]entry{}
	}
	key := m.GetNamespace() + "/" + m.GetName()
	kind := watch.Added
	if _, exists := a.objects[collection][key]; exists {
		kind = watch.Modified
	}
	e := entry{m.GetNamespace(), m.GetLabels(), encoded}
	a.objects[collection][key] = e
	a.notify(collection, kind, &e)
	return nil
}

// remove deletes an object.
func (a *api) remove(collection, namespace, name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	key := namespace + "/" + name
	if e, exists := a.objects[collection][key]; exists {
		a.version++
		delete(a.objects[collection], key)
		a.notify(collection, watch.Deleted, &e)
	}
}

// notify passes a change on. The lock is held.
func (a *api) notify(collection string, kind watch.EventType, e *entry) {
	for w := range a.watchers {
		if w.collection != collection || !w.match(e) {
			continue
		}
		select {
		case w.changes <- change{kind, e.encoded}:
		default:
			delete(a.watchers, w)
			close(w.changes)
		}
	}
}

// ServeHTTP implements http.Handler.
func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q, ok := parseRequest(r)
	switch {
	case !ok:
		fail(w, http.StatusNotFound, metav1.StatusReasonNotFound)
	case r.Method == http.MethodPost && strings.HasSuffix(q.collection, "/subjectaccessreviews"):
		a.review(w, r)
	case r.Method == http.MethodPost || r.Method == http.MethodPut:
		a.write(w, r, &q)
	case r.Method != http.MethodGet:
		fail(w, http.StatusMethodNotAllowed, metav1.StatusReasonMethodNotAllowed)
	case q.name != "":
		a.get(w, &q)
	case r.URL.Query().Get("watch") == "true":
		a.watch(w, r, &q)
	default:
		a.list(w, r, &q)
	}
}

func fail(w http.ResponseWriter, code int, reason metav1.StatusReason) {
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(&metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"},
		Status: metav1.StatusFailure, Code: int32(code), Reason: reason, Message: string(reason)})
}

func answer(w http.ResponseWriter, object any) {
	w.Header().Set("Content-Type", runtime.ContentTypeJSON)
	_ = json.NewEncoder(w).Encode(object) // a client that is gone misses nothing
}

// decodeBody decodes the object of a request.
func decodeBody(r *http.Request) (runtime.Object, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	if err != nil {
		return nil, err
	}
	object, _, err := scheme.Codecs.UniversalDeserializer().Decode(body, nil, nil)
	return object, err
}

func (a *api) review(w http.ResponseWriter, r *http.Request) {
	object, err := decodeBody(r)
	review, ok := object.(*authorizationv1.SubjectAccessReview)
	if err != nil || !ok || review.Spec.ResourceAttributes == nil {
		fail(w, http.StatusBadRequest, metav1.StatusReasonBadRequest)
		return
	}
	review.SetGroupVersionKind(authorizationv1.SchemeGroupVersion.WithKind("SubjectAccessReview"))
	review.Status.Allowed = a.mayGet(review.Spec.ResourceAttributes.Namespace)
	answer(w, review)
}

func (a *api) write(w http.ResponseWriter, r *http.Request, q *request) {
	object, err := decodeBody(r)
	if err == nil {
		err = a.put(q.collection, object)
	}
	if err != nil {
		fail(w, http.StatusBadRequest, metav1.StatusReasonBadRequest)
		return
	}
	answer(w, object)
}

func (a *api) get(w http.ResponseWriter, q *request) {
	a.mu.Lock()
	e, ok := a.objects[q.collection][q.namespace+"/"+q.name]
	a.mu.Unlock()
	if !ok {
		fail(w, http.StatusNotFound, metav1.StatusReasonNotFound)
		return
	}
	answer(w, e.encoded)
}

// selected returns the objects of a request, and the version of the collection. The lock is held.
func (a *api) selected(q *request) (found []json.RawMessage, version string) {
	for _, e := range a.objects[q.collection] {
		if q.match(&e) {
			found = append(found, e.encoded)
		}
	}
	return found, strconv.FormatUint(a.version, 10)
}

// kindsOf are the kinds of lists, and of the objects in bookmarks.
var kindsOf = map[string][2]string{
	"api/v1/pods": {"Pod", "v1"}, "api/v1/services": {"Service", "v1"}, "api/v1/nodes": {"Node", "v1"},
	"apis/discovery.k8s.io/v1/endpointslices":                {"EndpointSlice", "discovery.k8s.io/v1"},
	"apis/certificates.k8s.io/v1/certificatesigningrequests": {"CertificateSigningRequest", "certificates.k8s.io/v1"},
}

func (a *api) list(w http.ResponseWriter, r *http.Request, q *request) {
	kind, known := kindsOf[q.collection]
	if !known {
		fail(w, http.StatusNotFound, metav1.StatusReasonNotFound)
		return
	}
	a.mu.Lock()
	items, version := a.selected(q)
	a.mu.Unlock()
	if r.URL.Query().Get("limit") == "1" {
		items = items[:min(len(items), 1)]
	}
	if items == nil {
		items = []json.RawMessage{}
	}
	answer(w, map[string]any{"kind": kind[0] + "List", "apiVersion": kind[1], "items": items,
		"metadata": map[string]string{"resourceVersion": version}})
}

// watch sends all objects and then changes, or changes only: every watch begins now, whatever version it names.
func (a *api) watch(w http.ResponseWriter, r *http.Request, q *request) {
	kind, known := kindsOf[q.collection]
	if !known {
		fail(w, http.StatusNotFound, metav1.StatusReasonNotFound)
		return
	}
	all := r.URL.Query().Get("sendInitialEvents") == "true"
	mine := &watcher{request: *q, changes: make(chan change, maxChanges)}
	a.mu.Lock()
	first, version := a.selected(q)
	a.watchers[mine] = struct{}{}
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.watchers, mine)
	}()
	w.Header().Set("Content-Type", runtime.ContentTypeJSON)
	out := json.NewEncoder(w)
	flush := http.NewResponseController(w)
	if all {
		for _, object := range slices.All(first) {
			if out.Encode(change{watch.Added, object}) != nil {
				return
			}
		}
		end := fmt.Sprintf(`{"kind":%q,"apiVersion":%q,"metadata":{"resourceVersion":%q,"annotations":{%q:"true"}}}`,
			kind[0], kind[1], version, metav1.InitialEventsAnnotationKey)
		if out.Encode(change{watch.Bookmark, json.RawMessage(end)}) != nil {
			return
		}
	}
	for {
		if flush.Flush() != nil {
			return
		}
		select {
		case c, ok := <-mine.changes:
			if !ok || out.Encode(c) != nil {
				return
			}
		case <-r.Context().Done():
			return
		}
	}
}
