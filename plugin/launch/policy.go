package launch

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/orb8-dev/kubectl-orb8/deploy/podspec"
	"github.com/orb8-dev/kubectl-orb8/event/session"
	"github.com/orb8-dev/kubectl-orb8/internal/capabilities"
)

// PolicyPrefix starts the names of the admission policies.
const PolicyPrefix = "orb8-tracer-"

// Policy describes the tracers that a namespace admits. Without it, whoever may create Jobs there can run any pod.
//
// The expressions list what is allowed, field by field: a field that Job does not set is refused, known to us or not.
type Policy struct {
	// Namespace of the tracers. Nothing else can run in it.
	Namespace string
	// Image is the only image, best by digest.
	Image string
	// GPU also admits tracers that read GPUs, with RuntimeClass, where it is not empty, as their RuntimeClass.
	GPU          bool
	RuntimeClass string
	// Kernel is the release of the nodes' oldest kernel, which decides about capabilities. Empty: a current one.
	Kernel string
	// Labels and Annotations are those that Jobs may have besides orb8's own.
	Labels, Annotations map[string]string
}

// Objects are the admission policies and their bindings, in the order to create them.
func (p *Policy) Objects() []any {
	written := []admissionv1.OperationType{admissionv1.Create, admissionv1.Update}
	jobs := p.policy("jobs", rule("batch", written, "jobs"))
	jobs.Spec.Variables = policyVariables
	jobs.Spec.Validations = p.jobValidations()
	pods := p.policy("pods",
		rule("", written, "pods", "pods/ephemeralcontainers"),
		rule("", []admissionv1.OperationType{admissionv1.Connect}, "pods/exec", "pods/attach"),
	)
	pods.Spec.Validations = []admissionv1.Validation{{
		Expression: podExpression,
		Message: "orb8: only the Job controller creates pods in this namespace, and nobody changes them " +
			"or runs programs in them",
	}}
	return []any{jobs, p.binding(jobs), pods, p.binding(pods)}
}

// podExpression leaves the pods of admitted Jobs alone: what admission itself adds to them (sidecars) is not the
// user's. A dry run creates nothing; doctor uses one. Metadata may change: controllers remove finalizers.
const podExpression = `(!has(request.subResource) || request.subResource == "") && (
  request.userInfo.username in [
    "system:serviceaccount:kube-system:job-controller", "system:kube-controller-manager"
  ] ||
  has(request.dryRun) && request.dryRun ||
  request.operation == "UPDATE" && object.spec == oldObject.spec
)`

func (p *Policy) policy(
	what string, rules ...admissionv1.NamedRuleWithOperations,
) *admissionv1.ValidatingAdmissionPolicy {
	return &admissionv1.ValidatingAdmissionPolicy{
		TypeMeta: metav1.TypeMeta{
			APIVersion: admissionv1.SchemeGroupVersion.String(), Kind: "ValidatingAdmissionPolicy",
		},
		ObjectMeta: metav1.ObjectMeta{
			Name:   PolicyPrefix + what + "-" + p.Namespace,
			Labels: map[string]string{LabelManagedBy: ManagedBy},
		},
		Spec: admissionv1.ValidatingAdmissionPolicySpec{
			FailurePolicy:    ptr(admissionv1.Fail),
			MatchConstraints: &admissionv1.MatchResources{ResourceRules: rules},
		},
	}
}

func (p *Policy) binding(policy *admissionv1.ValidatingAdmissionPolicy) *admissionv1.ValidatingAdmissionPolicyBinding {
	return &admissionv1.ValidatingAdmissionPolicyBinding{
		TypeMeta:   metav1.TypeMeta{APIVersion: policy.APIVersion, Kind: "ValidatingAdmissionPolicyBinding"},
		ObjectMeta: *policy.ObjectMeta.DeepCopy(),
		Spec: admissionv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName:        policy.Name,
			ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny},
			// The API server itself sets this label, and nobody can change it.
			MatchResources: &admissionv1.MatchResources{NamespaceSelector: &metav1.LabelSelector{
				MatchLabels: map[string]string{"kubernetes.io/metadata.name": p.Namespace},
			}},
		},
	}
}

