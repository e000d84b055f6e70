package launch

import "maps"

// A tracer gets no traffic that a mesh could route and uses nothing that an injector could add: a sidecar would only
// outlive it. These labels and annotations opt the pod out of each injector. An injector that ignores them does no
// harm: see Keep.

// optOutLabels are labels of the tracer's pod.
var optOutLabels = map[string]string{
	"sidecar.istio.io/inject":         "false",    // Istio 1.13 and later
	"kuma.io/sidecar-injection":       "disabled", // Kuma 1.5 and later, Kong Mesh
	"admission.datadoghq.com/enabled": "false",    // Datadog: environment variables and libraries
}

// optOutAnnotations are annotations of the tracer's pod.
var optOutAnnotations = map[string]string{
	"sidecar.istio.io/inject":                "false",    // Istio before 1.13 too
	"linkerd.io/inject":                      "disabled", // Linkerd
	"consul.hashicorp.com/connect-inject":    "false",    // Consul
	"kuma.io/sidecar-injection":              "disabled", // Kuma before 1.5
	"openservicemesh.io/sidecar-injection":   "disabled", // Open Service Mesh
	"appmesh.k8s.aws/sidecarInjectorWebhook": "disabled", // AWS App Mesh
	"injector.nsm.nginx.com/auto-inject":     "false",    // NGINX Service Mesh
	"dapr.io/enabled":                        "false",    // Dapr
	"vault.hashicorp.com/agent-inject":       "false",    // Vault Agent
	"sidecar.opentelemetry.io/inject":        "false",    // OpenTelemetry Operator
}

// merged merges maps; a later value replaces an earlier one.
func merged(all ...map[string]string) map[string]string {
	sum := map[string]string{}
	for _, m := range all {
		maps.Copy(sum, m)
	}
	return sum
}
