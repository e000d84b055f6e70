package plugin

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"

	"github.com/orb8-dev/kubectl-orb8/deploy"
	"github.com/orb8-dev/kubectl-orb8/plugin/internal/fakeapi"
)

// runOn runs the plugin with a kubeconfig of a server.
func runOn(t *testing.T, api *fakeapi.Server, args ...string) (code int, out, errOut string) {
	t.Helper()
	config := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(config, fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: %q}}]
contexts: [{name: c, context: {cluster: c, user: u, namespace: shop}}]
users: [{name: u, user: {}}]
current-context: c
`, api.Config().Host), 0o600); err != nil {
		t.Fatal(err)
	}
	interval, stuck := waitInterval, stuckTime
	waitInterval, stuckTime = time.Millisecond, 20*time.Millisecond
	defer func() { waitInterval, stuckTime = interval, stuck }()
	var stdout, stderr bytes.Buffer
	code = Main(append(args, "--kubeconfig", config), strings.NewReader(""), &stdout, &stderr)
	return code, stdout.String(), stderr.String()
}

// runControllers reports the DaemonSet and the Deployment as rolled out.
func runControllers(t *testing.T, api *fakeapi.Server) {
	api.After(func(r fakeapi.Request) {
		u := api.Object(r.Resource, r.Namespace, r.Name)
		if u == nil {
			return
		}
		switch r.Resource {
		case "daemonsets":
			u.Object["status"] = map[string]any{"desiredNumberScheduled": 1}
			api.PutYAML(t, fmt.Sprintf(`{apiVersion: apps/v1, kind: ControllerRevision, revision: 1, metadata: {name: r,
  namespace: %s, labels: {app.kubernetes.io/name: orb8, app.kubernetes.io/component: agent,
  controller-revision-hash: h},
  ownerReferences: [{apiVersion: apps/v1, kind: DaemonSet, name: %s, uid: %s, controller: true}]}}`,
				u.GetNamespace(), u.GetName(), u.GetUID()))
			api.PutYAML(t, fmt.Sprintf(`{apiVersion: v1, kind: Pod, metadata: {name: orb8-agent-a, namespace: %s,
  labels: {app.kubernetes.io/name: orb8, app.kubernetes.io/managed-by: orb8, app.kubernetes.io/component: agent,
  controller-revision-hash: h},
  ownerReferences: [{apiVersion: apps/v1, kind: DaemonSet, name: %s, uid: %s, controller: true}]},
  spec: {nodeName: node-1}, status: {conditions: [{type: Ready, status: "True"}]}}`,
				u.GetNamespace(), u.GetName(), u.GetUID()))
		case "deployments":
			u.Object["status"] = map[string]any{"replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}
		default:
			return
		}
		api.Put(t, u)
	})
}

func TestInstall_DryRunAsksNobody(t *testing.T) {
	code, out, errOut := run(t, "install", "--dry-run=client", "-o", "yaml", "--kinds", "flow", "--replicas", "3")
	if code != ExitOK || errOut != "" {
		t.Fatalf("exit code %d: %s", code, errOut)
	}
	kinds := map[string]int{}
	for document := range strings.SplitSeq(strings.TrimPrefix(out, "---\n"), "---\n") {
		var object struct{ Kind string }
		if err := yaml.Unmarshal([]byte(document), &object); err != nil {
			t.Fatal(err)
		}
		kinds[object.Kind]++
	}
	if kinds["DaemonSet"] != 1 || kinds["ClusterRole"] != 6 || kinds["Namespace"] != 1 ||
		!strings.Contains(out, "kinds: [flow]") || !strings.Contains(out, "replicas: 3") {
		t.Errorf("%v\n%s", kinds, out)
	}
	if _, second, _ := run(t, "install", "--dry-run=client", "-o", "yaml", "--kinds", "flow", "--replicas",
		"3"); second != out {
		t.Error("two runs differ")
	}
}

func TestInstall_StatusUninstall(t *testing.T) {
	api := fakeapi.New(t)
	runControllers(t, api)
	// The namespace of the context is not that of the installation.
	code, out, errOut := runOn(t, api, "install", "-n", "monitoring", "--history-memory", "64Mi")
	if code != ExitOK || !strings.Contains(out, "daemonset.apps/orb8-agent created\n") ||
		!strings.Contains(errOut, "1/1 node ready, 2/2 servers ready\n") {
		t.Fatalf("exit code %d, %s\n%s", code, out, errOut)
	}
	if code, out, errOut = runOn(t, api, "install", "--replicas", "2"); code != ExitOK ||
		strings.Count(out, " unchanged\n") != strings.Count(out, "\n") {
		t.Errorf("repeated: exit code %d, %s\n%s", code, out, errOut)
	}
	if code, out, errOut = runOn(t, api, "status"); code != ExitError || !strings.Contains(out, "agent") ||
		!strings.Contains(errOut, "in namespace monitoring: 1/1 agent ready, 0/2 servers ready") {
		t.Errorf("status: exit code %d, %s\n%s", code, out, errOut)
	}
	code, out, errOut = runOn(t, api, "uninstall")
	if left := api.Objects(); code != ExitOK || len(left) > 0 ||
		!strings.Contains(out, "namespace/monitoring deleted") {
		t.Errorf("uninstall: exit code %d, left %q, %s\n%s", code, left, out, errOut)
	}
	for _, command := range []string{"status", "upgrade"} {
		code, _, errOut = runOn(t, api, command)
		if code != ExitError || !strings.Contains(errOut, "run kubectl orb8 install") {
			t.Errorf("%s of nothing: exit code %d, %s", command, code, errOut)
		}
	}
}

func TestInstall_ReportsWhatIsMissing(t *testing.T) {
	api := fakeapi.New(t)
	code, _, errOut := runOn(t, api, "install", "--timeout", "10s")
	const want = "s: 0/0 nodes ready, 0/2 servers ready: no node is selected for agents: see --node-selector"
	if code != ExitError || !strings.Contains(errOut, want) {
		t.Errorf("exit code %d: %s", code, errOut)
	}
}

func TestRBAC_BindsViewers(t *testing.T) {
	for _, test := range []struct {
		args     string
		bindings []string
		subject  rbacv1.Subject
	}{
		{
			"-n demo --viewer user:alice",
			[]string{"demo orb8-view", " orb8-connect", "orb8-system orb8-connect"},
			rbacv1.Subject{Kind: "User", APIGroup: rbacv1.GroupName, Name: "alice"},
		},
		{
			"-A --viewer group:sre --sensitive --orb8-namespace monitoring",
			[]string{" orb8-view", " orb8-view-sensitive", " orb8-connect", "monitoring orb8-connect"},
			rbacv1.Subject{Kind: "Group", APIGroup: rbacv1.GroupName, Name: "sre"},
		},
		{
			"-n demo --viewer sa:tools:reporter",
			[]string{"demo orb8-view", " orb8-connect", "orb8-system orb8-connect"},
			rbacv1.Subject{Kind: "ServiceAccount", Namespace: "tools", Name: "reporter"},
		},
	} {
		t.Run(test.args, func(t *testing.T) {
			code, out, errOut := run(t, append([]string{"rbac"}, strings.Fields(test.args)...)...)
			if code != ExitOK || errOut != "" {
				t.Fatalf("exit code %d: %s", code, errOut)
			}
			var got []string
			for document := range strings.SplitSeq(strings.TrimPrefix(out, "---\n"), "---\n") {
				var b rbacv1.RoleBinding // a ClusterRoleBinding has the same fields
				if err := yaml.UnmarshalStrict([]byte(document), &b); err != nil {
					t.Fatal(err)
				}
				got = append(got, b.Namespace+" "+b.RoleRef.Name)
				if len(b.Subjects) != 1 || b.Subjects[0] != test.subject ||
					b.Labels[deploy.LabelManagedBy] != deploy.ManagedBy ||
					!strings.HasPrefix(b.Name, b.RoleRef.Name+":") {
					t.Errorf("%+v", b)
				}
			}
			if !slices.Equal(got, test.bindings) {
				t.Errorf("bindings %q, want %q", got, test.bindings)
			}
		})
	}
}
