package plugin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	yamlutil "k8s.io/apimachinery/pkg/util/yaml"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/safe"
	"github.com/orb8-dev/kubectl-orb8/internal/plural"
	"github.com/orb8-dev/kubectl-orb8/plugin/policy"
)

// maxPolicyFile bounds a file of policies.
const maxPolicyFile = 16 << 20

// readPolicies reads the NetworkPolicies of a file: documents of YAML, objects or Lists. A policy without a namespace
// is of the given one.
func readPolicies(path, namespace string) ([]*networkingv1.NetworkPolicy, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("--policy: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxPolicyFile+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("--policy %s: %w", path, err)
	case len(data) > maxPolicyFile: // policies that are not read would seem not to be there
		return nil, usagef("--policy %s: it has more than %s", path, event.AppendBytes(nil, maxPolicyFile))
	}
	documents := yamlutil.NewYAMLOrJSONDecoder(bytes.NewReader(data), 4096)
	var policies []*networkingv1.NetworkPolicy
	for {
		var raw json.RawMessage
		switch err := documents.Decode(&raw); {
		case errors.Is(err, io.EOF) && len(policies) == 0:
			return nil, usagef("--policy %s: it holds no NetworkPolicy", path)
		case errors.Is(err, io.EOF):
			return policies, nil
		case err != nil:
			return nil, usagef("--policy %s: %w", path, err)
		}
		if policies, err = appendPolicies(policies, raw, namespace); err != nil {
			return nil, usagef("--policy %s: %w", path, err)
		}
	}
}

// appendPolicies appends a policy, or those of a List. Objects of other kinds are passed over.
func appendPolicies(
	policies []*networkingv1.NetworkPolicy, raw json.RawMessage, namespace string,
) ([]*networkingv1.NetworkPolicy, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return policies, nil
	}
	var head struct {
		Kind  string            `json:"kind"`
		Items []json.RawMessage `json:"items"`
	}
	if err := json.Unmarshal(raw, &head); err != nil {
		return policies, err
	}
	switch head.Kind {
	case "NetworkPolicy":
		p := &networkingv1.NetworkPolicy{}
		if err := json.Unmarshal(raw, p); err != nil {
			return policies, err
		}
		if p.Namespace == "" {
			p.Namespace = namespace
		}
		return append(policies, p), nil
	case "List", "NetworkPolicyList":
		for _, item := range head.Items {
			var err error
			if policies, err = appendPolicies(policies, item, namespace); err != nil {
				return policies, err
			}
		}
	}
	return policies, nil
}

// printAudit writes how policies differ from the observed traffic.
func (o *advisePolicyOptions) printAudit(
	r *reporter, about *observation, seen *policy.Seen, inv *policy.Inventory, policies []*networkingv1.NetworkPolicy,
) error {
	if o.policy == "" {
		policies = inv.Policies()
	}
	found := policy.Audit(seen, inv, policies)
	for _, w := range about.warnings() {
		r.Logf("warning: %s", w)
	}
	for _, u := range inv.Unknown {
		r.Logf("warning: could not read %s", u)
	}
	if o.output == "json" {
		out, err := json.MarshalIndent(append([]policy.Finding{}, found...), "", "  ")
		if err == nil {
			_, err = o.streams.Out.Write(append(out, '\n'))
		}
		return err
	}
	var out []byte
	for i := range found {
		f := &found[i]
		line := f.Type + ": " + f.Workload
		if f.Workload == "" {
			line = f.Type + ": " + strings.Join(f.Policies, ", ")
		}
		line += " in " + f.Namespace + ": " + f.Direction + " " + f.Connection
		if f.Workload != "" && len(f.Policies) > 0 {
			line += " (" + strings.Join(f.Policies, ", ") + ")"
		}
		if f.Evidence != "" {
			line += ": " + f.Evidence
		}
		out = append(safe.AppendText(out, line), '\n')
	}
	if _, err := userTerminal().Writer(o.streams.Out).Write(out); err != nil {
		return err
	}
	r.Logf("%s of %s with %s", plural.Count(len(found), "difference"), plural.Count(len(policies), "policy"),
		plural.Count(seen.Targets(), "observed workload"))
	return nil
}
