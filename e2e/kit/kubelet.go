package kit

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
)

// KubeletRoot returns the root directory of a node's kubelet on this machine, from its command line.
func (e *Env) KubeletRoot(t testing.TB, node string) string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		args := strings.Split(string(bytes.TrimRight(b, "\x00")), "\x00")
		if filepath.Base(args[0]) != "kubelet" {
			continue
		}
		root, name := "", ""
		for _, arg := range args[1:] {
			if value, ok := strings.CutPrefix(arg, "--root-dir="); ok {
				root = value
			}
			if value, ok := strings.CutPrefix(arg, "--hostname-override="); ok {
				name = value
			}
		}
		if name == node && root != "" {
			return root
		}
	}
	t.Fatalf("no kubelet of %s runs on this machine", node)
	return ""
}

// AwaitGPUs waits until a node's allocatable nvidia.com/gpu is n.
func (e *Env) AwaitGPUs(t testing.TB, node string, n int64) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), poll, waitTimeout, true, func(ctx context.Context) (bool, error) {
		got, err := e.Client.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		offered := got.Status.Allocatable["nvidia.com/gpu"]
		return offered.Value() == n, nil
	})
	if err != nil {
		t.Fatalf("node %s does not offer %d GPUs: %v", node, n, err)
	}
}
