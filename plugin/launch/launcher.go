package launch

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"github.com/orb8-dev/kubectl-orb8/internal/kube"
)

// Launcher creates the Jobs of one session and watches them, with one watch for all nodes.
type Launcher struct {
	client    kube.Interface
	namespace string
	session   string

	// Refused, if not nil, is called with a line about each pod that claims to be a tracer and is not. It is set before
	// the first Create and must not call the Launcher.
	Refused func(line string)
	// Known, if not nil, waits until it is known which nodes there are, and returns the one of a name, or nil. It is
	// set before the first Create.
	Known func(ctx context.Context, name string) *corev1.Node

	watches  sync.WaitGroup
	stop     context.CancelFunc
	podStore cache.Store // of all pods with the session's label

	mu      sync.Mutex
	changed chan struct{}             // closed and made anew at each change
	claims  map[string]*claim         // by Job
	refused map[string]string         // by Job: why its pod could not be created
	failed  map[string]batchCondition // by Job
	broken  error                     // pods can not be watched
}

// unusedTimeout bounds each of the two requests that a cancelled Create waits for.
const unusedTimeout = 5 * time.Second

type batchCondition struct{ reason, message string }

// New starts watching the session's objects. Close ends that.
func New(ctx context.Context, client kube.Interface, namespace, session string) *Launcher {
	watching, stop := context.WithCancel(context.WithoutCancel(ctx))
	l := &Launcher{
		client: client, namespace: namespace, session: session, stop: stop,
		changed: make(chan struct{}), claims: map[string]*claim{}, refused: map[string]string{},
		failed: map[string]batchCondition{},
	}
	selector := labels.Set{LabelSession: session}.String()
	ours := func(o *metav1.ListOptions) { o.LabelSelector = selector }
	pods := informer(kube.Source(client, client.CoreV1().Pods(namespace), ours), &corev1.Pod{})
	l.podStore = pods.GetStore()
	l.watch(watching, pods, func(obj any) { l.pod(obj.(*corev1.Pod)) }, func(err error) {
		if apierrors.IsForbidden(err) {
			l.update(func() { l.broken = err })
		}
	})
	jobs := informer(kube.Source(client, client.BatchV1().Jobs(namespace), ours), &batchv1.Job{})
	l.watch(watching, jobs, func(obj any) { l.job(obj.(*batchv1.Job)) }, func(error) {})
	// Pod Security and quota refuse the Job's pod and not the Job: only an event shows that. For a user who may not
	// read events, the Job fails at its deadline without the reason.
	events := informer(kube.Source(client, client.CoreV1().Events(namespace), func(o *metav1.ListOptions) {
		o.FieldSelector = fields.Set{"involvedObject.kind": "Job", "reason": "FailedCreate"}.String()
	}), &corev1.Event{})
	l.watch(watching, events, func(obj any) { l.event(obj.(*corev1.Event)) }, func(error) {})
	return l
}

// informer keeps the objects of a source.
func informer(source cache.ListerWatcher, kind runtime.Object) cache.SharedIndexInformer {
	return cache.NewSharedIndexInformer(source, kind, 0, cache.Indexers{})
}

// NewSessionID returns 8 random lower-case letters and digits: names of objects contain it, and two users may start at
// once.
func NewSessionID() string {
	var b [8]byte
	rand.Read(b[:])
	return strconv.FormatUint(binary.LittleEndian.Uint64(b[:])>>23, 36) // 41 bits: 8 digits
}

// Close ends the watches and waits for them. It deletes nothing.
func (l *Launcher) Close() {
	l.stop()
	l.watches.Wait()
}

func (l *Launcher) watch(ctx context.Context, inf cache.SharedIndexInformer, set func(any), failed func(error)) {
	// Neither call fails for an informer that was not started yet.
	_ = inf.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *cache.Reflector, err error) { failed(err) })
	_, _ = inf.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    set,
		UpdateFunc: func(_, obj any) { set(obj) },
		DeleteFunc: func(obj any) {
			if last, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = last.Obj
			}
			if pod, ok := obj.(*corev1.Pod); ok {
				l.gone(pod)
			}
		},
	})
	l.watches.Go(func() { inf.RunWithContext(ctx) })
}

func (l *Launcher) update(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
	close(l.changed)
	l.changed = make(chan struct{})
}

func jobOf(pod *corev1.Pod) string {
	if owner := metav1.GetControllerOf(pod); owner != nil && owner.Kind == "Job" {
		return owner.Name
	}
	return ""
}

