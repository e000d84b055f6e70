package podspec

import "maps"

// Neither tracers and agents nor servers use anything that an injector could add: a sidecar would take their ports or
// outlive them. These labels and annotations opt a pod out of each injector.

// OptOutLabels returns the labels of a pod without sidecars.
func OptOutLabels() map[string]string {
	return map[string]string{
		"sidecar.istio.io/inject":         "false",    // Istio 1.13 and later
		"kuma.io/sidecar-injection":       "disabled", // Kuma 1.5 and later, Kong Mesh
		"admission.datadoghq.com/enabled": "false",    // Datadog: environment variables and libraries
	}
}

// OptOutAnnotations returns the annotations of a pod without sidecars.
func OptOutAnnotations() map[string]string {
	return map[string]string{
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
}

// Merge merges maps; a later value replaces an earlier one.
func Merge(all ...map[string]string) map[string]string {
	sum := map[string]string{}
	for _, m := range all {
		maps.Copy(sum, m)
	}
	return sum
}
