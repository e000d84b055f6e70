// Package helm makes the Helm chart of persistent mode from the objects that install applies.
package helm

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/orb8-dev/kubectl-orb8/deploy"
)

// Values are the values of the chart. Those of Agent follow from the others: Values computes them, and a template would
// have to repeat how.
type Values struct {
	// Image of both components; null: that of the chart's version.
	Image            *string                       `json:"image"`
	ImagePullPolicy  *corev1.PullPolicy            `json:"imagePullPolicy"`
	ImagePullSecrets []corev1.LocalObjectReference `json:"imagePullSecrets"`
	Replicas         int32                         `json:"replicas"`
	HistoryMemory    string                        `json:"historyMemory"`
	Kinds            []string                      `json:"kinds"`
	AggregateToView  bool                          `json:"aggregateToView"`
	// MetricsAuth is who may scrape: kubernetes or none.
	MetricsAuth string `json:"metricsAuth"`
	// ServiceMonitor and PodMonitor add the objects by which the Prometheus Operator scrapes agents and servers.
	ServiceMonitor bool `json:"serviceMonitor"`
	PodMonitor     bool `json:"podMonitor"`
	// AuthoritySecret is a Secret with a certificate authority; null: servers make their own.
	AuthoritySecret *string `json:"authoritySecret"`
	// Export is the section export of the agents' configuration; null: off.
	Export json.RawMessage `json:"export"`
	// History is the store that servers read; an empty URL: none.
	History deploy.History `json:"history"`
	Agent   Agent          `json:"agent"`
}

// Agent holds fields of the agents' pods.
type Agent struct {
	NodeSelector     map[string]string            `json:"nodeSelector"`
	Tolerations      []corev1.Toleration          `json:"tolerations"`
	RuntimeClassName *string                      `json:"runtimeClassName"`
	Resources        *corev1.ResourceRequirements `json:"resources"`
	SecurityContext  *corev1.SecurityContext      `json:"securityContext"`
	Env              []corev1.EnvVar              `json:"env"`
	// Credentials are the files in /var/run/secrets/orb8: the token, and those that export names.
	Credentials []corev1.VolumeProjection `json:"credentials"`
}

// repository is the image without its tag, which is the version of the chart.
const repository = "ghcr.io/orb8-dev/orb8"

// ValuesOf returns the values of the chart that give the objects of v.
func ValuesOf(v *deploy.Values) *Values {
	pod := v.AgentPod()
	c := &pod.Containers[0]
	values := &Values{
		ImagePullSecrets: pod.ImagePullSecrets, Replicas: v.Replicas, HistoryMemory: v.HistoryMemory.String(),
		Kinds: v.Kinds, AggregateToView: v.AggregateToView,
		MetricsAuth:    cmp.Or(v.MetricsAuth, deploy.MetricsAuthKubernetes),
		ServiceMonitor: v.ServiceMonitor, PodMonitor: v.PodMonitor, Export: v.Export(),
		Agent: Agent{
			NodeSelector: pod.NodeSelector, Tolerations: pod.Tolerations, RuntimeClassName: pod.RuntimeClassName,
			Resources: &c.Resources, SecurityContext: c.SecurityContext, Env: c.Env, Credentials: v.Credentials(),
		},
	}
	if v.History != nil {
		values.History = *v.History
	}
	if v.Image != "" {
		values.Image = &v.Image
	}
	if v.AuthoritySecret != "" {
		values.AuthoritySecret = &v.AuthoritySecret
	}
	if v.ImagePullPolicy != "" {
		values.ImagePullPolicy = &v.ImagePullPolicy
	}
	return values
}

// Expressions of the templates. JSON is YAML, on one line.
const (
	namespaceExpr = `{{ .Release.Namespace }}`
	versionExpr   = `{{ .Chart.AppVersion }}`
	imageExpr     = `{{ .Values.image | default (printf "` + repository + `:%s" .Chart.AppVersion) }}`
	authorityExpr = `{{ .Values.authoritySecret | default "" }}`
	ruleExpr      = `{{ .Values.authoritySecret | default "` + deploy.Authority + `" }}`
	metricsExpr   = `{{ .Values.metricsAuth }}`
	kindsExpr     = `{{ .Values.kinds | join ", " }}`
	exportExpr    = `{{ toJson .Values.export }}`
	historyExpr   = `{{ .Values.history.url }}`
	resourceExpr  = `{{ .Values.history.resource }}`
)

// podFields are the fields of pods that have a value of the chart.
var podFields = map[string]string{
	"imagePullSecrets": ".Values.imagePullSecrets",
}

// agentFields are those of agents' pods, besides, and agentContainer those of their container.
var (
	agentFields = map[string]string{
		"nodeSelector": ".Values.agent.nodeSelector", "tolerations": ".Values.agent.tolerations",
		"runtimeClassName": ".Values.agent.runtimeClassName",
	}
	containerFields = map[string]string{"imagePullPolicy": ".Values.imagePullPolicy"}
	agentContainer  = map[string]string{
		"resources": ".Values.agent.resources", "securityContext": ".Values.agent.securityContext",
		"env": ".Values.agent.env",
	}
)

