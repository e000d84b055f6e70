package install

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"

	"github.com/orb8-dev/kubectl-orb8/deploy"
	"github.com/orb8-dev/kubectl-orb8/internal/kube"
	"github.com/orb8-dev/kubectl-orb8/plugin/internal/fakeapi"
)

const image = "ghcr.io/orb8-dev/orb8:v1.2.3"

// harness is an installer of a fake cluster with two nodes.
type harness struct {
	*Installer
	api     *fakeapi.Server
	options *Options

	mu      sync.Mutex
	results []string
	log     []string
}

func newHarness(t *testing.T) *harness {
	t.Helper()
	h := &harness{api: fakeapi.New(t)}
	config := h.api.Config()
	client, err := kube.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	objects, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	lister, err := metadata.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	h.Installer = &Installer{
		Client: client, Dynamic: objects, Discover: Discover(client), List: List(lister),
		Resultf:  func(format string, args ...any) { h.add(&h.results, fmt.Sprintf(format, args...)) },
		Logf:     func(format string, args ...any) { h.add(&h.log, fmt.Sprintf(format, args...)) },
		Interval: time.Millisecond, StuckTime: 10 * time.Millisecond,
	}
	h.options = &Options{
		Defaults: deploy.Default(deploy.DefaultNamespace, "v1.2.3", image),
		Override: func(*deploy.Values) error { return nil }, Timeout: 5 * time.Second,
	}
	h.runPods(t, "")
	return h
}

func (h *harness) add(list *[]string, line string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	*list = append(*list, line)
}

// drain returns the results since the last call.
func (h *harness) drain() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	taken := h.results
	h.results = nil
	return taken
}

// as makes the installer one of another version.
func (h *harness) as(version string) {
	h.options.Defaults = deploy.Default(deploy.DefaultNamespace, version,
		strings.Replace(image, "v1.2.3", version, 1))
}

// runPods does what the cluster's controllers do: each DaemonSet and Deployment has its pods at once. waiting, if not
// empty, is why those of node-2 do not start.
func (h *harness) runPods(t *testing.T, waiting string) {
	h.api.After(func(r fakeapi.Request) {
		u := h.api.Object(r.Resource, r.Namespace, r.Name)
		if u == nil {
			return
		}
		switch r.Resource {
		case "daemonsets":
			h.setStatus(t, u, `{"desiredNumberScheduled": 2}`)
			h.putPods(t, u, waiting)
		case "deployments":
			want, _, _ := unstructured.NestedInt64(u.Object, "spec", "replicas")
			h.setStatus(t, u, fmt.Sprintf(
				`{"replicas": %d, "updatedReplicas": %[1]d, "availableReplicas": %[1]d}`, want))
			for n := range want {
				h.putPod(t, u, fmt.Sprintf("orb8-server-%d", n), "node-1", "")
			}
		}
	})
}

func (h *harness) setStatus(t *testing.T, u *unstructured.Unstructured, status string) {
	fields := map[string]any{}
	if err := unmarshal(status, &fields); err != nil {
		t.Error(err)
	}
	u.Object["status"] = fields
	h.api.Put(t, u)
}

func (h *harness) putPods(t *testing.T, set *unstructured.Unstructured, waiting string) {
	h.api.PutYAML(t, fmt.Sprintf(`
apiVersion: apps/v1
kind: ControllerRevision
metadata:
  name: orb8-agent-1
  namespace: %s
  labels: {app.kubernetes.io/name: orb8, app.kubernetes.io/managed-by: orb8, app.kubernetes.io/component: agent,
    controller-revision-hash: h1}
  ownerReferences: [{apiVersion: apps/v1, kind: DaemonSet, name: orb8-agent, uid: %s, controller: true}]
revision: 1
`, set.GetNamespace(), set.GetUID()))
	h.putPod(t, set, "orb8-agent-a", "node-1", "")
	h.putPod(t, set, "orb8-agent-b", "node-2", waiting)
}