func rule(
	group string, operations []admissionv1.OperationType, resources ...string,
) admissionv1.NamedRuleWithOperations {
	return admissionv1.NamedRuleWithOperations{RuleWithOperations: admissionv1.RuleWithOperations{
		Operations: operations,
		Rule:       admissionv1.Rule{APIGroups: []string{group}, APIVersions: []string{"v1"}, Resources: resources},
	}}
}

// policyVariables shorten the expressions. dyn lets them iterate over the names of an object's fields.
var policyVariables = []admissionv1.Variable{
	{Name: "template", Expression: `object.spec.template.metadata`},
	{Name: "labels", Expression: `has(variables.template.labels) ? variables.template.labels : {}`},
	{Name: "annotations", Expression: `has(variables.template.annotations) ? variables.template.annotations : {}`},
	{Name: "pod", Expression: `dyn(object.spec.template.spec)`},
	{Name: "podSecurity", Expression: `has(variables.pod.securityContext) ?
  dyn(variables.pod.securityContext) : dyn({})`},
	{Name: "tracer", Expression: `dyn(variables.pod.containers[0])`},
	{Name: "security", Expression: `has(variables.tracer.securityContext) ?
  dyn(variables.tracer.securityContext) : dyn({})`},
	{Name: "volumes", Expression: `has(variables.pod.volumes) ? dyn(variables.pod.volumes) : dyn([])`},
	{Name: "mounts", Expression: `has(variables.tracer.volumeMounts) ?
  dyn(variables.tracer.volumeMounts) : dyn([])`},
	{Name: "env", Expression: `has(variables.tracer.env) ? dyn(variables.tracer.env) : dyn([])`},
	{Name: "args", Expression: `has(variables.tracer.args) ? variables.tracer.args : []`},
}

func (p *Policy) jobValidations() []admissionv1.Validation {
	validations := p.metadataValidations()
	validations = append(validations, p.podValidations()...)
	return append(validations, p.containerValidations()...)
}

// metadataValidations restrict a Job and the labels and annotations of its pod.
func (p *Policy) metadataValidations() []admissionv1.Validation {
	// The API server puts these onto the template of each Job.
	free := []string{
		LabelSession, "controller-uid", "job-name", "batch.kubernetes.io/controller-uid",
		"batch.kubernetes.io/job-name",
	}
	return []admissionv1.Validation{
		{
			Expression: fmt.Sprintf(`has(object.metadata.labels) && %s.all(k, k in object.metadata.labels &&
  object.metadata.labels[k] == %[1]s[k])`, celMap(Labels())),
			Message: "orb8: a Job here carries the labels of orb8's tracers",
		},
		{
			Expression: `has(object.spec.activeDeadlineSeconds) && ["parallelism", "completions"].all(k,
  k in dyn(object.spec) && dyn(object.spec)[k] == 1)`,
			Message: "orb8: a tracer's Job has a deadline and one pod",
		},
		{
			Expression: celPairs("variables.labels", podspec.Merge(podspec.OptOutLabels(), p.Labels, Labels()), free),
			Message: "orb8: the pod has labels that orb8 does not set: an administrator allows more with " +
				"kubectl orb8 rbac --tracer-labels",
		},
		{
			Expression: celPairs("variables.annotations", podspec.Merge(podspec.OptOutAnnotations(), p.Annotations),
				[]string{AnnotationNode}),
			Message: "orb8: the pod has annotations that orb8 does not set: an administrator allows more with " +
				"kubectl orb8 rbac --tracer-annotations",
		},
	}
}

