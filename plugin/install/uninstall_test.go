package install

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/orb8-dev/kubectl-orb8/deploy"
)

var update = flag.Bool("update", false, "write the golden files")

func unmarshal(text string, into any) error { return yaml.Unmarshal([]byte(text), into) }

// putRuntime stores what servers and users make after the installation.
func putRuntime(t *testing.T, h *harness) {
	for _, text := range []string{
		"apiVersion: v1\nkind: Secret\nmetadata: {name: orb8-authority, namespace: orb8-system}",
		"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: orb8-authority, namespace: orb8-system}",
		"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: kube-root-ca.crt, namespace: orb8-system}",
		"apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: default, namespace: orb8-system}",
		`apiVersion: coordination.k8s.io/v1
kind: Lease
metadata: {name: orb8-signer, namespace: orb8-system,
  labels: {app.kubernetes.io/name: orb8, app.kubernetes.io/managed-by: orb8}}`,
		`apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: "orb8-view:user:alice", namespace: shop,
  labels: {app.kubernetes.io/name: orb8, app.kubernetes.io/managed-by: orb8, app.kubernetes.io/component: access}}`,
		`apiVersion: certificates.k8s.io/v1
kind: CertificateSigningRequest
metadata: {name: orb8-x7k}
spec: {signerName: orb8.dev/viewer, request: ""}`,
		`apiVersion: certificates.k8s.io/v1
kind: CertificateSigningRequest
metadata: {name: other}
spec: {signerName: example.com/other, request: ""}`,
		"apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}",
	} {
		h.api.PutYAML(t, text)
	}
}

// others are the objects that uninstall must not touch.
const others = "certificatesigningrequests /other, namespaces /shop"

func TestUninstall_LeavesNothing(t *testing.T) {
	h := newHarness(t)
	h.install(t)
	putRuntime(t, h)
	h.drain()
	some, err := h.Uninstall(t.Context(), deploy.DefaultNamespace, 5*time.Second)
	if err != nil || !some {
		t.Fatalf("%v, %v", some, err)
	}
	if got := strings.Join(h.api.Objects(), ", "); got != others {
		t.Errorf("left %s", got)
	}
	results := h.drain()
	if !strings.HasPrefix(results[0], "daemonset.apps/orb8-agent in namespace ") &&
		!strings.HasPrefix(results[0], "deployment.apps/orb8-server in namespace ") {
		t.Errorf("first %s, want what makes other objects", results[0])
	}
	if last := results[len(results)-1]; last != "namespace/orb8-system deleted" {
		t.Errorf("last %s", last)
	}
	if some, err := h.Uninstall(t.Context(), deploy.DefaultNamespace, 5*time.Second); err != nil || some {
		t.Errorf("a second time: %v, %v", some, err)
	}
}

func TestUninstall_ContinuesAfterTimeout(t *testing.T) {
	h := newHarness(t)
	h.install(t)
	putRuntime(t, h)
	h.api.Hold("daemonsets")
	_, err := h.Uninstall(t.Context(), deploy.DefaultNamespace, 2*time.Second)
	var left *LeftError
	if !errors.As(err, &left) || !strings.Contains(err.Error(), "daemonset.apps/orb8-agent") {
		t.Fatalf("%v", err)
	}
	if h.api.Object("clusterroles", "", deploy.Agent) == nil {
		t.Error("the roles went before the agents")
	}
	h.api.Release("daemonsets")
	h.api.Remove("clusterrolebindings", "", deploy.Agent)
	if _, err := h.Uninstall(t.Context(), deploy.DefaultNamespace, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(h.api.Objects(), ", "); got != others {
		t.Errorf("left %s", got)
	}
}

func TestUninstall_KeepsForeignObjects(t *testing.T) {
	h := newHarness(t)
	h.install(t)
	h.api.PutYAML(t, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: mine, namespace: orb8-system}")
	_, err := h.Uninstall(t.Context(), deploy.DefaultNamespace, 5*time.Second)
	if err == nil || !strings.Contains(err.Error(), "configmap/mine") {
		t.Errorf("%v", err)
	}
	if h.api.Object("configmaps", deploy.DefaultNamespace, "mine") == nil {
		t.Error("it is gone")
	}
}

func TestUninstall_NamesMissingRights(t *testing.T) {
	h := newHarness(t)
	h.install(t)
	before := writes(h)
	h.api.Forbid(func(verb, resource string) bool { return verb == "delete" && resource == "clusterroles" })
	_, err := h.Uninstall(t.Context(), deploy.DefaultNamespace, 5*time.Second)
	if err == nil || !strings.Contains(err.Error(), "delete clusterroles.rbac.authorization.k8s.io") {
		t.Errorf("%v", err)
	}
	if n := writes(h); n > before {
		t.Errorf("%d writes before the error", n-before)
	}
}

func TestStatus_Golden(t *testing.T) {
	h := newHarness(t)
	if _, err := h.Status(t.Context()); !errors.Is(err, ErrNotInstalled) {
		t.Errorf("nothing installed: %v", err)
	}
	h.runPods(t, `reason: CreateContainerError, message: "no \x1b[31m such\nruntime"`)
	if _, err := h.Install(t.Context(), h.options); err == nil {
		t.Fatal("installed")
	}
	s, err := h.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.Pods[0].Version = "v1.1.0"
	var out bytes.Buffer
	if err := errors.Join(s.WriteTable(&out, true), s.WriteJSON(&out)); err != nil {
		t.Fatal(err)
	}
	lines, health := s.Verdict("v1.3.0")
	out.WriteString(strings.Join(lines, "\n") + "\n")
	if health != Degraded {
		t.Errorf("health %d", health)
	}
	path := filepath.Join("testdata", "status.golden")
	if *update {
		if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || string(want) != out.String() {
		t.Errorf("%v; got\n%s", err, out.String())
	}
}