func (h *harness) putPod(t *testing.T, owner *unstructured.Unstructured, name, node, waiting string) {
	component := owner.GetLabels()[deploy.LabelComponent]
	state, ready := "running: {}", "True"
	if waiting != "" {
		state, ready = "waiting: {"+waiting+"}", "False"
	}
	h.api.PutYAML(t, fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata:
  name: %s
  namespace: %s
  labels: {app.kubernetes.io/name: orb8, app.kubernetes.io/managed-by: orb8, app.kubernetes.io/component: %s,
    controller-revision-hash: h1}
  annotations: {orb8.dev/version: %s}
  ownerReferences: [{apiVersion: apps/v1, kind: %s, name: %s, uid: %s, controller: true}]
spec: {nodeName: %s}
status:
  phase: Running
  conditions: [{type: Ready, status: "%s"}]
  containerStatuses: [{name: %[3]s, image: "%[10]s", state: {%[11]s}}]
`, name, owner.GetNamespace(), component, owner.GetAnnotations()[deploy.AnnotationVersion], owner.GetKind(),
		owner.GetName(), owner.GetUID(), node, ready, image, state))
}

func (h *harness) install(t *testing.T) {
	t.Helper()
	if _, err := h.Install(t.Context(), h.options); err != nil {
		t.Fatal(err)
	}
}

func writes(h *harness) (n int) {
	for _, r := range h.api.Requests() {
		if r.Verb == "apply" || r.Verb == "delete" {
			n++
		}
	}
	return n
}

func TestInstall_TwiceIsUnchanged(t *testing.T) {
	h := newHarness(t)
	h.install(t)
	for _, line := range h.drain() {
		if !strings.HasSuffix(line, " created") {
			t.Errorf("first: %s", line)
		}
	}
	if !slices.Contains(h.log, "2/2 nodes ready, 2/2 servers ready") {
		t.Errorf("progress %q", h.log)
	}
	before := h.api.Objects()
	h.install(t)
	second := h.drain()
	for _, line := range second {
		if !strings.HasSuffix(line, " unchanged") {
			t.Errorf("second: %s", line)
		}
	}
	if len(second) < 20 || !slices.Equal(before, h.api.Objects()) {
		t.Errorf("%d results; objects before %q and after %q", len(second), before, h.api.Objects())
	}
}

func TestInstall_ObjectsAreAnApplySet(t *testing.T) {
	h := newHarness(t)
	h.install(t)
	parent := h.api.Object("configmaps", deploy.DefaultNamespace, parentName)
	id := parent.GetLabels()[labelSetID]
	if id != "applyset-"+strings.TrimSuffix(strings.TrimPrefix(id, "applyset-"), "-v1")+"-v1" || len(id) > 63 {
		t.Errorf("id %q", id)
	}
	kinds := parent.GetAnnotations()[annotationContents]
	if !strings.Contains(kinds, "DaemonSet.apps,Deployment.apps,") {
		t.Errorf("kinds %q", kinds)
	}
	if set := h.api.Object("daemonsets", deploy.DefaultNamespace, deploy.Agent); set.GetLabels()[labelPartOf] != id {
		t.Errorf("labels %v, want part of %s", set.GetLabels(), id)
	}
}

func TestUpgrade_KeepsValuesAndPrunes(t *testing.T) {
	h := newHarness(t)
	h.options.Override = func(v *deploy.Values) error {
		v.Replicas = 3
		return nil
	}
	h.install(t)
	// An object that the new version does not have, and a kind that its parent lists.
	id := setID(deploy.DefaultNamespace)
	parent := h.api.Object("configmaps", deploy.DefaultNamespace, parentName)
	annotations := parent.GetAnnotations()
	annotations[annotationContents] += ",Lease.coordination.k8s.io"
	parent.SetAnnotations(annotations)
	h.api.Put(t, parent)
	for _, kind := range []string{"v1\nkind: ConfigMap", "coordination.k8s.io/v1\nkind: Lease"} {
		h.api.PutYAML(t, "apiVersion: "+kind+
			"\nmetadata: {name: gone, namespace: orb8-system, labels: {"+labelPartOf+": "+id+"}}")
	}
	h.as("v1.3.0")
	h.options.Override = func(*deploy.Values) error { return nil }
	if _, err := h.Install(t.Context(), h.options); err == nil || !strings.Contains(err.Error(), "orb8 upgrade") {
		t.Fatalf("install over v1.2.3: %v", err)
	}
	h.options.Upgrade = true
	h.drain()
	h.install(t)
	results := strings.Join(h.drain(), "\n")
	for _, want := range []string{"daemonset.apps/orb8-agent configured", "configmap/gone pruned",
		"lease.coordination.k8s.io/gone pruned"} {
		if !strings.Contains(results, want) {
			t.Errorf("want %q in\n%s", want, results)
		}
	}
	server := h.api.Object("deployments", deploy.DefaultNamespace, deploy.Server)
	if n, _, _ := unstructured.NestedInt64(server.Object, "spec", "replicas"); n != 3 {
		t.Errorf("%d replicas, want the 3 of before", n)
	}
	parent = h.api.Object("configmaps", deploy.DefaultNamespace, parentName)
	if strings.Contains(parent.GetAnnotations()[annotationContents], "Lease") {
		t.Error("the parent still lists what is gone")
	}
}

func TestUpgrade_WantsNewImage(t *testing.T) {
	h := newHarness(t)
	h.options.Override = func(v *deploy.Values) error {
		v.Image = "mirror.example.com/orb8:v1.2.3"
		return nil
	}
	h.install(t)
	h.options.Override = func(*deploy.Values) error { return nil }
	h.install(t)
	if got := h.api.Object("daemonsets", deploy.DefaultNamespace, deploy.Agent); !strings.Contains(
		fmt.Sprint(got.Object), "mirror.example.com") {
		t.Error("install without --image changes it")
	}
	h.as("v1.3.0")
	h.options.Upgrade = true
	if _, err := h.Install(t.Context(), h.options); err == nil || !strings.Contains(err.Error(), "--image") {
		t.Errorf("upgrade: %v", err)
	}
}

func TestInstall_NamesMissingRights(t *testing.T) {
	h := newHarness(t)
	h.api.Forbid(func(verb, resource string) bool { return verb == "create" && resource == "clusterroles" })
	_, err := h.Install(t.Context(), h.options)
	if err == nil || !strings.Contains(err.Error(), "create clusterroles.rbac.authorization.k8s.io") {
		t.Errorf("%v", err)
	}
	if n := writes(h); n > 0 {
		t.Errorf("%d writes before the error", n)
	}
}

func TestInstall_FailsBeforeTheFirstWrite(t *testing.T) {
	h := newHarness(t)
	h.install(t)
	before := writes(h)
	h.api.Conflict("configmaps", ".data.config.yaml")
	_, err := h.Install(t.Context(), h.options)
	if err == nil || !strings.Contains(err.Error(), ".data.config.yaml") ||
		!strings.Contains(err.Error(), "--force-conflicts") {
		t.Errorf("%v", err)
	}
	if n := writes(h); n > before {
		t.Errorf("%d writes before the error", n-before)
	}
	h.options.ForceConflicts = true
	h.install(t)
}

func TestInstall_DryRunWritesNothing(t *testing.T) {
	h := newHarness(t)
	h.options.DryRun = true
	objects, err := h.Install(t.Context(), h.options)
	if err != nil || len(objects) < 20 || len(h.api.Objects()) > 0 {
		t.Errorf("%d objects printed, %v in the cluster, %v", len(objects), h.api.Objects(), err)
	}
}

func TestInstall_Namespaces(t *testing.T) {
	namespace := func(extra string) string {
		return "apiVersion: v1\nkind: Namespace\nmetadata: {name: orb8-system" + extra + "}"
	}
	for _, test := range []struct{ name, namespace, want string }{
		{"restricted", namespace(`, labels: {pod-security.kubernetes.io/enforce: restricted}`),
			"namespace orb8-system forbids agents (Pod Security level restricted): allow them with: kubectl label"},
		{"deleted", namespace(`, deletionTimestamp: "2026-01-01T00:00:00Z"`), "is being deleted"},
		{"privileged", namespace(`, labels: {pod-security.kubernetes.io/enforce: privileged}`), ""},
		{"of the user", namespace(""), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHarness(t)
			h.api.PutYAML(t, test.namespace)
			_, err := h.Install(t.Context(), h.options)
			if test.want != "" {
				if err == nil || !strings.Contains(err.Error(), test.want) || writes(h) > 0 {
					t.Errorf("%v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if ns := h.api.Object("namespaces", "", deploy.DefaultNamespace); ns.GetLabels()[deploy.LabelName] != "" {
				t.Errorf("the user's namespace was labelled: %v", ns.GetLabels())
			}
			if _, err := h.Uninstall(t.Context(), deploy.DefaultNamespace, 5*time.Second); err != nil {
				t.Fatal(err)
			}
			if got := h.api.Objects(); !slices.Equal(got, []string{"namespaces /orb8-system"}) {
				t.Errorf("left %q", got)
			}
		})
	}
}

func TestInstall_OneInACluster(t *testing.T) {
	h := newHarness(t)
	h.install(t)
	h.options.Defaults.Namespace = "other"
	if _, err := h.Install(t.Context(), h.options); err == nil || !strings.Contains(err.Error(), "-n orb8-system") {
		t.Errorf("%v", err)
	}
}

func TestInstall_GivesUpOnStuckNodes(t *testing.T) {
	h := newHarness(t)
	h.runPods(t, `reason: ImagePullBackOff, message: "Back-off pulling image"`)
	_, err := h.Install(t.Context(), h.options)
	var rollout *RolloutError
	if !errors.As(err, &rollout) || rollout.Ready != 1 ||
		!strings.Contains(err.Error(), "node-2: can not pull image "+image) {
		t.Errorf("%v", err)
	}
}

func TestInstall_TimesOut(t *testing.T) {
	h := newHarness(t)
	h.runPods(t, `reason: ContainerCreating`)
	h.options.Timeout = 2 * time.Second
	_, err := h.Install(t.Context(), h.options)
	const want = "not complete after 2s: 1/2 nodes ready, 2/2 servers ready: node-2: starting"
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.Install(ctx, h.options); err == nil {
		t.Error("no error of a canceled context")
	}
}

func TestCheckVersion(t *testing.T) {
	for _, test := range []struct {
		installed, own string
		upgrade, force bool
		want           string
	}{
		{"v1.2.3", "v1.2.3", false, false, ""},
		{"v1.2.3", "v1.3.0", false, false, "run kubectl orb8 upgrade"},
		{"v1.2.3", "v1.3.0", true, false, ""},
		{"v1.3.0", "v1.2.3", true, false, "which is newer"},
		{"v1.3.0", "v1.2.3", true, true, ""},
		{"v0.0.0-0123456789ab", "v1.2.3", true, false, "which is no release"},
		{"b9e86c3", "v1.2.3", true, false, "which is no release"},
		{"v1.2.3", "b9e86c3-dirty", true, false, "this kubectl orb8 is b9e86c3-dirty, which is no release"},
		{"", "v1.2.3", true, false, ""},
	} {
		o := &Options{Defaults: deploy.Default(deploy.DefaultNamespace, test.own, image), Upgrade: test.upgrade,
			Force: test.force}
		err := o.checkVersion(&Installation{Namespace: deploy.DefaultNamespace, Version: test.installed})
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v", test, err)
		}
	}
	o := &Options{Defaults: deploy.Default("", "v1", image), Upgrade: true}
	if err := o.checkVersion(nil); !errors.Is(err, ErrNotInstalled) {
		t.Errorf("upgrade of nothing: %v", err)
	}
}

func TestOldestKernel(t *testing.T) {
	node := func(name, kernel, capacity string) string {
		return fmt.Sprintf("apiVersion: v1\nkind: Node\nmetadata: {name: %s}\nstatus: {capacity: {%s}, "+
			"nodeInfo: {kernelVersion: %s, operatingSystem: linux}}", name, capacity, kernel)
	}
	for _, test := range []struct {
		name, want string
		nodes      []string
	}{
		{"current", "", []string{node("a", "6.18.0", "")}},
		{"without GPUs 6.1 needs nothing", "", []string{node("a", "6.18.0", ""), node("b", "6.1.0-x", "")}},
		{"GPUs before 6.6", "6.1.0-x", []string{node("b", "6.1.0-x", "nvidia.com/gpu: 8")}},
		{"before 5.11", "5.10.0-x", []string{node("a", "6.1.0", ""), node("b", "5.10.0-x", "")}},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHarness(t)
			for _, n := range test.nodes {
				h.api.PutYAML(t, n)
			}
			if got := h.oldestKernel(t.Context(), h.options.Defaults); got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}
