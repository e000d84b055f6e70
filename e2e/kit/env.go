// Package kit holds the helpers of the end-to-end tests. They start pods of the test workload on the nodes of a real
// cluster, run the real plugin as `kubectl orb8`, and check that nothing is left behind.
package kit

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// WorkloadImage is the reference of the archive that `make workload-image` writes.
const WorkloadImage = "orb8.dev/e2e/workload:dev"

// Env is the cluster and the repository of a test run.
type Env struct {
	Kubeconfig string
	REST       *rest.Config
	Client     *kubernetes.Clientset
	// Nodes are the names of the ready nodes, sorted.
	Nodes []string
	// Root is the root directory of the repository.
	Root string
	// Mode is the --mode of traces; empty: the default, which starts tracers since nothing is installed.
	Mode string
	// variables are those of Environ that the test's own environment lacks.
	variables []string
}

// ModeCluster is the Mode of traces by installed agents.
const ModeCluster = "cluster"

// InMode returns the same cluster with another Mode.
func (e *Env) InMode(mode string) *Env {
	other := *e
	other.Mode = mode
	return &other
}

// WithVariables returns the same cluster with environment variables, NAME=VALUE, for users' shells.
func (e *Env) WithVariables(variables ...string) *Env {
	other := *e
	other.variables = append(slices.Clone(e.variables), variables...)
	return &other
}

var load = sync.OnceValues(func() (*Env, error) {
	kubeconfig := os.Getenv("KUBECONFIG")
	if os.Getenv("ORB8_E2E") == "" || kubeconfig == "" {
		return nil, nil
	}
	root, err := filepath.Abs("..")
	if err != nil {
		return nil, err
	}
	// Tests also run with -exec or from an editor, so find the directory of go.mod.
	for ; root != "/"; root = filepath.Dir(root) {
		if _, err := os.Stat(filepath.Join(root, "go.mod")); err == nil {
			break
		}
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	config.QPS, config.Burst = 200, 400
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	e := &Env{Kubeconfig: kubeconfig, REST: config, Client: client, Root: root}
	nodes, err := client.CoreV1().Nodes().List(context.Background(), metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list nodes of %s: %w", kubeconfig, err)
	}
	for _, n := range nodes.Items {
		if n.Status.NodeInfo.KubeletVersion != "" { // skip fake nodes of a killed test
			e.Nodes = append(e.Nodes, n.Name)
		}
	}
	slices.Sort(e.Nodes)
	if len(e.Nodes) < 2 {
		return nil, fmt.Errorf("the cluster of %s has %d nodes, want 2", kubeconfig, len(e.Nodes))
	}
	archives, err := filepath.Glob(filepath.Join(root, "dist", "*-"+runtime.GOARCH+".tar"))
	if err != nil || len(archives) == 0 {
		return nil, fmt.Errorf("no images in dist (run make images): %w", err)
	}
	if out, err := e.Cluster(append([]string{"load"}, archives...)...); err != nil {
		return nil, fmt.Errorf("load images: %w\n%s", err, out)
	}
	return e, nil
})

// Need returns the cluster that `make test-e2e` provides, or skips the test if there is none.
func Need(t testing.TB) *Env {
	t.Helper()
	e, err := load()
	if err != nil {
		t.Fatal(err)
	}
	if e == nil {
		t.Skip("no cluster: run make test-e2e, which starts one and sets ORB8_E2E and KUBECONFIG")
	}
	return e
}

// NeedOwn is Need for tests that break the cluster or inspect its machine: they need root and the cluster that
// e2e/cluster started on this machine.
func NeedOwn(t testing.TB) *Env {
	t.Helper()
	e := Need(t)
	if os.Getenv("ORB8_E2E_KUBECONFIG") != "" {
		t.Skip("the cluster is not e2e/cluster's own: ORB8_E2E_KUBECONFIG is set")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	return e
}

// Cluster runs the cluster program and returns its stdout and stderr.
func (e *Env) Cluster(args ...string) (string, error) {
	cmd := exec.Command(filepath.Join(e.Root, "bin", "cluster"), args...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// User creates a user without rights and returns the path of its kubeconfig.
func (e *Env) User(t testing.TB, name string) string {
	t.Helper()
	cmd := exec.Command(filepath.Join(e.Root, "bin", "cluster"), "user", name)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("make a kubeconfig for %s: %v", name, err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1]
}

// Environ returns the environment of a user's shell: PATH includes the plugin and kubectl, KUBECONFIG is set.
func (e *Env) Environ(kubeconfig string) []string {
	return slices.Concat(os.Environ(), []string{"PATH=" + e.Path(), "KUBECONFIG=" + kubeconfig}, e.variables)
}

// Path returns a PATH that finds kubectl-orb8 in bin, then the cluster's kubectl, then the programs of the test's PATH.
func (e *Env) Path() string {
	dirs := []string{filepath.Join(e.Root, "bin")}
	kubernetes := "kubernetes-v*"
	if version := os.Getenv("ORB8_E2E_KUBERNETES"); version != "" {
		kubernetes = "kubernetes-" + version + "-v*"
	}
	if built, _ := filepath.Glob(filepath.Join(cacheDir(), kubernetes, "kubectl")); len(built) > 0 {
		dirs = append(dirs, filepath.Dir(built[len(built)-1]))
	}
	return strings.Join(append(dirs, os.Getenv("PATH")), string(os.PathListSeparator))
}
