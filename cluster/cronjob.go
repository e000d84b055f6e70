package cluster

import (
	"context"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/orb8-dev/kubectl-orb8/internal/kube"
)

const (
	// jobLookupTimeout limits the request for one Job, which blocks the watch of pods.
	jobLookupTimeout = 2 * time.Second
	// maxJobs limits the number of remembered Jobs.
	maxJobs = 10_000
)

// cronJobPods matches the pods of a CronJob's Jobs. A CronJob has no selector: its controller creates Jobs while the
// trace runs, and they name the CronJob as their owner. Each Job is read once, when its first pod appears.
type cronJobPods struct {
	client          kube.Interface
	namespace, name string
	uid             types.UID

	mu   sync.Mutex
	jobs map[types.UID]bool // whether the CronJob owns the Job
}

func newCronJobPods(client kube.Interface, namespace, name string, uid types.UID) *cronJobPods {
	return &cronJobPods{client: client, namespace: namespace, name: name, uid: uid, jobs: map[types.UID]bool{}}
}

func (c *cronJobPods) match(pod *corev1.Pod) bool {
	owner := metav1.GetControllerOf(pod)
	if pod.Namespace != c.namespace || owner == nil || owner.Kind != "Job" {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if ours, known := c.jobs[owner.UID]; known {
		return ours
	}
	ctx, cancel := context.WithTimeout(context.Background(), jobLookupTimeout)
	defer cancel()
	job, err := c.client.BatchV1().Jobs(c.namespace).Get(ctx, owner.Name, metav1.GetOptions{})
	if err != nil {
		// The Job is deleted, or the user may not read it. The controller names its Jobs NAME-MINUTES. The result is
		// not remembered, so the next change of the pod repeats the request.
		return isScheduledJob(owner.Name, c.name)
	}
	by := metav1.GetControllerOf(job)
	ours := job.UID == owner.UID && by != nil && by.UID == c.uid
	if len(c.jobs) >= maxJobs {
		clear(c.jobs)
	}
	c.jobs[owner.UID] = ours
	return ours
}

// isScheduledJob reports whether a Job has a name that the CronJob controller generates.
func isScheduledJob(job, cronJob string) bool {
	minutes, ok := strings.CutPrefix(job, cronJob+"-")
	return ok && minutes != "" && strings.Trim(minutes, "0123456789") == ""
}
