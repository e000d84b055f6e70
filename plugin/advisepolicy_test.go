package plugin

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// connections are the flows of web in a recording: to db, and to a host outside the cluster.
func connections(t *testing.T) (path string) {
	t.Helper()
	var events []*event.Event
	for _, ev := range pastEvents() {
		f := ev.GetFlow()
		if f == nil {
			continue
		}
		f.State, f.IsnValid, f.RoleKnown = event.TCPState_TCP_STATE_ESTABLISHED, true, true
		if f.Id == "new" {
			f.Dst = &event.Endpoint{Address: []byte{198, 51, 100, 4}, Port: 443}
		}
		ev.Workload = "deploy/web"
		events = append(events, ev)
	}
	events = append(events, &event.Event{Namespace: "shop", Pod: "web", Workload: "deploy/web",
		Time: events[0].GetTime(), Node: "n1", Kind: &event.Event_Dns{Dns: &event.Dns{
			Observed: event.Side_SIDE_SRC, Src: events[0].GetFlow().GetSrc(), Name: "api.example.com.",
			Outcome: event.DnsOutcome_DNS_OUTCOME_ANSWERED, Rcode: "NOERROR", Answers: "198.51.100.4"}}})
	return recordAll(t, "shop", began, []string{"flow", "dns"}, events)
}

func TestAdvisePolicy_FromRecording(t *testing.T) {
	path := connections(t)
	t.Setenv("KUBECONFIG", os.DevNull)
	policies := filepath.Join(t.TempDir(), "p.yaml")
	if err := os.WriteFile(policies, []byte(`apiVersion: v1
kind: List
items:
- apiVersion: networking.k8s.io/v1
  kind: NetworkPolicy
  metadata: {name: all, namespace: shop}
  spec: {podSelector: {}}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		args      []string
		code      int
		out, errs string
	}{
		"policies": {nil, 0, "cidr: 198.51.100.4/32", "warning: labels of pods cannot be read from the cluster"},
		"short":    {nil, 0, "kind: NetworkPolicy", "warning: the observation is 9s long"},
		"for Cilium": {[]string{"--format", "cilium"}, 0, "toFQDNs:\n        - matchName: api.example.com",
			"selects no pod until"},
		"as JSON":       {[]string{"-o", "json"}, 0, `"kind": "List"`, "warning"},
		"audit":         {[]string{"--audit", "--policy", policies}, 0, "not-isolated: deploy/web in shop", "1 policy"},
		"audit as JSON": {[]string{"--audit", "--policy", policies, "-o", "json"}, 0, `"type": "not-isolated"`, ""},
		"no such file":  {[]string{"--audit", "--policy", "nowhere.yaml"}, 1, "", "--policy: open nowhere.yaml"},
		"no policy":     {[]string{"--audit", "--policy", os.DevNull}, 2, "", "it holds no NetworkPolicy"},
		"no audit":      {[]string{"--policy", policies}, 2, "", "--policy goes with --audit"},
		"a format":      {[]string{"--format", "silium"}, 2, "", `did you mean "cilium"?`},
		"an output":     {[]string{"-o", "xml"}, 2, "", `--output "xml": want yaml or json`},
	} {
		t.Run(name, func(t *testing.T) {
			args := append([]string{"advise", "networkpolicy", "--from", path}, test.args...)
			code, out, errs := orb8(t, nil, args...)
			if code != test.code || !strings.Contains(out, test.out) || !strings.Contains(errs, test.errs) {
				t.Errorf("exit code %d, %s\n%s\nwant %d, %q, %q", code, out, errs, test.code, test.out, test.errs)
			}
			if strings.Contains(name, "JSON") && !json.Valid([]byte(out)) {
				t.Errorf("not JSON: %s", out)
			}
		})
	}
}

// FuzzPolicies reads files of policies.
func FuzzPolicies(f *testing.F) {
	f.Add([]byte(`{"kind":"NetworkPolicy","spec":{"podSelector":{}}}`))
	f.Add([]byte("kind: List\nitems: [{kind: NetworkPolicy}, null, 3]\n---\n- x\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		path := filepath.Join(t.TempDir(), "p.yaml")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if policies, err := readPolicies(path, "shop"); err == nil && len(policies) == 0 {
			t.Error("no policy and no error")
		}
	})
}

// TestReadPolicies_RefusesLargeFiles: a part of a file would be judged as all of the policies.
func TestReadPolicies_RefusesLargeFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p.yaml")
	const policy = "kind: NetworkPolicy\nspec: {podSelector: {}}\n---\n"
	if err := os.WriteFile(path, []byte(policy+strings.Repeat("#\n", maxPolicyFile/2)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readPolicies(path, "shop"); err == nil || !strings.Contains(err.Error(), "it has more than 16.0Mi") {
		t.Error(err)
	}
}