// tracer returns the pod that was accepted as a Job's tracer, or nil. The lock is held.
func (l *Launcher) tracer(job string) *corev1.Pod {
	if c := l.claims[job]; c != nil {
		return c.tracer
	}
	return nil
}

func (l *Launcher) pod(pod *corev1.Pod) {
	l.update(func() {
		if c := l.claims[jobOf(pod)]; c != nil {
			c.judge(pod, l.reportRefused)
		}
	})
}

func (l *Launcher) reportRefused(pod *corev1.Pod, why string) {
	if l.Refused != nil {
		l.Refused(fmt.Sprintf("pod %s/%s claims to be the tracer of job %s and is not (%s): it is not used",
			pod.Namespace,
			pod.Name, jobOf(pod), why))
	}
}

// expect starts to accept pods for a Job that is being created.
func (l *Launcher) expect(job string) {
	l.update(func() { l.claims[job] = &claim{reported: map[types.UID]bool{}} })
}

// made sets the expected pod of a Job from the API server's response. Pods may have come before it.
func (l *Launcher) made(spec *Spec, job *batchv1.Job) {
	l.update(func() {
		c := l.claims[job.Name]
		w := wantedOf(spec, job)
		c.wanted = &w
		for _, obj := range l.podStore.List() {
			if pod, ok := obj.(*corev1.Pod); ok && jobOf(pod) == job.Name {
				c.judge(pod, l.reportRefused)
			}
		}
	})
}

// gone marks a deleted pod as ended, after a drain of its node for example.
func (l *Launcher) gone(pod *corev1.Pod) {
	l.update(func() {
		if last := l.tracer(jobOf(pod)); last != nil && last.UID == pod.UID {
			if !ended(pod) {
				pod = over(pod, "Deleted", "the pod was deleted")
			}
			l.claims[jobOf(pod)].tracer = pod
		}
	})
}

func (l *Launcher) job(job *batchv1.Job) {
	for _, c := range job.Status.Conditions {
		if c.Type == batchv1.JobFailed && c.Status == corev1.ConditionTrue {
			l.update(func() { l.failed[job.Name] = batchCondition{c.Reason, c.Message} })
		}
	}
}

func (l *Launcher) event(e *corev1.Event) {
	if strings.HasPrefix(e.InvolvedObject.Name, "orb8-"+l.session+"-") {
		l.update(func() { l.refused[e.InvolvedObject.Name] = e.Message })
	}
}

// Create creates the Job. Its error is a *StartError where the cluster refuses the Job. A Job whose creation failed
// otherwise, or was cancelled, is deleted: the API server may have taken the request nevertheless.
func (l *Launcher) Create(ctx context.Context, spec *Spec) error {
	if spec.Kernel == "" || spec.Attempt > 0 {
		// For a user who may not read nodes, the tracer lacks the capability that only old kernels need, and reports
		// that; see waitsInVain.
		if node := l.node(ctx, spec); node != nil {
			if problems := NodeProblems(node); len(problems) > 0 {
				return problems[0].startError(spec.Node)
			}
			spec.Kernel = node.Status.NodeInfo.KernelVersion
		}
	}
	l.expect(spec.JobName())
	job, err := l.post(ctx, spec)
	if apierrors.IsAlreadyExists(err) { // a request that was sent twice
		job, err = l.existing(ctx, spec)
	}
	switch {
	case errors.As(err, new(*StartError)):
		return err
	case apierrors.IsNotFound(err): // the Job is new: what is not found is its namespace
		return &StartError{Node: spec.Node, Reason: "namespace", Message: fmt.Sprintf(
			"namespace %q not found: see kubectl get namespaces, or name another with --tracer-namespace",
			spec.Namespace)}
	case apierrors.IsForbidden(err) && strings.Contains(reason(err), "cannot create resource"):
		return &StartError{Node: spec.Node, Reason: "forbidden", Message: reason(err)}
	case apierrors.IsForbidden(err), apierrors.IsInvalid(err): // quota, policies
		return Refusal(spec, reason(err))
	case err != nil:
		l.removeUnused(ctx, spec)
		return fmt.Errorf("create job %s/%s: %w", spec.Namespace, spec.JobName(), err)
	case ctx.Err() != nil: // the caller does not wait for this Job any more
		l.removeUnused(ctx, spec)
		return ctx.Err()
	}
	l.made(spec, job)
	return nil
}

