package launch

import (
	"fmt"
	"maps"
	"testing"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/ext"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
)

// evaluator evaluates a policy's expressions as the API server does.
type evaluator struct {
	t   *testing.T
	env *cel.Env
}

func newEvaluator(t *testing.T) *evaluator {
	t.Helper()
	env, err := cel.NewEnv(ext.Strings(ext.StringsVersion(0)), cel.CrossTypeNumericComparisons(true),
		cel.Variable("object", cel.DynType), cel.Variable("oldObject", cel.DynType),
		cel.Variable("request", cel.DynType),
		cel.Variable("variables", cel.DynType))
	if err != nil {
		t.Fatal(err)
	}
	return &evaluator{t, env}
}

func (e *evaluator) eval(expression string, in map[string]any) (any, error) {
	e.t.Helper()
	ast, issues := e.env.Compile(expression)
	if issues.Err() != nil {
		e.t.Fatalf("%s\n%v", expression, issues.Err())
	}
	program, err := e.env.Program(ast)
	if err != nil {
		e.t.Fatal(err)
	}
	value, _, err := program.Eval(in)
	if err != nil {
		return nil, err
	}
	return value.Value(), nil
}

// refusals returns the messages of the failing validations.
func (e *evaluator) refusals(
	policy *admissionv1.ValidatingAdmissionPolicy, object, old any, request map[string]any,
) (all []string) {
	e.t.Helper()
	variables := map[string]any{}
	in := map[string]any{"object": object, "oldObject": old, "request": request, "variables": variables}
	for _, v := range policy.Spec.Variables {
		value, err := e.eval(v.Expression, in)
		if err != nil {
			e.t.Fatalf("variable %s: %v", v.Name, err)
		}
		variables[v.Name] = value
	}
	for _, v := range policy.Spec.Validations {
		if value, err := e.eval(v.Expression, in); err != nil {
			all = append(all, fmt.Sprintf("%s (%v)", v.Message, err))
		} else if value != true {
			all = append(all, v.Message)
		}
	}
	return all
}

func unstructuredOf(t *testing.T, object any) map[string]any {
	t.Helper()
	m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func (e *evaluator) jobRefusals(p *Policy, job *batchv1.Job) []string {
	e.t.Helper()
	policy := p.Objects()[0].(*admissionv1.ValidatingAdmissionPolicy)
	return e.refusals(policy, unstructuredOf(e.t, job), nil, map[string]any{"operation": "CREATE"})
}

func policyOfSpec(s *Spec) *Policy {
	return &Policy{
		Namespace: s.Namespace, Image: s.Image, GPU: s.gpu(), RuntimeClass: s.RuntimeClass, Kernel: s.Kernel,
		Labels: s.Labels, Annotations: s.Annotations,
	}
}

func TestPolicy_AdmitsOurJobs(t *testing.T) {
	e := newEvaluator(t)
	count := 0
	for _, gpu := range []bool{false, true} {
		for _, class := range []string{"", "nvidia"} {
			for _, command := range []string{"", "doctor"} {
				for _, kernel := range []string{"", "5.10.0-32", "6.1.0", "6.18.44"} {
					for _, metadata := range []map[string]string{nil, {"team": `n"e't`, "x.y/z": ""}} {
						s := spec()
						s.Command, s.Kernel, s.Labels, s.Annotations = command, kernel, metadata, metadata
						s.Image = "ghcr.io/orb8-dev/orb8-tracer@sha256:0123"
						if gpu {
							s.RuntimeClass, s.Config = class, gpuConfig
						}
						if metadata != nil {
							s.Resources = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("128Mi")}
						}
						job := s.Job()
						job.Spec.Template.Labels["batch.kubernetes.io/controller-uid"] = "u" // as the API server does
						if got := e.jobRefusals(policyOfSpec(s), job); len(got) > 0 {
							t.Errorf("%+v: refused: %q", s, got)
						}
						count++
					}
				}
			}
		}
	}
	if count != 64 {
		t.Errorf("%d combinations", count)
	}
}