func (p *Policy) podValidations() []admissionv1.Validation {
	fields := []string{
		"affinity", "automountServiceAccountToken", "containers", "dnsPolicy", "enableServiceLinks", "hostPID",
		"imagePullSecrets", "restartPolicy", "schedulerName", "securityContext", "terminationGracePeriodSeconds",
		"tolerations", "volumes",
	}
	if p.GPU && p.RuntimeClass != "" {
		fields = append(fields, "runtimeClassName")
	}
	validations := []admissionv1.Validation{
		{
			Expression: celFields("variables.pod", fields...),
			Message:    "orb8: the pod has fields that a tracer has not: want only " + strings.Join(fields, ", "),
		},
		{
			Expression: `has(variables.pod.automountServiceAccountToken) &&
!variables.pod.automountServiceAccountToken &&
has(variables.pod.restartPolicy) && variables.pod.restartPolicy == "Never"`,
			Message: "orb8: a tracer has no service account token and is not restarted",
		},
		{
			Expression: celFields("variables.podSecurity", "runAsGroup", "runAsNonRoot", "runAsUser",
				"seccompProfile") + ` &&
(!has(variables.podSecurity.seccompProfile) || variables.podSecurity.seccompProfile == {"type": "Unconfined"})`,
			Message: "orb8: the pod's security context is not a tracer's",
		},
		{
			Expression: `variables.volumes.size() == 1 && variables.volumes.all(v,
  v.all(k, k in ["name", "hostPath"]) && v.name == "cgroup" &&
  has(v.hostPath) && v.hostPath.path == "/sys/fs/cgroup")`,
			Message: "orb8: a tracer has one volume, the host's /sys/fs/cgroup",
		},
		{
			Expression: fmt.Sprintf(`variables.pod.containers.size() == 1 &&
variables.tracer.name == %q`, Container),
			Message: fmt.Sprintf("orb8: a tracer's pod has one container, called %s", Container),
		},
	}
	if p.GPU && p.RuntimeClass != "" {
		validations = append(validations, admissionv1.Validation{
			Expression: fmt.Sprintf(`!has(variables.pod.runtimeClassName) ||
variables.pod.runtimeClassName == %q`, p.RuntimeClass),
			Message: "orb8: a tracer has no RuntimeClass, or " + p.RuntimeClass,
		})
	}
	return validations
}

func (p *Policy) containerValidations() []admissionv1.Validation {
	fields := []string{
		"args", "env", "image", "imagePullPolicy", "name", "resources", "securityContext", "terminationMessagePath",
		"terminationMessagePolicy", "volumeMounts",
	}
	environment := map[string]string{session.EnvCgroupRoot: podspec.CgroupMount}
	anyValue := []string{session.EnvClientKey, "GOMEMLIMIT"}
	if p.GPU {
		for _, e := range podspec.GPUEnv() {
			environment[e.Name] = e.Value
		}
		anyValue = append(anyValue, session.EnvConfig) // doctor has a configuration for GPUs only
	}
	names := capabilities.For(p.Kernel, p.GPU)
	return []admissionv1.Validation{
		{
			Expression: celFields("variables.tracer", fields...),
			Message: "orb8: the container has fields that a tracer has not (command, ports, probes, lifecycle " +
				"hooks): " +
				"want only " + strings.Join(fields, ", "),
		},
		{
			Expression: fmt.Sprintf(`variables.tracer.image == %q`, p.Image),
			Message: fmt.Sprintf("orb8: the image is not %s: use the kubectl orb8 of that version, or --image %s",
				p.Image, p.Image),
		},
		{
			Expression: fmt.Sprintf(`variables.args in [[%q], [%q]]`, commandSession, CommandDoctor),
			Message:    "orb8: the container's arguments are not a tracer's",
		},
		{Expression: envExpression(environment, anyValue),
			Message: "orb8: the container's environment is not a tracer's"},
		{
			Expression: `!has(variables.tracer.terminationMessagePath) ||
variables.tracer.terminationMessagePath == "/dev/termination-log"`,
			Message: "orb8: the tracer's terminationMessagePath is not /dev/termination-log",
		},
		{
			// Other names are devices.
			Expression: `dyn(variables.tracer.resources).all(k, k in ["limits", "requests"] &&
  variables.tracer.resources[k].all(name, name in ["cpu", "memory"]))`,
			Message: "orb8: a tracer takes cpu and memory only",
		},
		{
			Expression: fmt.Sprintf(`variables.mounts.size() == 1 && variables.mounts.all(m,
  m.all(k, k in ["name", "mountPath", "readOnly", "recursiveReadOnly"]) &&
  m.mountPath == %q && has(m.readOnly) && m.readOnly)`, podspec.CgroupMount),
			Message: "orb8: a tracer mounts one volume, read-only, at " + podspec.CgroupMount,
		},
		{
			Expression: securityExpression(names),
			Message: "orb8: the container's security context is not a tracer's: not privileged, " +
				"capabilities drop ALL, add of " + strings.Join(names, ", ") + " only",
		},
	}
}

