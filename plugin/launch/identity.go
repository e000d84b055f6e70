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

// Labels and owner references are what the creator of a pod says of it. Whoever may create pods in the tracer's
// namespace can have one claim to be the tracer, and what it announces in its log would be taken for the tracer's key.
// So a pod is the tracer's only if it is of the Job that the API server has made for this session, by its UID, on the
// node that was asked for, and if its container is what was asked for: the image, command and arguments, the key of the
// client, and the configuration.
//
// Admission may add containers, init containers, variables, volumes and resources. It may change the image in the Job,
// which the API server's answer shows, but not in the pod: an image there is the only thing that tells a tracer from
// another program. Where admission rewrites images of pods, --image takes the name that it makes of them.

const (
	// maxTold is of how many pods of a Job it is told that they are refused.
	maxTold = 8
	// strangerPatience is how long a Job whose only pod is not the tracer is waited for.
	strangerPatience = 5 * time.Second
)

// binaries are the files that the tracer's container runs: what is mounted over them is run in their place.
var binaries = []string{"/orb8-tracer", "/orb8-nvml"}

// wanted is what the pod of one Job must be.
type wanted struct {
	job   types.UID
	node  string
	image string
	args  []string
	// env are the variables that decide whom the tracer serves and what it does; an empty one is not to be set.
	env map[string]string
}

// wantedOf gives what the pod of a Job must be, by what was asked for and what the API server has made of it.
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

// foreign reports whether the pod is not of the Job, whatever it says, and why.
func (w *wanted) foreign(pod *corev1.Pod) string {
	if owner := metav1.GetControllerOf(pod); owner == nil || owner.UID != w.job {
		return "its owner has another UID than the Job that was made"
	}
	return ""
}

// mismatch says how a pod of the Job differs from what was asked for; "" where it does not.
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
		return "it has a lifecycle hook, and none was asked for"
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

// otherEnv says why the container would serve another client, or do something else. Of a variable that is given twice,
// the last one counts.
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
	// tracer is the pod that was accepted; it stays the one. stranger says why another pod of the Job was not.
	tracer   *corev1.Pod
	stranger string
	told     map[types.UID]bool // of these pods that they are refused
}

// judge takes the newest state of a pod that claims to be of the Job. Of several that are what was asked for, the first
// is the tracer. A pod that is refused is given to refused once.
func (c *claim) judge(pod *corev1.Pod, refused func(pod *corev1.Pod, why string)) {
	if c.wanted == nil {
		return
	}
	tracer := c.tracer != nil && c.tracer.UID == pod.UID
	why := c.wanted.foreign(pod)
	if why == "" {
		if why = c.wanted.mismatch(pod); why != "" {
			c.stranger = "pod " + pod.Name + ": " + why
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
		if !c.told[pod.UID] && len(c.told) < maxTold {
			c.told[pod.UID] = true
			refused(pod, why)
		}
	}
}

// over is a pod whose tracer has ended, whatever its kubelet reports.
func over(pod *corev1.Pod, reason, message string) *corev1.Pod {
	pod = pod.DeepCopy()
	pod.Status = corev1.PodStatus{Phase: corev1.PodFailed, Reason: reason, Message: message}
	return pod
}
