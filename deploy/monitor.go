package deploy

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/orb8-dev/kubectl-orb8/event/orbit"
)

// MonitorGroup is the API group of the Prometheus Operator.
const MonitorGroup = "monitoring.coreos.com"

// monitors are the objects that make the Prometheus Operator scrape the agents and the servers.
func (v *Values) monitors() (all []Object) {
	for _, c := range []struct{ name, component, dns string }{
		{Agent, ComponentAgent, orbit.AgentDNS}, {Server, ComponentServer, Server},
	} {
		if v.ServiceMonitor {
			all = append(all, v.monitor("ServiceMonitor", "endpoints", c.name, c.component, c.dns))
		}
		if v.PodMonitor {
			all = append(all, v.monitor("PodMonitor", "podMetricsEndpoints", c.name, c.component, c.dns))
		}
	}
	return all
}

// monitor has a component scraped by HTTPS, whose certificate has the name dns: a ServiceMonitor with the token of
// Prometheus' own service account, a PodMonitor, which can name no file, with that of the Secret orb8-metrics-token.
// The ClusterRole Metrics has to be bound to their accounts. Of labels that Prometheus sets itself, such as namespace
// and pod, those of the metrics count (honorLabels): they are of the observed pods.
func (v *Values) monitor(kind, endpoints, name, component, dns string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": MonitorGroup + "/v1", "kind": kind,
		"spec": map[string]any{
			"selector": map[string]any{"matchLabels": anyMap(selector(component))},
			endpoints: []any{map[string]any{
				"port": portMetrics, "scheme": "https", "honorLabels": true,
				"tlsConfig": map[string]any{
					"serverName": dns,
					"ca": map[string]any{"configMap": map[string]any{"name": Authority,
						"key": orbit.AuthorityKey}},
				},
				"relabelings": []any{map[string]any{
					"sourceLabels": []any{"__meta_kubernetes_pod_node_name"}, "targetLabel": "node",
				}},
			}},
		},
	}}
	endpoint := u.Object["spec"].(map[string]any)[endpoints].([]any)[0].(map[string]any)
	if kind == "ServiceMonitor" {
		endpoint["bearerTokenFile"] = "/var/run/secrets/kubernetes.io/serviceaccount/token"
	} else {
		endpoint["authorization"] = map[string]any{
			"credentials": map[string]any{"name": Metrics + "-token", "key": "token"},
		}
	}
	meta := v.meta(name, component)
	u.SetName(meta.Name)
	u.SetNamespace(meta.Namespace)
	u.SetLabels(meta.Labels)
	u.SetAnnotations(meta.Annotations)
	return u
}

func anyMap(m map[string]string) map[string]any {
	all := make(map[string]any, len(m))
	for k, v := range m {
		all[k] = v
	}
	return all
}
