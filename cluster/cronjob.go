package cluster

import (
	"context"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

const (
	// jobLookupTimeout bounds the question for one Job, which the watch of pods waits for.
	jobLookupTimeout = 2 * time.Second
	// maxJobs bounds how many Jobs are remembered.
	maxJobs = 10_000
)

// cronJobPods are the pods of a CronJob's Jobs. A CronJob has no selector: its Jobs come while the trace runs, and name
// it as their owner. Each Job is asked for once, when its first pod is seen.
type cronJobPods struct {
	client          kubernetes.Interface
	namespace, name string
	uid             types.UID

	mu   sync.Mutex
	jobs map[types.UID]bool // whether it is one of the CronJob's
}

func newCronJobPods(client kubernetes.Interface, namespace, name string, uid types.UID) *cronJobPods {
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
		// It may be gone, or not this user's to read. The controller names its Jobs NAME-MINUTES. Not remembered: the
		// next change of the pod asks again.
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

// isScheduledJob reports whether a Job is named as the CronJob controller names those that it makes.
func isScheduledJob(job, cronJob string) bool {
	minutes, ok := strings.CutPrefix(job, cronJob+"-")
	return ok && minutes != "" && strings.Trim(minutes, "0123456789") == ""
}