func TestPolicy_RefusesOtherJobs(t *testing.T) {
	e := newEvaluator(t)
	probe := &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"sh"}}}}
	hostPath := corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/"}}
	jobs := map[string]func(*batchv1.Job){
		"no deadline": func(j *batchv1.Job) {
			j.Spec.ActiveDeadlineSeconds = nil
		},
		"many pods": func(j *batchv1.Job) {
			j.Spec.Parallelism = ptr(int32(9))
		},
		"no label": func(j *batchv1.Job) {
			j.Labels = nil
		},
		"label of the pod": func(j *batchv1.Job) {
			j.Spec.Template.Labels["app"] = "web"
		},
		"opted in": func(j *batchv1.Job) {
			j.Spec.Template.Labels["sidecar.istio.io/inject"] = "true"
		},
		"image of a sidecar": func(j *batchv1.Job) {
			j.Spec.Template.Annotations["sidecar.istio.io/proxyImage"] = "x"
		},
		"another team's label": func(j *batchv1.Job) {
			j.Spec.Template.Labels["team"] = "db"
		},
	}
	pods := map[string]func(*corev1.PodSpec){
		"other host path": func(p *corev1.PodSpec) {
			p.Volumes[0].VolumeSource = hostPath
		},
		"one volume more": func(p *corev1.PodSpec) {
			p.Volumes = append(p.Volumes, corev1.Volume{Name: "x", VolumeSource: hostPath})
		},
		"container more": func(p *corev1.PodSpec) {
			p.Containers = append(p.Containers, corev1.Container{Name: "x"})
		},
		"init container": func(p *corev1.PodSpec) {
			p.InitContainers = []corev1.Container{{Name: "x"}}
		},
		"ephemeral container": func(p *corev1.PodSpec) {
			p.EphemeralContainers = []corev1.EphemeralContainer{{}}
		},
		"seccomp profile of own": func(p *corev1.PodSpec) {
			p.SecurityContext.SeccompProfile.LocalhostProfile = ptr("x")
		},
		"sysctl": func(p *corev1.PodSpec) {
			p.SecurityContext.Sysctls = []corev1.Sysctl{{Name: "x"}}
		},
		"host network": func(p *corev1.PodSpec) {
			p.HostNetwork = true
		},
		"host IPC": func(p *corev1.PodSpec) {
			p.HostIPC = true
		},
		"shared processes": func(p *corev1.PodSpec) {
			p.ShareProcessNamespace = ptr(true)
		},
		"service account": func(p *corev1.PodSpec) {
			p.ServiceAccountName = "x"
		},
		"token": func(p *corev1.PodSpec) {
			p.AutomountServiceAccountToken = ptr(true)
		},
		"token by default": func(p *corev1.PodSpec) {
			p.AutomountServiceAccountToken = nil
		},
		"RuntimeClass": func(p *corev1.PodSpec) {
			p.RuntimeClassName = ptr("nvidia")
		},
		"restarts": func(p *corev1.PodSpec) {
			p.RestartPolicy = corev1.RestartPolicyOnFailure
		},
		"host alias": func(p *corev1.PodSpec) {
			p.HostAliases = []corev1.HostAlias{{IP: "::1"}}
		},
	}
	containers := map[string]func(*corev1.Container){
		"privileged": func(c *corev1.Container) {
			c.SecurityContext.Privileged = ptr(true)
		},
		"other image": func(c *corev1.Container) {
			c.Image = "ghcr.io/orb8-dev/orb8-tracer:v1.2.4"
		},
		"writable mount": func(c *corev1.Container) {
			c.VolumeMounts[0].ReadOnly = false
		},
		"mount elsewhere": func(c *corev1.Container) {
			c.VolumeMounts[0].MountPath = "/usr"
		},
		"subPath": func(c *corev1.Container) {
			c.VolumeMounts[0].SubPath = "x"
		},
		"mount propagation": func(c *corev1.Container) {
			c.VolumeMounts[0].MountPropagation = ptr(corev1.MountPropagationBidirectional)
		},
		"block device": func(c *corev1.Container) {
			c.VolumeDevices = []corev1.VolumeDevice{{Name: "x"}}
		},
		"command": func(c *corev1.Container) {
			c.Command = []string{"/bin/sh"}
		},
		"args": func(c *corev1.Container) {
			c.Args = append(c.Args, "--x")
		},
		"no args": func(c *corev1.Container) {
			c.Args = nil
		},
		"GPU args": func(c *corev1.Container) {
			c.Args = []string{"doctor", "--gpu"}
		},
		"working directory": func(c *corev1.Container) {
			c.WorkingDir = "/host"
		},
		"other container": func(c *corev1.Container) {
			c.Name = "x"
		},
		"CAP_SYS_ADMIN": func(c *corev1.Container) {
			c.SecurityContext.Capabilities.Add = append(c.SecurityContext.Capabilities.Add, "SYS_ADMIN")
		},
		"no dropped capability": func(c *corev1.Container) {
			c.SecurityContext.Capabilities.Drop = nil
		},
		"no capabilities": func(c *corev1.Container) {
			c.SecurityContext.Capabilities = nil
		},
		"no security context": func(c *corev1.Container) {
			c.SecurityContext = nil
		},
		"privilege escalation": func(c *corev1.Container) {
			c.SecurityContext.AllowPrivilegeEscalation = ptr(true)
		},
		"writable root": func(c *corev1.Container) {
			c.SecurityContext.ReadOnlyRootFilesystem = nil
		},
		"unmasked /proc": func(c *corev1.Container) {
			c.SecurityContext.ProcMount = ptr(corev1.UnmaskedProcMount)
		},
		"other SELinux type": func(c *corev1.Container) {
			c.SecurityContext.SELinuxOptions.Type = "unconfined_t"
		},
		"variable more": func(c *corev1.Container) {
			c.Env = append(c.Env, corev1.EnvVar{Name: "LD_PRELOAD", Value: "/x"})
		},
		"other cgroup root": func(c *corev1.Container) {
			c.Env[1].Value = "/proc/1/root"
		},
		"variable from a Secret": func(c *corev1.Container) {
			secret := &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{Key: "x"}}
			c.Env[0] = corev1.EnvVar{Name: c.Env[0].Name, ValueFrom: secret}
		},
		"variables of a Secret": func(c *corev1.Container) {
			c.EnvFrom = []corev1.EnvFromSource{{Prefix: "x"}}
		},
		"postStart hook": func(c *corev1.Container) {
			c.Lifecycle = &corev1.Lifecycle{PostStart: &corev1.LifecycleHandler{Exec: probe.Exec}}
		},
		"probe": func(c *corev1.Container) {
			c.LivenessProbe = probe
		},
		"port": func(c *corev1.Container) {
			c.Ports = []corev1.ContainerPort{{HostPort: 1}}
		},
		"device": func(c *corev1.Container) {
			c.Resources.Limits["nvidia.com/gpu"] = resource.MustParse("1")
		},
		"termination message": func(c *corev1.Container) {
			c.TerminationMessagePath = "/orb8-nvml"
		},
		"terminal": func(c *corev1.Container) {
			c.Stdin, c.TTY = true, true
		},
	}
	changes := map[string]func(*batchv1.Job){}
	maps.Copy(changes, jobs)
	for name, change := range pods {
		changes[name] = func(j *batchv1.Job) { change(&j.Spec.Template.Spec) }
	}
	for name, change := range containers {
		changes[name] = func(j *batchv1.Job) { change(&j.Spec.Template.Spec.Containers[0]) }
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			e := &evaluator{t, e.env}
			s := spec()
			s.Labels = map[string]string{"team": "net"}
			job := s.Job()
			if got := e.jobRefusals(policyOfSpec(s), job); len(got) > 0 {
				t.Fatalf("refused unchanged: %q", got)
			}
			change(job)
			if got := e.jobRefusals(policyOfSpec(s), job); len(got) == 0 {
				t.Error("admitted")
			}
		})
	}
}

