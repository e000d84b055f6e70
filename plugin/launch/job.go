// Package launch starts one short-lived tracer per node as a Job, reports the progress of its start, and deletes it.
package launch

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/orb8-dev/kubectl-orb8/deploy/podspec"
	"github.com/orb8-dev/kubectl-orb8/event/session"
	"github.com/orb8-dev/kubectl-orb8/internal/kube"
)

// Labels of all that a session makes in the cluster.
const (
	// LabelName and NameValue are on every Job and pod; cleanup finds them so.
	LabelName = "app.kubernetes.io/name"
	NameValue = "orb8-tracer"
	// LabelManagedBy names this program, in Kubernetes' recommended way.
	LabelManagedBy = "app.kubernetes.io/managed-by"
	ManagedBy      = "kubectl-orb8"
	// LabelSession identifies the Jobs of one session.
	LabelSession = "orb8.dev/session"
	// AnnotationNode is the node a Job is for: a node's name may be longer than a label.
	AnnotationNode = "orb8.dev/node"
)

// Labels are on all tracers, of any session.
func Labels() labels.Set { return labels.Set{LabelName: NameValue, LabelManagedBy: ManagedBy} }

const (
	// NvidiaRuntimeClass is the name that NVIDIA's device plugin and GPU operator give to their RuntimeClass.
	NvidiaRuntimeClass = "nvidia"
	// RuntimeClassAuto is, in Spec.RuntimeClass, that one where the cluster has it, else none.
	RuntimeClassAuto = "auto"
)

// ResolveRuntimeClass replaces RuntimeClassAuto by the cluster's RuntimeClass, or by none if the user may not read it.
func (s *Spec) ResolveRuntimeClass(ctx context.Context, client kube.Interface) error {
	if s.RuntimeClass != RuntimeClassAuto {
		return nil
	}
	_, err := client.NodeV1().RuntimeClasses().Get(ctx, NvidiaRuntimeClass, metav1.GetOptions{})
	switch {
	case err == nil:
		s.RuntimeClass = NvidiaRuntimeClass
	case apierrors.IsNotFound(err), apierrors.IsForbidden(err):
		s.RuntimeClass = ""
	default:
		return err
	}
	return nil
}

// Container is the name of the tracer's container.
const Container = "tracer"

// Commands of a tracer.
const (
	commandSession = "session"
	CommandDoctor  = "doctor"
)

const (
	// ttlSeconds is how long a finished Job stays: long enough to read why it failed.
	ttlSeconds = 3
	// graceSeconds is how long a deleted tracer has to detach its probes, which takes it milliseconds.
	graceSeconds = 2
)

// Spec describes the tracer Job of one node.
type Spec struct {
	// Session is the session's id: lower-case letters and digits, unique per run of the plugin.
	Session string
	// Namespace the Job runs in.
	Namespace string
	// Attempt counts the Jobs for this node in this session, from 0.
	Attempt int
	Node    string
	// Kernel is the release of the node's kernel; empty: Create reads it from the node.
	Kernel string

	Image            string
	ImagePullPolicy  corev1.PullPolicy
	ImagePullSecrets []string
	// Command of the tracer: a session, if empty, or CommandDoctor.
	Command string
	// ClientKey is the key of the only client that the tracer accepts.
	ClientKey session.PublicKey
	// Privileged runs the container privileged, for platforms where capabilities are not enough.
	Privileged bool
	// Config selects what the tracer traces. "doctor" passes it in the Job, a session sends it.
	Config *session.Config
	// RuntimeClass, if not empty, provides the device files of GPUs.
	RuntimeClass string
	// Resources replace the default requests and limits.
	Resources corev1.ResourceList
	// Labels and Annotations are put on the Job and its pod besides orb8's own.
	Labels, Annotations map[string]string
	// Deadline ends the tracer unless it is extended.
	Deadline time.Duration
}

