package faults

import (
	"context"
	"sync"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/orb8-dev/kubectl-orb8/e2e/kit"
)

func highCPU(s *Stage) {
	s.run("encoder", s.two, "burn", "-ready", "-duty", "60", "-for", "1h").CPU = "1400m"
	s.prove(s.calm("encoder"), s.grows("ms that encoder uses", 150, s.millisUsed("encoder")),
		s.stays("throttled periods of encoder", func(t testing.TB) uint64 {
			return s.pod("encoder").CPUStat(t)["nr_throttled"]
		}))
}

// batch is a Job of many short pods, so that one ends in each window.
func batch(s *Stage) {
	pod := kit.PodSpec{Namespace: s.Namespace, Name: "report",
		Args: []string{"burn", "-duty", "30", "-for", "8s"}}.Object()
	pod.Spec.NodeName = s.one
	completions := int32(1000)
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: "report"}}
	job.Spec.Completions = &completions
	job.Spec.Template.Labels, job.Spec.Template.Spec = pod.Labels, pod.Spec
	jobs := s.env.Client.BatchV1().Jobs(s.Namespace)
	if _, err := jobs.Create(s.t.Context(), job, metav1.CreateOptions{}); err != nil {
		s.t.Fatal(err)
	}
	read := func(t testing.TB) (status batchv1.JobStatus) {
		j, err := jobs.Get(t.Context(), "report", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return j.Status
	}
	s.prove(s.grows("pods of report that succeed", 1.0/20,
		func(t testing.TB) uint64 { return uint64(read(t).Succeeded) }),
		s.stays("pods of report that fail", func(t testing.TB) uint64 { return uint64(read(t).Failed) }))
}

// The phases of a Deployment that scales to zero.
const (
	scaledUp   = 14 * time.Second
	scaledDown = 6 * time.Second
)

// coldStarts scales a Deployment to one and to zero, again and again. Its client retries until a pod listens, as an
// activator does, and so all of its calls succeed.
func coldStarts(s *Stage) {
	const url = "http://thumbnails:8080/"
	s.service("thumbnails", "thumbnails", 8080, 8080)
	s.env.Deployment(s.t, s.Namespace, "thumbnails", 0, "web")
	s.client("activator", "call", "-fresh", "-every", "5s", "-timeout", "30s", "-retry", "1s", "-to", url)
	ctx, cancel := context.WithCancel(context.Background())
	var scaling sync.WaitGroup
	scaling.Go(func() {
		for n := int32(1); ctx.Err() == nil; n = 1 - n {
			if err := s.scale(ctx, "thumbnails", n); err != nil && ctx.Err() == nil {
				s.t.Errorf("scale thumbnails to %d: %v", n, err)
			}
			phase := scaledUp
			if n == 0 {
				phase = scaledDown
			}
			select {
			case <-time.After(phase):
			case <-ctx.Done():
			}
		}
	})
	s.t.Cleanup(func() {
		cancel()
		scaling.Wait()
	})
	s.prove(s.called("activator", url, outcome{}))
}

func (s *Stage) scale(ctx context.Context, deployment string, replicas int32) error {
	deployments := s.env.Client.AppsV1().Deployments(s.Namespace)
	scale, err := deployments.GetScale(ctx, deployment, metav1.GetOptions{})
	if err != nil {
		return err
	}
	scale.Spec.Replicas = replicas
	_, err = deployments.UpdateScale(ctx, deployment, scale, metav1.UpdateOptions{})
	return err
}