// Templates returns the templates by file name. The chart has no Namespace, which is Helm's.
func Templates() (map[string]string, error) {
	values := deploy.Default(namespaceExpr, versionExpr, imageExpr)
	values.Kinds, values.AggregateToView = []string{kindsExpr}, true
	values.AuthoritySecret, values.MetricsAuth = authorityExpr, metricsExpr
	values.ServiceMonitor, values.PodMonitor = true, true
	values.History = &deploy.History{URL: historyExpr, Resource: resourceExpr}
	templates := map[string]string{}
	for _, object := range values.Objects() {
		u, err := deploy.Unstructured(object)
		if err != nil {
			return nil, err
		}
		if u.GetKind() == "Namespace" {
			continue
		}
		if err := insert(u); err != nil {
			return nil, fmt.Errorf("%s: %w", u.GetName(), err)
		}
		text, err := yaml.Marshal(u.Object)
		if err != nil {
			return nil, err
		}
		if value, ok := monitors[u.GetKind()]; ok {
			text = fmt.Appendf(nil, "{{- if .Values.%s }}\n%s{{- end }}\n", value, text)
		}
		templates[strings.ToLower(u.GetKind())+"-"+u.GetName()+".yaml"] = unquote(string(text))
	}
	return templates, nil
}

// monitors are the kinds of objects that are there only if a value says so.
var monitors = map[string]string{"ServiceMonitor": "serviceMonitor", "PodMonitor": "podMonitor"}

// marker encloses an expression that is not a string, so that it can be found in the text.
const marker = "@@"

// insert puts expressions into the object.
func insert(u *unstructured.Unstructured) error {
	agent := u.GetKind() == "DaemonSet"
	switch u.GetKind() {
	case "Deployment":
		u.Object["spec"].(map[string]any)["replicas"] = marked(".Values.replicas")
	case "DaemonSet":
	default:
		return nil
	}
	pod, ok, err := unstructured.NestedMap(u.Object, "spec", "template", "spec")
	if !ok || err != nil {
		return fmt.Errorf("no pod: %w", err)
	}
	containers, _, err := unstructured.NestedSlice(pod, "containers")
	if err != nil {
		return err
	}
	container := containers[0].(map[string]any)
	set(pod, podFields)
	set(container, containerFields)
	if agent {
		set(pod, agentFields)
		set(container, agentContainer)
		args := container["args"].([]any)
		for n, arg := range args {
			if strings.HasPrefix(arg.(string), "--history-memory=") {
				args[n] = "--history-memory={{ .Values.historyMemory }}"
			}
		}
		for _, volume := range pod["volumes"].([]any) {
			if v := volume.(map[string]any); v["name"] == "token" {
				v["projected"].(map[string]any)["sources"] = marked(".Values.agent.credentials")
			}
		}
	}
	pod["containers"] = []any{container}
	return unstructured.SetNestedMap(u.Object, pod, "spec", "template", "spec")
}

func set(object map[string]any, fields map[string]string) {
	for field, expression := range fields {
		object[field] = marked(expression)
	}
}

func marked(expression string) string { return marker + "{{ toJson " + expression + " }}" + marker }

// unquote makes expressions that are not strings plain text, and lines optional.
func unquote(text string) string {
	text = strings.NewReplacer("'"+marker, "", marker+"'", "", marker, "",
		// A rule has to name a Secret.
		"- '"+authorityExpr+"'", "- '"+ruleExpr+"'",
		"    export: null\n", "    export: "+exportExpr+"\n").Replace(text)
	const aggregate = "    rbac.authorization.k8s.io/aggregate-to-view: \"true\"\n"
	return strings.Replace(text, aggregate, "    {{- if .Values.aggregateToView }}\n"+aggregate+"    {{- end }}\n", 1)
}

// Files returns the files of the chart by path.
func Files() (map[string]string, error) {
	templates, err := Templates()
	if err != nil {
		return nil, err
	}
	defaults, err := valuesFile()
	if err != nil {
		return nil, err
	}
	files := map[string]string{"Chart.yaml": chartFile, "values.yaml": defaults}
	for name, text := range templates {
		files["templates/"+name] = text
	}
	return files, nil
}

const chartFile = `# Generated by make generate. helm package --version 1.2.3 --app-version v1.2.3 sets the versions.
apiVersion: v2
name: orb8
description: Agents and servers of kubectl orb8
type: application
version: 0.0.0
appVersion: v0.0.0-unknown
kubeVersion: ">=1.30.0-0"
`

// valuesFile returns the default values, as YAML with comments.
func valuesFile() (string, error) {
	raw, err := json.Marshal(ValuesOf(deploy.Default("", "", "")))
	if err != nil {
		return "", err
	}
	text, err := yaml.JSONToYAML(raw)
	if err != nil {
		return "", err
	}
	return `# Generated by make generate.
# The values under "agent" follow from the others: for another set of kinds or more history, take them from the output
# of kubectl orb8 install --dry-run=client -o yaml
# "export" is the section export of the agents' configuration, and "agent.credentials" has its Secrets: docs/otlp.md
# "history" is the store of what agents hold no more: docs/history.md
# The namespace must have the label pod-security.kubernetes.io/enforce=privileged where Pod Security is enforced.
` + string(text), nil
}