// JobName is unique per session, node and attempt, and short enough for the names made from it.
func (s *Spec) JobName() string {
	sum := sha256.Sum256([]byte(s.Node))
	return fmt.Sprintf("orb8-%s-%s-%d", s.Session, hex.EncodeToString(sum[:4]), s.Attempt)
}

// Job is the object to create.
func (s *Spec) Job() *batchv1.Job {
	set := podspec.Merge(s.Labels, Labels(), map[string]string{LabelSession: s.Session})
	annotations := podspec.Merge(s.Annotations, map[string]string{AnnotationNode: s.Node})
	var pullSecrets []corev1.LocalObjectReference
	for _, name := range s.ImagePullSecrets {
		pullSecrets = append(pullSecrets, corev1.LocalObjectReference{Name: name})
	}
	return &batchv1.Job{
		TypeMeta:   metav1.TypeMeta{APIVersion: "batch/v1", Kind: "Job"},
		ObjectMeta: metav1.ObjectMeta{Name: s.JobName(), Namespace: s.Namespace, Labels: set, Annotations: annotations},
		Spec: batchv1.JobSpec{
			Parallelism:             ptr(int32(1)),
			Completions:             ptr(int32(1)),
			BackoffLimit:            ptr(int32(0)),
			ActiveDeadlineSeconds:   ptr(int64(s.Deadline / time.Second)),
			TTLSecondsAfterFinished: ptr(int32(ttlSeconds)),
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{
					Labels:      podspec.Merge(podspec.OptOutLabels(), set),
					Annotations: podspec.Merge(podspec.OptOutAnnotations(), annotations),
				},
				Spec: corev1.PodSpec{
					RestartPolicy:    corev1.RestartPolicyNever,
					RuntimeClassName: optional(s.RuntimeClass),
					// By affinity and not by nodeName, so that quota, taints and admission apply, and the scheduler
					// reports a full node. By the object's name, since the hostname label may differ.
					Affinity: &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
						RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
							NodeSelectorTerms: []corev1.NodeSelectorTerm{{
								MatchFields: []corev1.NodeSelectorRequirement{{
									Key: metav1.ObjectNameField, Operator: corev1.NodeSelectorOpIn,
									Values: []string{s.Node},
								}},
							}},
						},
					}},
					Tolerations:                   []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
					HostPID:                       true,
					AutomountServiceAccountToken:  ptr(false),
					EnableServiceLinks:            ptr(false),
					TerminationGracePeriodSeconds: ptr(int64(graceSeconds)),
					ImagePullSecrets:              pullSecrets,
					SecurityContext:               podspec.PodSecurityContext(),
					Containers:                    []corev1.Container{s.container()},
					Volumes:                       []corev1.Volume{podspec.Volume()},
				},
			},
		},
	}
}

// optional is nil for what is empty.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func (s *Spec) args() []string { return []string{cmp.Or(s.Command, commandSession)} }

// gpu reports whether the tracer reads GPUs.
func (s *Spec) gpu() bool { return s.Config.GetGpu() != nil }

func (s *Spec) container() corev1.Container {
	resources := s.resources()
	c := corev1.Container{
		Name:            Container,
		Image:           s.Image,
		ImagePullPolicy: s.ImagePullPolicy,
		Args:            s.args(),
		Env: append([]corev1.EnvVar{{Name: session.EnvClientKey, Value: s.ClientKey.String()}},
			podspec.Env(resources.Limits[corev1.ResourceMemory])...),
		Resources: resources,
		SecurityContext: podspec.Privileges{
			Privileged: s.Privileged, Kernel: s.Kernel, GPU: s.gpu(),
		}.SecurityContext(),
		TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
		VolumeMounts:             []corev1.VolumeMount{podspec.Mount()},
	}
	if config := s.Config.Encode(); s.Command == CommandDoctor && config != "" {
		c.Env = append(c.Env, corev1.EnvVar{Name: session.EnvConfig, Value: config})
	}
	if s.gpu() {
		c.Env = append(c.Env, podspec.GPUEnv()...)
	}
	return c
}

func ptr[T any](v T) *T { return &v }
