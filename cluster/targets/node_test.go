package targets

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/orb8-dev/kubectl-orb8/event/session"
)

func runningPod(uid string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: uid, UID: types.UID(uid)},
		Spec:       corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "main"}}},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning},
	}
}

func everyPod(*corev1.Pod) bool { return true }

// apiServer has pods, and can be down.
type apiServer struct {
	down    atomic.Bool
	pods    atomic.Pointer[corev1.PodList]
	watches chan *watch.RaceFreeFakeWatcher
}

func (a *apiServer) source() cache.ListerWatcher {
	errDown := errors.New("connection refused")
	return cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc: func(context.Context, metav1.ListOptions) (runtime.Object, error) {
			if a.down.Load() {
				return nil, errDown
			}
			return a.pods.Load(), nil
		},
		WatchFuncWithContext: func(context.Context, metav1.ListOptions) (watch.Interface, error) {
			if a.down.Load() {
				return nil, errDown
			}
			w := watch.NewRaceFreeFake()
			a.watches <- w
			return w, nil
		},
	}, onlyLists{})
}

// onlyLists is a client that cannot get its first list from a watch.
type onlyLists struct{}

func (onlyLists) IsWatchListSemanticsUnSupported() bool { return true }

func uids(u *session.PodUpdate) (all []string) {
	for _, p := range u.GetUpsert() {
		all = append(all, p.GetUid())
	}
	return all
}

// A pod that starts during an outage of the API server is known soon after it, however long the outage was.
func TestWatchNode_AfterAnOutage(t *testing.T) {
	// They limit errors by a clock that this test has set back.
	handlers := utilruntime.ErrorHandlers
	utilruntime.ErrorHandlers = nil
	defer func() { utilruntime.ErrorHandlers = handlers }()
	synctest.Test(t, func(t *testing.T) {
		a := &apiServer{watches: make(chan *watch.RaceFreeFakeWatcher, 1)}
		a.pods.Store(&corev1.PodList{Items: []corev1.Pod{*runningPod("old"), *runningPod("gone")}})
		var failures atomic.Int64
		n := WatchNode(t.Context(), a.source(), everyPod, func(error) { failures.Add(1) })
		defer n.Close()
		<-n.Synced()
		feed := n.NewFeed("n1")
		if u, err := feed.Next(t.Context()); err != nil || !u.GetComplete() || len(uids(u)) != 2 {
			t.Fatalf("first update %v: %v", u, err)
		}
		changes := <-a.watches
		changes.Add(runningPod("new"))
		if u, err := feed.Next(t.Context()); err != nil || !slices.Equal(uids(u), []string{"new"}) {
			t.Fatalf("update %v: %v", u, err)
		}
		changes.Delete(runningPod("new"))
		if u, err := feed.Next(t.Context()); err != nil || !slices.Equal(u.GetDeleteUids(), []string{"new"}) {
			t.Fatalf("update %v: %v", u, err)
		}

		a.down.Store(true)
		changes.Stop()
		time.Sleep(10 * time.Minute)
		if n := failures.Load(); n < 60 {
			t.Errorf("%d failures in 10 minutes", n)
		}
		a.pods.Store(&corev1.PodList{Items: []corev1.Pod{*runningPod("old"), *runningPod("during")}})
		a.down.Store(false)
		back := time.Now()
		for known := false; !known; {
			u, err := feed.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			known = slices.Contains(uids(u), "during")
		}
		if n.set.Pod("gone") != nil {
			t.Error("a pod that was deleted during the outage is still known")
		}
		if late := time.Since(back); late > 8*time.Second {
			t.Errorf("the pod is known %v after the outage", late)
		}
	})
}

func TestPodsOf_AsksForTheNodeOnly(t *testing.T) {
	requests := make(chan string, 16)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case requests <- r.URL.Path + " " + r.URL.Query().Get("fieldSelector") + " " + r.Header.Get("Authorization"):
		default:
		}
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Query().Get("watch") != "" {
			w.WriteHeader(http.StatusBadRequest) // as a server without the first list in a watch
			return
		}
		_, _ = w.Write([]byte(`{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"7"},"items":[
			{"metadata":{"name":"web-0","namespace":"demo","uid":"u1"},"spec":{"nodeName":"n1"},
			 "status":{"phase":"Running"}}]}`))
	}))
	defer server.Close()
	source, err := PodsOf(&rest.Config{Host: server.URL, BearerToken: "secret"}, "n1")
	if err != nil {
		t.Fatal(err)
	}
	n := WatchNode(t.Context(), source, everyPod, func(error) {})
	defer n.Close()
	select {
	case <-n.Synced():
	case <-time.After(time.Minute):
		t.Fatal("the pods were not listed")
	}
	if u, err := n.NewFeed("n1").Next(t.Context()); err != nil || !slices.Equal(uids(u), []string{"u1"}) {
		t.Errorf("update %v: %v", u, err)
	}
	if got := <-requests; !strings.HasPrefix(got, "/api/v1/pods spec.nodeName=n1 Bearer secret") {
		t.Errorf("request %q", got)
	}
}