// node returns the node of a Spec; nil: the user may not read it. At first, what is known already is enough where that
// is there before the API server's answer.
func (l *Launcher) node(ctx context.Context, spec *Spec) *corev1.Node {
	ctx, cancel := context.WithCancel(ctx)
	answers := make(chan *corev1.Node, 2)
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel() // one answer is enough
	asking.Go(func() {
		node, err := l.client.CoreV1().Nodes().Get(ctx, spec.Node, metav1.GetOptions{})
		if err != nil {
			node = nil
		}
		answers <- node
	})
	if l.Known == nil || spec.Attempt > 0 {
		return <-answers
	}
	asking.Go(func() { answers <- l.Known(ctx, spec.Node) })
	if node := <-answers; node != nil {
		return node
	}
	return <-answers
}

// post sends the request that creates the Job. It takes up to unusedTimeout after the end of ctx: a request that is
// aborted may still be carried out, after the Job was deleted.
func (l *Launcher) post(ctx context.Context, spec *Spec) (*batchv1.Job, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	sending, abort := context.WithCancel(context.WithoutCancel(ctx))
	defer abort()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(unusedTimeout, abort) })()
	return l.client.BatchV1().Jobs(spec.Namespace).Create(sending, spec.Job(), metav1.CreateOptions{})
}

// removeUnused deletes a Job that may exist. Where that fails, its tracer ends without a client, and the Job with it.
func (l *Launcher) removeUnused(ctx context.Context, spec *Spec) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unusedTimeout)
	defer cancel()
	_ = remove(ctx, l.client, spec.Namespace, spec.JobName())
}

// existing returns the existing Job with the Spec's name. Names are random: the Job is this session's unless somebody
// else has created it, with another key.
func (l *Launcher) existing(ctx context.Context, spec *Spec) (*batchv1.Job, error) {
	job, err := l.client.BatchV1().Jobs(spec.Namespace).Get(ctx, spec.JobName(), metav1.GetOptions{})
	var why string
	if err != nil {
		why = reason(err)
	} else {
		asked := wantedOf(spec, spec.Job())
		if why = asked.mismatch(&corev1.Pod{Spec: job.Spec.Template.Spec}); why == "" {
			return job, nil
		}
	}
	return nil, &StartError{Node: spec.Node, Reason: "identity", Message: fmt.Sprintf(
		"there is a job %s/%s already, which is not known to be this session's: %s", spec.Namespace, spec.JobName(),
		why)}
}

// StartError is the reason why a node has no tracer.
type StartError struct {
	Node string
	// Reason is one of "forbidden", "pod security", "quota", "limit range", "namespace", "image", "failed",
	// "scheduling", "kubelet", "identity", or the check of a NodeProblem.
	Reason, Message string
	// Fix is what to do about it; may be empty.
	Fix string
}

func (e *StartError) Error() string {
	if e.Fix == "" {
		return e.Reason + ": " + e.Message
	}
	return e.Reason + ": " + e.Message + "; " + e.Fix
}

// reason takes the API machinery's frame off a message.
func reason(err error) string {
	if status := apierrors.APIStatus(nil); errors.As(err, &status) {
		return status.Status().Message
	}
	return err.Error()
}

// Running waits until the Job's pod runs and returns its name. It calls progress whenever the pod's state changes. It
// returns a *StartError for what waiting does not fix.
func (l *Launcher) Running(ctx context.Context, spec *Spec, progress func(string)) (string, error) {
	last, stuck := "", ""
	var lateC <-chan time.Time
	for {
		l.mu.Lock()
		pod, refused, failed, broken, changed := l.tracer(spec.JobName()), l.refused[spec.JobName()],
			l.failed[spec.JobName()], l.broken, l.changed
		impostor := ""
		if c := l.claims[spec.JobName()]; c != nil {
			impostor = c.impostor
		}
		l.mu.Unlock()
		if broken != nil {
			return "", &StartError{Node: spec.Node, Reason: "forbidden", Message: reason(broken)}
		}
		state := "waiting for the Job's pod"
		if pod != nil {
			running, waits, err := judge(pod)
			if err != nil {
				err.Node = spec.Node
				return "", err
			}
			if running {
				return pod.Name, nil
			}
			state = waits
		} else if refused != "" {
			return "", Refusal(spec, refused)
		}
		if failed.reason != "" {
			return "", &StartError{Node: spec.Node, Reason: "failed", Message: fmt.Sprintf("job %s: %s (last: %s)",
				failed.reason, failed.message, state)}
		}
		if state != last {
			last = state
			progress(state)
		}
		now, limit, vain := waitsInVain(pod)
		if pod == nil && impostor != "" {
			now, limit, vain = "identity", impostorTimeout, &StartError{
				Reason: "identity", Message: "the Job's pod is not the tracer: " + impostor,
				Fix: "where admission rewrites images, set --image to the rewritten name, or run it " +
					"elsewhere with --tracer-namespace",
			}
		}
		if now != stuck {
			stuck, lateC = now, nil
			if limit > 0 {
				late := time.NewTimer(limit) // a pod changes its state a few times at most
				defer late.Stop()
				lateC = late.C
			}
		}
		select {
		case <-changed:
		case <-lateC:
			vain.Node = spec.Node
			return "", vain
		case <-ctx.Done():
			return "", fmt.Errorf("%s: %w", state, ctx.Err())
		}
	}
}

