package launch

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/orb8-dev/kubectl-orb8/event/session"
)

// The creator of a pod chooses its labels and owner references. Anyone who may create pods in the tracer's namespace
// can create one that claims to be the tracer, and the client would read the tracer's key from its log. A pod is
// therefore accepted as the tracer only if its owner has the UID of the session's Job, it runs on the Spec's node, and
// its container matches the Spec: image, command, arguments, client key and configuration.
//
// Admission may add containers, init containers, variables, volumes and resources. It may change the image in the Job,
// which the API server's response shows, but not in the pod: only the image distinguishes a tracer from another
// program. Where admission rewrites the images of pods, --image takes the rewritten name.

const (
	// maxRefusals bounds the refused pods that are reported per Job.
	maxRefusals = 8
	// impostorTimeout bounds the wait for the tracer's pod where the Job has only a refused one.
	impostorTimeout = 5 * time.Second
)

// binaries are the files that the tracer's container runs: a volume mounted over one replaces it.
var binaries = []string{"/orb8-tracer", "/orb8-nvml"}

// wanted is the expected pod of one Job.
type wanted struct {
	job   types.UID
	node  string
	image string
	args  []string
	// env are the variables with the client's key and the configuration; an empty one must be unset.
	env map[string]string
}

// wantedOf returns the expected pod of a Job: the Spec's, with the image of the Job that the API server has stored.
func wantedOf(spec *Spec, made *batchv1.Job) wanted {
	w := wanted{job: made.UID, node: spec.Node, image: spec.Image, args: spec.args(),
		env: map[string]string{session.EnvClientKey: "", session.EnvConfig: ""}}
	for _, e := range spec.container().Env {
		if _, ok := w.env[e.Name]; ok {
			w.env[e.Name] = e.Value
		}
	}
	if c, ok := FindTracer(&made.Spec.Template.Spec); ok {
		w.image = c.Image
	}
	return w
}

// foreign returns why the pod does not belong to the Job; "" if it does.
func (w *wanted) foreign(pod *corev1.Pod) string {
	if owner := metav1.GetControllerOf(pod); owner == nil || owner.UID != w.job {
		return "its owner has another UID than the Job that was made"
	}
	return ""
}

// mismatch describes how a pod of the Job differs from the expected one; "" if it does not.
func (w *wanted) mismatch(pod *corev1.Pod) string {
	if on := pod.Spec.NodeName; on != "" && on != w.node {
		return fmt.Sprintf("it is on node %s and not on %s", on, w.node)
	}
	c, ok := FindTracer(&pod.Spec)
	if !ok {
		return fmt.Sprintf("it has no container %q", Container)
	}
	switch {
	case c.Image != w.image:
		return fmt.Sprintf("its image is %s and not %s", c.Image, w.image)
	case len(c.Command) > 0:
		return fmt.Sprintf("its command is %q and not that of its image", c.Command)
	case !slices.Equal(c.Args, w.args):
		return fmt.Sprintf("its arguments are %q and not %q", c.Args, w.args)
	case c.Lifecycle != nil:
		return "it has a lifecycle hook, which a tracer has not"
	}
	if why := w.otherEnv(c.Env); why != "" {
		return why
	}
	for _, m := range c.VolumeMounts {
		if slices.ContainsFunc(binaries, func(b string) bool { return within(b, m.MountPath) }) {
			return fmt.Sprintf("a volume is mounted at %s, over its program", m.MountPath)
		}
	}
	return ""
}

// otherEnv describes how the container's variables differ from the expected ones; "" if they do not. The last of
// several values of a variable counts.
func (w *wanted) otherEnv(env []corev1.EnvVar) string {
	found := map[string]bool{}
	for _, e := range env {
		want, ok := w.env[e.Name]
		if !ok {
			continue
		}
		if e.Value != want || e.ValueFrom != nil {
			return e.Name + " is not this session's"
		}
		found[e.Name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(w.env)) {
		if w.env[name] != "" && !found[name] {
			return name + " is not set"
		}
	}
	return ""
}

// within reports whether a file is at or below a directory.
func within(file, dir string) bool {
	dir = strings.TrimSuffix(path.Clean("/"+dir), "/")
	return file == dir || strings.HasPrefix(file, dir+"/")
}

// claim is the pod of one Job. The Launcher's lock guards it.
type claim struct {
	wanted *wanted // nil: the API server has not answered yet
	// tracer is the accepted pod; no other pod replaces it. impostor is why a pod of the Job was refused.
	tracer   *corev1.Pod
	impostor string
	reported map[types.UID]bool // refused pods
}

// judge accepts or refuses a pod that claims to belong to the Job, by its newest state. The first of several matching
// pods is the tracer. judge passes each refused pod to refused once.
func (c *claim) judge(pod *corev1.Pod, refused func(pod *corev1.Pod, why string)) {
	if c.wanted == nil {
		return
	}
	tracer := c.tracer != nil && c.tracer.UID == pod.UID
	why := c.wanted.foreign(pod)
	if why == "" {
		if why = c.wanted.mismatch(pod); why != "" {
			c.impostor = "pod " + pod.Name + ": " + why
		}
	}
	switch {
	case why == "" && (tracer || c.tracer == nil):
		c.tracer = pod
	case tracer:
		c.tracer = over(pod, "Changed", "the pod was changed: "+why)
	default:
		if why == "" {
			why = "pod " + c.tracer.Name + " is that already"
		}
		if !c.reported[pod.UID] && len(c.reported) < maxRefusals {
			c.reported[pod.UID] = true
			refused(pod, why)
		}
	}
}

// over returns a copy of the pod with a failed status, whatever its kubelet reports.
func over(pod *corev1.Pod, reason, message string) *corev1.Pod {
	pod = pod.DeepCopy()
	pod.Status = corev1.PodStatus{Phase: corev1.PodFailed, Reason: reason, Message: message}
	return pod
}
