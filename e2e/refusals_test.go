package e2e

import (
	"context"
	"regexp"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/orb8-dev/kubectl-orb8/e2e/kit"
)

// regulated are the objects for a namespace in which Jobs need a label and an annotation, containers have at most 128
// MiB and the quota is half a CPU.
const regulated = `apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: regulated-NAMESPACE
spec:
  matchConstraints:
    resourceRules:
    - {apiGroups: [batch], apiVersions: [v1], operations: [CREATE], resources: [jobs]}
  validations:
  - expression: has(object.metadata.labels) && 'team' in object.metadata.labels
    message: the label team is missing
  - expression: has(object.metadata.annotations) && 'owner' in object.metadata.annotations
    message: the annotation owner is missing
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: regulated-NAMESPACE
spec:
  policyName: regulated-NAMESPACE
  validationActions: [Deny]
  matchResources:
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: NAMESPACE}}
---
apiVersion: v1
kind: LimitRange
metadata: {name: regulated, namespace: NAMESPACE}
spec: {limits: [{type: Container, max: {memory: 128Mi}}]}
---
apiVersion: v1
kind: ResourceQuota
metadata: {name: regulated, namespace: NAMESPACE}
spec: {hard: {limits.cpu: 500m}}
`

// awaitRegulated waits until the API server enforces the policy, the LimitRange and the quota.
func awaitRegulated(t *testing.T, e *kit.Env, namespace string) {
	t.Helper()
	var jobErr, limitErr, quotaErr error
	pod := func(ctx context.Context, memory string) error {
		pod := kit.PodSpec{Namespace: namespace, Name: "probe"}.Object()
		pod.Spec.Containers[0].Resources.Limits = corev1.ResourceList{
			corev1.ResourceCPU: resource.MustParse("1"), corev1.ResourceMemory: resource.MustParse(memory),
		}
		_, err := e.Client.CoreV1().Pods(namespace).Create(ctx, pod, metav1.CreateOptions{DryRun: dryRun})
		return err
	}
	refused := func(err error, why string) bool { return err != nil && strings.Contains(err.Error(), why) }
	err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, 30*time.Second, true,
		func(ctx context.Context) (bool, error) {
			job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "probe"}}
			job.Spec.Template.Spec = kit.PodSpec{Namespace: namespace, Name: "probe"}.Object().Spec
			job.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyNever
			_, jobErr = e.Client.BatchV1().Jobs(namespace).Create(ctx, job, metav1.CreateOptions{DryRun: dryRun})
			limitErr, quotaErr = pod(ctx, "256Mi"), pod(ctx, "64Mi")
			return refused(jobErr, "label team") && refused(limitErr, "maximum memory usage") &&
				refused(quotaErr, "exceeded quota"), nil
		})
	if err != nil {
		t.Fatalf("not enforced: Job: %v, LimitRange: %v, quota: %v", jobErr, limitErr, quotaErr)
	}
}

// TestRefusals_NameTheFlag traces with one more flag after each refusal. Trace and doctor name the flag that avoids the
// refusal, and with all of the flags the trace runs.
func TestRefusals_NameTheFlag(t *testing.T) {
	e := kit.Need(t)
	ns := e.Namespace(t, nil)
	e.Pods(t, kit.PodSpec{Namespace: ns, Name: "app", Node: e.Nodes[0]})
	e.Apply(t, strings.ReplaceAll(regulated, "NAMESPACE", ns))
	awaitRegulated(t, e, ns)
	before := e.Snapshot(t, false)

	flags := []string{"-n", ns}
	for _, step := range []struct {
		check, reason, fix string
		flag               []string // empty: the one that the message names
	}{
		{"admission: job", "forbidden: ",
			`set what the policy wants with --tracer-labels KEY=VALUE or --tracer-annotations KEY=VALUE`,
			[]string{"--tracer-labels", "team=net"}},
		{"admission: job", "forbidden: ",
			`set what the policy wants with --tracer-labels KEY=VALUE or --tracer-annotations KEY=VALUE`,
			[]string{"--tracer-annotations", "owner=net"}},
		{"admission: pod", "limit range: ", `--tracer-resources memory=128Mi`, nil},
		{"admission: pod", "quota: ", `--tracer-resources cpu=500m`, nil},
	} {
		tr := e.Trace(t, append([]string{"trace", "network", "-o", "json"}, flags...)...)
		if code, stderr := tr.Wait(t), tr.Stderr(); code != 1 ||
			!regexp.MustCompile(step.reason+`.*`+regexp.QuoteMeta(step.fix)).MatchString(stderr) {
			t.Fatalf("trace %q: exit code %d, want 1 and %q in:\n%s", flags, code, step.fix, stderr)
		}
		findings, _, code := doctor(t, e, e.Kubeconfig, append([]string{"--node", e.Nodes[0]}, flags...)...)
		f := findingOf(t, findings, "", step.check)
		if code != 1 || f.Status != "failure" || !strings.HasPrefix(f.Detail, step.reason) {
			t.Errorf("doctor %q: exit code %d, %+v", flags, code, f)
		}
		wantFix(t, f, regexp.QuoteMeta(step.fix))
		if step.flag == nil {
			step.flag = strings.Fields(step.fix)
		}
		flags = append(flags, step.flag...)
	}

	findings, stderr, code := doctor(t, e, e.Kubeconfig, append([]string{"--node", e.Nodes[0]}, flags...)...)
	if code != 0 {
		t.Errorf("doctor %q: exit code %d, stderr %q, %+v", flags, code, stderr, findings)
	}
	// doctor's tracer counts until its pod is deleted and the quota controller has noticed.
	err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, 30*time.Second, true,
		func(ctx context.Context) (bool, error) {
			quota, err := e.Client.CoreV1().ResourceQuotas(ns).Get(ctx, "regulated", metav1.GetOptions{})
			if err != nil {
				return false, err
			}
			used := quota.Status.Used[corev1.ResourceLimitsCPU]
			return used.IsZero(), nil
		})
	if err != nil {
		t.Fatal(err)
	}
	tr := e.Trace(t, append([]string{"trace", "network", "-o", "json"}, flags...)...)
	tr.AwaitStreaming(t, 1)
	pod := theTracer(t, e, 1)
	if pod.Labels["team"] != "net" || pod.Annotations["owner"] != "net" ||
		pod.Spec.Containers[0].Resources.Limits.Memory().String() != "128Mi" {
		t.Errorf("%v, %v, %+v", pod.Labels, pod.Annotations, pod.Spec.Containers[0].Resources)
	}
	tr.Stop(t)
	before.NothingLeft(t)
}