// FollowLog follows the log of a tracer's pod.
func FollowLog(ctx context.Context, client kube.Interface, namespace, pod string) (io.ReadCloser, error) {
	o := &corev1.PodLogOptions{Container: Container, Follow: true}
	log, err := client.CoreV1().Pods(namespace).GetLogs(pod, o).Stream(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the tracer's log: %w", err)
	}
	return log, nil
}

// Ended waits for the end of the tracer in the Job's pod and describes it.
func (l *Launcher) Ended(ctx context.Context, job string) (string, error) {
	for {
		l.mu.Lock()
		pod, changed := l.tracer(job), l.changed
		l.mu.Unlock()
		if pod != nil && ended(pod) {
			return endOf(pod), nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

// Shared implements Extender.
func (l *Launcher) Shared(job string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	pod := l.tracer(job)
	return pod != nil && shared(pod)
}

// Extend implements Extender.
func (l *Launcher) Extend(ctx context.Context, job string, d time.Duration) error {
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"activeDeadlineSeconds": int64(d / time.Second)}})
	if err != nil {
		return err
	}
	_, err = l.client.BatchV1().Jobs(l.namespace).Patch(ctx, job, types.StrategicMergePatchType, patch,
		metav1.PatchOptions{})
	if err != nil && !apierrors.IsNotFound(err) { // what is gone needs no deadline
		return fmt.Errorf("extend the deadline of job %s/%s: %w", l.namespace, job, err)
	}
	return nil
}

// Delete deletes a Job and its pod. A Job that does not exist is no error. Delete removes a pod that its node cannot
// end from the API; if that is forbidden, the error is a *StrandedError.
func (l *Launcher) Delete(ctx context.Context, job string) error {
	if err := remove(ctx, l.client, l.namespace, job); err != nil {
		return err
	}
	return l.endStranded(ctx, job)
}

func remove(ctx context.Context, client kube.Interface, namespace, job string) error {
	err := client.BatchV1().Jobs(namespace).Delete(ctx, job,
		metav1.DeleteOptions{PropagationPolicy: ptr(metav1.DeletePropagationBackground)})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete job %s/%s: %w", namespace, job, err)
	}
	return nil
}

// Sweep deletes what earlier sessions left in a namespace ("" for all): Jobs of ours that are finished or past their
// deadline, whose deletion the cluster should have seen to by itself. A Job that runs is a colleague's.
func Sweep(ctx context.Context, client kube.Interface, namespace string, now time.Time) (swept []string,
	err error) {
	jobs, err := client.BatchV1().Jobs(namespace).List(ctx, metav1.ListOptions{
		LabelSelector: Labels().String(),
	})
	if err != nil {
		return nil, fmt.Errorf("list leftovers: %w", err)
	}
	var errs []error
	for i := range jobs.Items {
		job := &jobs.Items[i]
		if job.DeletionTimestamp != nil || !leftover(job, now) {
			continue
		}
		if err := remove(ctx, client, job.Namespace, job.Name); err != nil {
			errs = append(errs, err)
			continue
		}
		swept = append(swept, job.Namespace+"/"+job.Name)
	}
	return swept, errors.Join(errs...)
}

func leftover(job *batchv1.Job, now time.Time) bool {
	for _, c := range job.Status.Conditions {
		if (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) && c.Status == corev1.ConditionTrue {
			return true
		}
	}
	if job.Spec.ActiveDeadlineSeconds == nil {
		return false
	}
	// A Job without a start was never taken up by the controller: its deadline never began.
	start := job.CreationTimestamp
	if job.Status.StartTime != nil {
		start = *job.Status.StartTime
	}
	// A minute for clocks that differ.
	return now.After(start.Add(time.Duration(*job.Spec.ActiveDeadlineSeconds)*time.Second + time.Minute))
}
