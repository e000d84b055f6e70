package e2e

import (
	"context"
	"os/exec"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"github.com/orb8-dev/kubectl-orb8/e2e/kit"
)

// rights returns the output of `kubectl orb8 rbac`.
func rights(t *testing.T, e *kit.Env, args ...string) string {
	t.Helper()
	cmd := exec.Command("bash", append([]string{"-c", `kubectl orb8 rbac "$@"`, "bash"}, args...)...)
	cmd.Env = e.Environ(e.Kubeconfig)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("rbac %q: %v", args, err)
	}
	return string(out)
}

func clientOf(t *testing.T, kubeconfig string) *kubernetes.Clientset {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

var dryRun = []string{metav1.DryRunAll}

// fresh returns a Job to create that equals a live Job before its creation.
func fresh(live *batchv1.Job) *batchv1.Job {
	job := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Name: "orb8-variation", Labels: live.Labels, Annotations: live.Annotations},
		Spec:       *live.Spec.DeepCopy(),
	}
	job.Spec.Selector = nil
	for key := range job.Spec.Template.Labels {
		if strings.HasSuffix(key, "controller-uid") || strings.HasSuffix(key, "job-name") {
			delete(job.Spec.Template.Labels, key)
		}
	}
	return job
}

// TestRights_TracersOnly traces as a user with the two Roles, in a namespace that admits only tracers. Each right is
// used, and no other Job or pod is admitted.
func TestRights_TracersOnly(t *testing.T) {
	e := kit.NeedOwn(t)
	ns, tracers := busy(t, e), e.Namespace(t, nil)
	manifest := rights(t, e, "-n", ns, "--user", "limited", "--tracer-namespace", tracers, "--admission-policy",
		"--gpu")
	e.Apply(t, manifest)
	recorder := e.Recorder(t, e.User(t, "limited"))
	client := clientOf(t, recorder.Kubeconfig)
	awaitPolicies(t, e, client, tracers)

	before := e.Snapshot(t, false)
	flags := []string{"-n", ns, "--tracer-namespace", tracers, "-o", "json"}
	network := e.TraceAs(t, recorder.Kubeconfig, append([]string{"trace", "network", "client", "server"}, flags...)...)
	network.AwaitStreaming(t, 2)
	network.AwaitJQ(t, `any(.kind == "flow" and .src.pod == "client" and .dst.pod == "server")`)
	gpu := e.TraceAs(t, recorder.Kubeconfig, append([]string{"trace", "gpu"}, flags...)...)
	gpu.AwaitStreaming(t, 2)

	jobs, err := e.Client.BatchV1().Jobs(tracers).List(t.Context(), metav1.ListOptions{})
	if err != nil || len(jobs.Items) != 4 {
		t.Fatalf("%d Jobs of 2 sessions on 2 nodes: %v", len(jobs.Items), err)
	}
	job := fresh(&jobs.Items[0])
	if _, err := client.BatchV1().Jobs(tracers).Create(t.Context(), job,
		metav1.CreateOptions{DryRun: dryRun}); err != nil {
		t.Errorf("an unchanged Job is rejected: %v", err)
	}
	// The heartbeat's patch, which a short session does not send.
	_, err = client.BatchV1().Jobs(tracers).Patch(t.Context(), jobs.Items[0].Name, types.StrategicMergePatchType,
		[]byte(`{"spec":{"activeDeadlineSeconds":900}}`), metav1.PatchOptions{DryRun: dryRun})
	if err != nil {
		t.Errorf("extend the Job's deadline: %v", err)
	}
	refusesVariations(t, client, tracers, job)
	refusesPods(t, e, tracers)
	gpu.Stop(t)
	network.Stop(t)
	before.NothingLeft(t)

	// The rest of the Role is for targets of other kinds.
	for _, kind := range []string{"deploy", "sts", "ds", "rs", "job", "cronjob", "rc", "svc"} {
		tr := e.TraceAs(t, recorder.Kubeconfig, append([]string{"trace", "network", kind + "/none"}, flags...)...)
		if code, stderr := tr.Wait(t), tr.Stderr(); code != 1 || !strings.Contains(stderr, "not found") {
			t.Errorf("%s/none: exit code %d:\n%s", kind, code, stderr)
		}
	}
	eachUsed(t, recorder, manifest)
}

// awaitPolicies waits until the API server applies both policies, some time after their creation.
func awaitPolicies(t *testing.T, e *kit.Env, client *kubernetes.Clientset, namespace string) {
	t.Helper()
	other := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "other"}}
	other.Spec.Template.Spec = kit.PodSpec{Namespace: namespace, Name: "other"}.Object().Spec
	other.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyNever
	refused := func(err error) bool { return err != nil && strings.Contains(err.Error(), "denied request: orb8: ") }
	err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, 30*time.Second, true,
		func(ctx context.Context) (bool, error) {
			_, jobErr := client.BatchV1().Jobs(namespace).Create(ctx, other, metav1.CreateOptions{DryRun: dryRun})
			// There is no pod of this name, so that only the policy can reject it.
			_, podErr := e.Client.CoreV1().Pods(namespace).Create(ctx, unschedulable(namespace), metav1.CreateOptions{})
			if podErr == nil {
				podErr = e.Client.CoreV1().Pods(namespace).Delete(ctx, "other", metav1.DeleteOptions{})
			}
			return refused(jobErr) && refused(podErr), nil
		})
	if err != nil {
		t.Fatalf("the policies are not applied: %v", err)
	}
}