func TestPolicy_GPUNeedsOptIn(t *testing.T) {
	e := newEvaluator(t)
	s := spec()
	s.Config, s.RuntimeClass = gpuConfig, "nvidia"
	p := policyOfSpec(s)
	for name, change := range map[string]func(*Spec, *Policy){
		"not allowed":     func(_ *Spec, p *Policy) { p.GPU = false },
		"other class":     func(s *Spec, _ *Policy) { s.RuntimeClass = "kata" },
		"an older kernel": func(s *Spec, _ *Policy) { s.Kernel = "5.10" },
	} {
		t.Run(name, func(t *testing.T) {
			e := &evaluator{t, e.env}
			changed, policy := *s, *p
			change(&changed, &policy)
			if got := e.jobRefusals(&policy, changed.Job()); len(got) == 0 {
				t.Error("admitted")
			}
		})
	}
}

func TestPolicy_OnlyControllersMakePods(t *testing.T) {
	e := newEvaluator(t)
	policy := (&Policy{Namespace: "tracers"}).Objects()[2].(*admissionv1.ValidatingAdmissionPolicy)
	pod := map[string]any{"spec": map[string]any{"containers": []any{map[string]any{"image": "x"}}}}
	other := map[string]any{"spec": map[string]any{"containers": []any{map[string]any{"image": "y"}}}}
	user := map[string]any{"username": "alice"}
	controller := map[string]any{"username": "system:serviceaccount:kube-system:job-controller"}
	request := func(operation, subresource string, who map[string]any) map[string]any {
		return map[string]any{"operation": operation, "subResource": subresource, "userInfo": who}
	}
	dryRun := request("CREATE", "", user)
	dryRun["dryRun"] = true
	impostor := map[string]any{"username": "system:serviceaccount:tracers:job-controller"}
	for name, test := range map[string]struct {
		request map[string]any
		old     any
		admits  bool
	}{
		"a user creates":          {request("CREATE", "", user), nil, false},
		"a user's dry run":        {dryRun, nil, true},
		"the controller creates":  {request("CREATE", "", controller), nil, true},
		"metadata":                {request("UPDATE", "", user), pod, true},
		"an image":                {request("UPDATE", "", user), other, false},
		"exec":                    {request("CONNECT", "exec", user), nil, false},
		"the controller's exec":   {request("CONNECT", "exec", controller), nil, false},
		"an ephemeral container":  {request("UPDATE", "ephemeralcontainers", user), pod, false},
		"another service account": {request("CREATE", "", impostor), nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			e := &evaluator{t, e.env}
			got := e.refusals(policy, pod, test.old, test.request)
			if (len(got) == 0) != test.admits {
				t.Errorf("%q", got)
			}
		})
	}
}

func TestRefusal_OwnPolicyNamesNoLabels(t *testing.T) {
	s := spec()
	s.Deadline = time.Hour
	err := Refusal(s, "jobs.batch \"x\" is forbidden: ValidatingAdmissionPolicy 'orb8-tracer-jobs-demo' with binding "+
		"'orb8-tracer-jobs-demo' denied request: orb8: the pod has labels that orb8 does not set")
	if err.Reason != "policy" || err.Fix != "an administrator prints the policy for other tracers with: "+
		"kubectl orb8 rbac --admission-policy --help" {
		t.Errorf("%+v", err)
	}
}
