package plugin

import (
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"k8s.io/client-go/rest"
)

// pod makes this test a pod: an API server, and a service account to talk to it.
func pod(t *testing.T, handler http.HandlerFunc) {
	t.Helper()
	server := httptest.NewTLSServer(handler)
	t.Cleanup(server.Close)
	dir := t.TempDir()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	for name, content := range map[string]string{"token": "of-the-pod", "namespace": "ml", "ca.crt": string(ca)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	inClusterConfig = func() (*rest.Config, error) {
		return &rest.Config{
			Host: server.URL, BearerTokenFile: filepath.Join(dir, "token"),
			TLSClientConfig: rest.TLSClientConfig{CAFile: filepath.Join(dir, "ca.crt")},
		}, nil
	}
	t.Cleanup(func() { inClusterConfig = rest.InClusterConfig })
	t.Setenv("KUBECONFIG", filepath.Join(dir, "none"))
}

func TestConnect_PodUsesItsServiceAccount(t *testing.T) {
	for _, args := range [][]string{
		{"cleanup"}, {"cleanup", "--request-timeout=5s"}, {"cleanup", "--request-timeout=5s", "--as=alice"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			var seen atomic.Pointer[http.Request]
			pod(t, func(w http.ResponseWriter, r *http.Request) {
				seen.Store(r)
				w.Header().Set("Content-Type", "application/json")
				_, _ = w.Write([]byte(`{"kind":"JobList","apiVersion":"batch/v1","items":[]}`))
			})
			if code, _, errOut := orb8(t, nil, args...); code != ExitOK {
				t.Fatalf("exit code %d: %s", code, errOut)
			}
			r := seen.Load()
			if r.Header.Get("Authorization") != "Bearer of-the-pod" ||
				!strings.Contains(r.URL.Path, "/namespaces/ml/") {
				t.Errorf("%s with %q", r.URL, r.Header.Get("Authorization"))
			}
			if len(args) == 3 && r.Header.Get("Impersonate-User") != "alice" {
				t.Errorf("--as is lost: %v", r.Header)
			}
		})
	}
}

func TestConnect_ReportsMissingKubeconfig(t *testing.T) {
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	for _, args := range []string{
		"cleanup", "cleanup --request-timeout=5s", "trace network --request-timeout=5s", "doctor", "top dns --once",
	} {
		code, out, errOut := orb8(t, nil, strings.Fields(args)...)
		if code != ExitError || out != "" || !strings.HasPrefix(errOut, "error: no kubeconfig: set KUBECONFIG") {
			t.Errorf("%s: exit code %d, %q, %q", args, code, out, errOut)
		}
	}
}

// full is a device without space.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

func TestReplay_PrintsOutputErrorOnce(t *testing.T) {
	path := recording(t, "dns")
	for _, args := range [][]string{
		{"replay", path}, {"replay", path, "-o", "json"}, {"replay", path, "--top", "dns"},
		{"replay", path, "-o", "yaml"},
	} {
		var errOut strings.Builder
		code := Main(args, strings.NewReader(""), full{}, &errOut)
		if code != ExitError || strings.Count(errOut.String(), "no space left on device") != 1 ||
			strings.Count(errOut.String(), "write output") != 1 {
			t.Errorf("%v: exit code %d, stderr %q", args[2:], code, errOut.String())
		}
	}
}