// unschedulable returns a pod that never runs, even if it is admitted.
func unschedulable(namespace string) *corev1.Pod {
	pod := kit.PodSpec{Namespace: namespace, Name: "other"}.Object()
	pod.Spec.NodeName, pod.Spec.SchedulerName = "", "none"
	return pod
}

func refusesVariations(t *testing.T, client *kubernetes.Clientset, namespace string, ours *batchv1.Job) {
	t.Helper()
	for name, change := range map[string]func(*corev1.PodSpec, *corev1.Container){
		"privileged": func(_ *corev1.PodSpec, c *corev1.Container) {
			// The API server itself refuses it without privilege escalation.
			c.SecurityContext.AllowPrivilegeEscalation, c.SecurityContext.Privileged = new(true), new(true)
		},
		"another image": func(_ *corev1.PodSpec, c *corev1.Container) { c.Image = kit.WorkloadImage },
		"command":       func(_ *corev1.PodSpec, c *corev1.Container) { c.Command = []string{"/bin/sh"} },
		"arguments":     func(_ *corev1.PodSpec, c *corev1.Container) { c.Args = append(c.Args, "-x") },
		"environment":   func(_ *corev1.PodSpec, c *corev1.Container) { c.Env[1].Value = "/proc/1/root" },
		"host network":  func(p *corev1.PodSpec, _ *corev1.Container) { p.HostNetwork = true },
		"mounted token": func(p *corev1.PodSpec, _ *corev1.Container) { p.AutomountServiceAccountToken = new(true) },
		"two containers": func(p *corev1.PodSpec, c *corev1.Container) {
			p.Containers = append(p.Containers, sidecarOf(c))
		},
		"init container": func(p *corev1.PodSpec, c *corev1.Container) {
			p.InitContainers = []corev1.Container{sidecarOf(c)}
		},
		"another volume": func(p *corev1.PodSpec, _ *corev1.Container) {
			p.Volumes = append(p.Volumes, corev1.Volume{Name: "root", VolumeSource: corev1.VolumeSource{
				HostPath: &corev1.HostPathVolumeSource{Path: "/"},
			}})
		},
		"CAP_SYS_ADMIN": func(_ *corev1.PodSpec, c *corev1.Container) {
			// The API server itself refuses it without privilege escalation.
			c.SecurityContext.AllowPrivilegeEscalation = new(true)
			c.SecurityContext.Capabilities.Add = append(c.SecurityContext.Capabilities.Add, "SYS_ADMIN")
		},
		"postStart hook": func(_ *corev1.PodSpec, c *corev1.Container) {
			c.Lifecycle = &corev1.Lifecycle{PostStart: &corev1.LifecycleHandler{
				Exec: &corev1.ExecAction{Command: []string{"/orb8-tracer"}},
			}}
		},
	} {
		job := ours.DeepCopy()
		change(&job.Spec.Template.Spec, &job.Spec.Template.Spec.Containers[0])
		_, err := client.BatchV1().Jobs(namespace).Create(t.Context(), job, metav1.CreateOptions{DryRun: dryRun})
		if err == nil || !strings.Contains(err.Error(), "denied request: orb8: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func sidecarOf(c *corev1.Container) corev1.Container {
	other := *c.DeepCopy()
	other.Name = "other"
	return other
}

// refusesPods tries as an administrator what the user has no right to.
func refusesPods(t *testing.T, e *kit.Env, namespace string) {
	t.Helper()
	pods := e.Client.CoreV1().Pods(namespace)
	_, create := pods.Create(t.Context(), unschedulable(namespace), metav1.CreateOptions{})
	tracer := e.Tracers(t)[0]
	exec := e.Client.CoreV1().RESTClient().Post().Namespace(namespace).Resource("pods").Name(tracer.Name).SubResource(
		"exec").
		VersionedParams(&corev1.PodExecOptions{Command: []string{"/x"}, Stdout: true},
			scheme.ParameterCodec).Do(t.Context()).Error()
	changed := tracer.DeepCopy()
	changed.Spec.EphemeralContainers = []corev1.EphemeralContainer{
		{EphemeralContainerCommon: corev1.EphemeralContainerCommon{
			Name: "debug", Image: kit.WorkloadImage,
		}}}
	_, ephemeral := pods.UpdateEphemeralContainers(t.Context(), tracer.Name, changed,
		metav1.UpdateOptions{DryRun: dryRun})
	image := []byte(`{"spec":{"containers":[{"name":"tracer","image":"` + kit.WorkloadImage + `"}]}}`)
	_, update := pods.Patch(t.Context(), tracer.Name, types.StrategicMergePatchType, image, metav1.PatchOptions{})
	for what, err := range map[string]error{"create": create, "exec": exec, "ephemeral container": ephemeral,
		"image": update} {
		if err == nil || !strings.Contains(err.Error(), "only the Job controller creates pods") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// eachUsed checks that every right in a manifest's Roles was used.
func eachUsed(t *testing.T, recorder *kit.Recorder, manifest string) {
	t.Helper()
	roles := 0
	for document := range strings.SplitSeq(manifest, "---\n") {
		var role rbacv1.Role
		if err := yaml.Unmarshal([]byte(document), &role); err != nil {
			t.Fatal(err)
		}
		if role.Kind != "Role" {
			continue
		}
		roles++
		for _, rule := range role.Rules {
			for _, resource := range rule.Resources {
				for _, verb := range rule.Verbs {
					if !recorder.Used(role.Namespace, rule.APIGroups[0], resource, verb) {
						t.Errorf("Role %s grants an unused right: %s %s", role.Name, verb, resource)
					}
				}
			}
		}
	}
	if roles != 2 {
		t.Errorf("%d Roles", roles)
	}
}
