package plugin

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// withAuthProvider sets a kubeconfig whose user has an auth-provider.
func withAuthProvider(t *testing.T, server, provider, config string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "%s"}}]
users: [{name: u, user: {auth-provider: {name: %s, config: {%s}}}}]
contexts: [{name: c, context: {cluster: c, user: u, namespace: ml}}]
current-context: c
`, server, provider, config)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBECONFIG", path)
}

func TestAuth_SendsTheTokenOfOIDC(t *testing.T) {
	var token atomic.Value
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token.Store(r.Header.Get("Authorization"))
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"kind":"JobList","apiVersion":"batch/v1","items":[]}`))
	}))
	t.Cleanup(server.Close)
	part := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	id := strings.Join([]string{part(`{"alg":"none"}`),
		part(fmt.Sprintf(`{"exp":%d}`, time.Now().Add(time.Hour).Unix())), part("-")}, ".")
	withAuthProvider(t, server.URL, "oidc", `idp-issuer-url: "https://idp.invalid", client-id: k8s, id-token: `+id)
	if code, _, errOut := orb8(t, nil, "cleanup", "--insecure-skip-tls-verify"); code != ExitOK {
		t.Fatalf("exit code %d: %s", code, errOut)
	}
	if got := token.Load(); got != "Bearer "+id {
		t.Errorf("authorization %q", got)
	}
}

func TestAuth_NamesWhatReplacedAProvider(t *testing.T) {
	withAuthProvider(t, "https://127.0.0.1:1", "gcp", "")
	code, _, errOut := orb8(t, nil, "cleanup")
	if code != ExitError || !strings.Contains(errOut, "gke-gcloud-auth-plugin") {
		t.Errorf("exit code %d: %s", code, errOut)
	}
}