// envExpression fixes the variables' names and values. A value from a Secret would be readable in the tracer's log.
func envExpression(fixed map[string]string, anyValue []string) string {
	return fmt.Sprintf(`variables.env.all(e, e.all(k, k in ["name", "value", "valueFrom"]) && (
  e.name == %q ? has(e.valueFrom) && e.valueFrom.all(k, k == "fieldRef") &&
    e.valueFrom.fieldRef.fieldPath == "spec.nodeName" :
  !has(e.valueFrom) && has(e.value) && (
    e.name in %s ||
    e.name in %s && %[3]s[e.name] == e.value)))`,
		session.EnvNodeName, celList(anyValue), celMap(fixed))
}

func securityExpression(capabilities []string) string {
	return celFields("variables.security", "allowPrivilegeEscalation", "appArmorProfile", "capabilities", "privileged",
		"readOnlyRootFilesystem", "seLinuxOptions", "seccompProfile") + fmt.Sprintf(` &&
has(variables.security.privileged) && !variables.security.privileged &&
has(variables.security.allowPrivilegeEscalation) && !variables.security.allowPrivilegeEscalation &&
has(variables.security.readOnlyRootFilesystem) && variables.security.readOnlyRootFilesystem &&
(!has(variables.security.appArmorProfile) || variables.security.appArmorProfile == {"type": "Unconfined"}) &&
(!has(variables.security.seccompProfile) || variables.security.seccompProfile == {"type": "Unconfined"}) &&
(!has(variables.security.seLinuxOptions) || variables.security.seLinuxOptions == {"type": "spc_t"}) &&
has(variables.security.capabilities) && has(variables.security.capabilities.drop) &&
variables.security.capabilities.drop == ["ALL"] &&
(!has(variables.security.capabilities.add) || variables.security.capabilities.add.all(c, c in %s))`,
		celList(capabilities))
}

// celFields is an expression that an object has no fields but these.
func celFields(object string, fields ...string) string {
	return fmt.Sprintf("%s.all(k, k in %s)", object, celList(fields))
}

// celPairs is an expression that a map has no pairs but these, and no other keys but those that may have any value.
func celPairs(object string, pairs map[string]string, anyValue []string) string {
	return fmt.Sprintf("%[1]s.all(k, k in %[2]s ||\n  k in %[3]s && %[3]s[k] == %[1]s[k])",
		object, celList(anyValue), celMap(pairs))
}

func celList(texts []string) string {
	quoted := make([]string, len(texts))
	for i, text := range texts {
		quoted[i] = strconv.Quote(text)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

func celMap(pairs map[string]string) string {
	var entries []string
	for _, key := range slices.Sorted(maps.Keys(pairs)) {
		entries = append(entries, strconv.Quote(key)+": "+strconv.Quote(pairs[key]))
	}
	return "{" + strings.Join(entries, ", ") + "}"
}
