package signer

import (
	"context"
	"encoding/pem"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"

	certificatesv1 "k8s.io/api/certificates/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/orb8-dev/kubectl-orb8/server/authority"
	"github.com/orb8-dev/kubectl-orb8/server/metrics"
)

// versioned makes the fake API server refuse writes of stale requests, as a real one does. It returns the certificates
// that were stored, by request, and the number of refused writes.
func versioned(client *fake.Clientset) (stored map[string][]string, conflicts *int) {
	var mu sync.Mutex
	versions := map[string]int{}
	stored, conflicts = map[string][]string{}, new(int)
	resource := certificatesv1.SchemeGroupVersion.WithResource("certificatesigningrequests")
	client.PrependReactor("update", resource.Resource, func(a clienttesting.Action) (bool, runtime.Object, error) {
		mu.Lock()
		defer mu.Unlock()
		r := a.(clienttesting.UpdateAction).GetObject().(*certificatesv1.CertificateSigningRequest).DeepCopy()
		current := ""
		if n := versions[r.Name]; n > 0 {
			current = fmt.Sprint(n)
		}
		if r.ResourceVersion != current {
			*conflicts++
			return true, nil, apierrors.NewConflict(schema.GroupResource{Resource: resource.Resource}, r.Name, nil)
		}
		versions[r.Name]++
		r.ResourceVersion = fmt.Sprint(versions[r.Name])
		if text := string(r.Status.Certificate); text != "" {
			stored[r.Name] = append(stored[r.Name], text)
		}
		return true, r, client.Tracker().Update(resource, r, "")
	})
	return stored, conflicts
}

// errorCount is a log that counts errors and refusals.
type errorCount struct {
	slog.Handler
	mu    sync.Mutex
	lines []string
}

func (e *errorCount) Enabled(context.Context, slog.Level) bool { return true }

func (e *errorCount) Handle(_ context.Context, r slog.Record) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if r.Level >= slog.LevelWarn {
		e.lines = append(e.lines, r.Message)
	}
	return nil
}

func TestRun_TwoReplicasSignOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset()
		stored, conflicts := versioned(client)
		log := &errorCount{}
		ctx, cancel := context.WithCancel(t.Context())
		var replicas sync.WaitGroup
		for range 2 {
			a, err := authority.Open(ctx, client, authority.Options{Namespace: "orb8-system"})
			if err != nil {
				t.Fatal(err)
			}
			replicas.Go(func() {
				if err := Run(ctx, client, a, slog.New(log), func(metrics.Result) {}); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		const requests = 8
		for i := range requests {
			create(t, client, request(t, fmt.Sprint("r", i)))
		}
		for i := range requests {
			name := fmt.Sprint("r", i)
			verifySigned(t, client, name)
			if n := len(stored[name]); n != 1 {
				t.Errorf("%s: %d certificates, want 1", name, n)
			} else if _, rest := pem.Decode([]byte(stored[name][0])); len(rest) > 0 {
				t.Errorf("%s: more than one certificate", name)
			}
		}
		cancel()
		replicas.Wait()
		if len(log.lines) > 0 {
			t.Errorf("logged %q", log.lines)
		}
		if *conflicts == 0 {
			t.Error("the replicas did not race")
		}
	})
}
