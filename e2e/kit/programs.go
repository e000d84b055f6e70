package kit

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/orb8-dev/kubectl-orb8/e2e/aptimage"
)

// cacheDir returns the directory of what the end-to-end tests build or download once.
func cacheDir() string {
	if cache := os.Getenv("ORB8_CACHE"); cache != "" {
		return cache
	}
	user, _ := os.UserCacheDir() // the path is then a relative one
	return filepath.Join(user, "orb8-e2e")
}

// LoadPackages loads an image of the distribution's programs into the nodes. The first time, it downloads the packages.
func (e *Env) LoadPackages(t testing.TB, image *aptimage.Image) {
	t.Helper()
	archive, err := image.Archive(t.Context(), e.Root, cacheDir())
	if err != nil {
		t.Fatalf("make the image %s: %v", image.Reference, err)
	}
	if out, err := e.Cluster("load", archive); err != nil {
		t.Fatalf("load %s: %v\n%s", archive, err, out)
	}
}

// AwaitReady waits until a pod is ready.
func (e *Env) AwaitReady(t testing.TB, s PodSpec) {
	t.Helper()
	e.wait(t, s, func(p *corev1.Pod) bool {
		return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
		})
	})
}

// log returns what a pod's main container has printed.
func (e *Env) log(ctx context.Context, s PodSpec) ([]byte, error) {
	options := &corev1.PodLogOptions{Container: mainContainer}
	return e.Client.CoreV1().Pods(s.Namespace).GetLogs(s.Name, options).DoRaw(ctx)
}

// RunPodLog starts a pod, waits until it succeeds, and returns what it has printed.
func (e *Env) RunPodLog(t testing.TB, s PodSpec) string {
	t.Helper()
	e.CreatePod(t, s)
	e.wait(t, s, func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodSucceeded })
	log, err := e.log(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return string(log)
}
