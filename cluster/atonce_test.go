package cluster

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"

	"github.com/orb8-dev/kubectl-orb8/internal/kube"
)

// TestOpen_AsksAtOnce holds back the answers about the query's names until all of them, and the list of pods, were
// asked for.
func TestOpen_AsksAtOnce(t *testing.T) {
	asked := map[string]func(){}
	var all sync.WaitGroup
	for _, name := range []string{"web-0", "client", ""} {
		all.Add(1)
		asked[name] = sync.OnceFunc(all.Done)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		const pods = "/api/v1/namespaces/demo/pods"
		_, streams := r.URL.Query()["sendInitialEvents"]
		if streams || !strings.HasPrefix(r.URL.Path, pods) {
			http.Error(w, "no", http.StatusBadRequest)
			return
		}
		if r.URL.Query().Get("watch") != "" {
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
			return
		}
		name := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, pods), "/")
		var answer any = pod("demo", path.Base(name), "n1", "10.2.0.5")
		if name == "" {
			answer = &corev1.PodList{Items: []corev1.Pod{*pod("demo", "web-0", "n1", "10.2.0.5"),
				*pod("demo", "client", "n2", "10.2.0.6"), *pod("demo", "other", "n3", "10.2.0.7")}}
		}
		asked[name]()
		all.Wait()
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(answer); err != nil {
			t.Error(err)
		}
	}))
	defer server.Close()
	client, err := kube.NewForConfig(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := Open(ctx, client, Query{Namespace: "demo", Names: []string{"web-0", "client"}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if pods, nodes := c.Targets(); pods != 2 || nodes != 2 {
		t.Errorf("%d targets on %d nodes", pods, nodes)
	}
}
