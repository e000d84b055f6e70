package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/orb8-dev/kubectl-orb8/e2e/kit"
	"github.com/orb8-dev/kubectl-orb8/e2e/stores"
	"github.com/orb8-dev/kubectl-orb8/event/orbit"
)

// prometheus has a real Prometheus scrape the agents and the servers, as docs/operations.md configures it. Its sums are
// those of the workload, and every expression of dashboards and alerts has data there.
func prometheus(t *testing.T, e *kit.Env) {
	ns := e.Namespace(t, nil)
	account := e.ServiceAccount(t, ns, "prometheus")
	authority, err := e.Client.CoreV1().ConfigMaps("orb8-system").Get(t.Context(), orbit.AuthorityName,
		metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ca := authority.Data[orbit.AuthorityKey]
	client := scraper(t, ca)
	agent := agentAddress(t, e)
	awaitStatus(t, http.StatusUnauthorized, func() int { return client(agent, "") })
	awaitStatus(t, http.StatusForbidden, func() int { return client(agent, account.Token(t, "")) })
	e.Apply(t, fmt.Sprintf(`---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: orb8-metrics-%[1]s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: orb8-metrics}
subjects: [{kind: ServiceAccount, name: prometheus, namespace: %[1]s}]
`, ns))
	token := account.Token(t, "")
	awaitStatus(t, http.StatusOK, func() int { return client(agent, token) })

	p := stores.StartPrometheus(t, e.Root, prometheusConfig(t, e, ca, token))
	p.Await(t, "scrapes of all agents and servers", func(context.Context) bool {
		return p.Sum(t, `sum(up{job="orb8-agent"})`) == float64(len(e.Nodes)) &&
			p.Sum(t, `sum(up{job="orb8-server"})`) == 2
	})
	pods := e.Pods(t,
		kit.PodSpec{Namespace: ns, Name: "client", Node: e.Nodes[0], CPU: "500m", Memory: "256Mi"},
		kit.PodSpec{Namespace: ns, Name: "server", Node: e.Nodes[1], Args: []string{"serve", "-tcp", ":7000", "-udp",
			":7001"}})
	at := func(port uint16) string { return netip.AddrPortFrom(pods[1].IP(t, false), port).String() }
	tr := e.InMode(kit.ModeCluster).Trace(t, "trace", "network", "-n", ns, "-o", "json")
	tr.AwaitStreaming(t, len(e.Nodes))
	rounds := 0.
	scrapes := func() float64 { return p.Sum(t, `min(count_over_time(up{job=~"orb8.*"}[1h]))`) }
	for begun := scrapes(); scrapes() < begun+20; rounds++ {
		pods[0].Exec(t, "tcp", "-to", at(7000), "-conns", "5", "-send", "12345", "-recv", "67890")
		pods[0].Exec(t, "udp", "-to", at(7001), "-count", "40", "-size", "777", "-reply", "123")
		pods[0].Exec(t, "connect", "-to", at(7099), "-timeout", "500ms")
		pods[0].Exec(t, "dns", "-name", "kubernetes.default.svc.cluster.local.", "-network", "ip4")
		query(t, e, e.Kubeconfig, 0, "flows", "-n", ns, "--last", "10", "-o", "json")
	}
	p.CheckExpressions(t, "1m", exceptions(t))
	p.CheckRules(t)
	tr.Stop(t)
	// The client's UDP has DNS, too.
	for selector, want := range map[string]struct{ sent, received float64 }{
		`workload="pod/client", protocol="tcp"`: {5 * 12345, 5 * 67890},
		`workload="pod/server"`:                 {5*67890 + 40*123, 5*12345 + 40*777},
	} {
		for direction, bytes := range map[string]float64{"sent": want.sent, "received": want.received} {
			expr := fmt.Sprintf("sum(orb8_network_%s_bytes_total{namespace=%q, %s})", direction, ns, selector)
			p.Await(t, fmt.Sprintf("%v bytes in %s", rounds*bytes, expr), func(context.Context) bool {
				return p.Sum(t, expr) == rounds*bytes
			})
		}
	}
}

// awaitStatus scrapes until the answer has a status.
func awaitStatus(t *testing.T, want int, scrape func() int) {
	t.Helper()
	last := 0
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(time.Second) {
		if last = scrape(); last == want {
			return
		}
	}
	t.Fatalf("a scrape is answered with %d, want %d", last, want)
}

// exceptions are the metrics without data on the test's cluster.
func exceptions(t *testing.T) []stores.Exception {
	t.Helper()
	all := []stores.Exception{
		{Metrics: regexp.MustCompile("orb8_(gpu|cuda|nccl)_"), Reason: "there is no GPU"},
		{Metrics: regexp.MustCompile("orb8_(execs|process_exits|signals|syscall)"), Reason: "kinds that are off"},
		{Metrics: regexp.MustCompile("orb8_bpf_program_run"), Reason: "metrics.probeCost is off"},
		{Metrics: regexp.MustCompile(`orb8_export_|stage="export"`), Reason: "nothing is exported"},
		{Metrics: regexp.MustCompile("orb8_lost_events_total"), Reason: "nothing was lost"},
		{Metrics: regexp.MustCompile("orb8_block_"), Reason: "no pod uses a disk"},
		{Metrics: regexp.MustCompile(`rcode!~|outcome="timeout"`), Reason: "DNS answers"},
		{Metrics: regexp.MustCompile(`role="server"`), Reason: "CoreDNS runs outside the cluster"},
	}
	if _, err := os.Stat("/proc/pressure/cpu"); errors.Is(err, fs.ErrNotExist) {
		all = append(all, stores.Exception{Metrics: regexp.MustCompile("orb8_pressure_"),
			Reason: "the kernel has no pressure stall information"})
	}
	return all
}

// prometheusConfig is the configuration of docs/operations.md, for a Prometheus outside the cluster.
func prometheusConfig(t *testing.T, e *kit.Env, ca, token string) string {
	t.Helper()
	folder := t.TempDir()
	files := map[string]string{"ca.crt": ca, "token": token}
	for name, text := range files {
		files[name] = filepath.Join(folder, name)
		if err := os.WriteFile(files[name], []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	config := fmt.Sprintf("global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}\n"+
		"rule_files: [%q]\nscrape_configs:\n", filepath.Join(e.Root, "docs", "dashboards", "alerts.yaml"))
	for _, job := range []string{"orb8-agent", "orb8-server"} {
		config += fmt.Sprintf(`- job_name: %[1]s
  scheme: https
  honor_labels: true
  scrape_native_histograms: true
  authorization: {credentials_file: %[2]q}
  tls_config: {ca_file: %[3]q, server_name: %[1]s}
  kubernetes_sd_configs:
  - {role: endpointslice, kubeconfig_file: %[4]q, namespaces: {names: [orb8-system]}}
  relabel_configs:
  - {source_labels: [__meta_kubernetes_endpointslice_port_name], regex: metrics, action: keep}
  - {source_labels: [__meta_kubernetes_service_name], regex: %[1]s, action: keep}
  - {source_labels: [__meta_kubernetes_pod_node_name], target_label: node}
`, job, files["token"], files["ca.crt"], e.Kubeconfig)
	}
	return config
}

// agentAddress is the address of an agent's metrics.
func agentAddress(t *testing.T, e *kit.Env) string {
	t.Helper()
	list, err := e.Client.CoreV1().Pods("orb8-system").List(t.Context(), metav1.ListOptions{
		LabelSelector: "app.kubernetes.io/component=agent"})
	if err != nil || len(list.Items) == 0 {
		t.Fatal(list, err)
	}
	return net.JoinHostPort(list.Items[0].Status.PodIP, "9091")
}

// scraper returns a function that scrapes an address with a token, and returns the status of the answer.
func scraper(t *testing.T, ca string) func(address, token string) int {
	t.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(ca)) {
		t.Fatal("the ConfigMap has no certificate")
	}
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true,
		TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: orbit.AgentDNS, MinVersion: tls.VersionTLS12}}}
	return func(address, token string) int {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+address+"/metrics", nil)
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		answer, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close() // it is not read
		return answer.StatusCode
	}
}
