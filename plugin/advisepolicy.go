package plugin

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/orb8-dev/kubectl-orb8/plugin/policy"
)

// The values of advise networkpolicy --format.
const (
	formatNetworkPolicy = "networkpolicy"
	formatCilium        = "cilium"
)

const (
	// inventoryTime bounds the requests for pods, Services and nodes.
	inventoryTime = 30 * time.Second
	// shortObservation is less than most applications need to do all that they do.
	shortObservation = time.Hour
)

// advisePolicy is what advise networkpolicy is made of.
var advisePolicy = &adviseSource{command: "advise networkpolicy", kinds: []string{"flow", "tcp", "dns"},
	needs: []string{"flow"}}

// advisePolicyOptions are the flags of advise networkpolicy, as the user gave them.
type advisePolicyOptions struct {
	adviseOptions
	format string
	audit  bool
	// policy is a file of the policies that are audited; empty: those of the cluster.
	policy string
}

func newAdvisePolicyCommand(streams genericiooptions.IOStreams) *cobra.Command {
	o := &advisePolicyOptions{adviseOptions: newAdviseOptions(streams, advisePolicy)}
	cmd := &cobra.Command{
		Use: "networkpolicy [POD | KIND/NAME ...]", Aliases: []string{"netpol"},
		Short: "Write NetworkPolicies that allow the observed connections and nothing else",
		Long: `Write a NetworkPolicy for each workload that allows the observed connections, in both directions, and
nothing else. Pods are selected by labels, which are read from the cluster. Comments have the evidence: who, how
often, and when last. Warnings on stderr say what a policy cannot express, and what is incomplete: read them before you
apply the advice.`,
		Example: `  # Policies for a namespace, from a day of the installed agents' history
  kubectl orb8 advise networkpolicy -n shop --since 24h > policies.yaml

  # Policies for one deployment, from what it does in the next ten minutes
  kubectl orb8 advise networkpolicy deploy/web -n shop --duration 10m > web.yaml
  kubectl apply --dry-run=server -f web.yaml

  # Policies for Cilium, with the names that DNS gave, from a recording
  kubectl orb8 trace network,tcp,dns -n shop --duration 1h --record shop.orb8
  kubectl orb8 advise networkpolicy --from shop.orb8 --format cilium

  # Traffic of a day that the policies of a namespace would drop, and what else they allow
  kubectl orb8 advise networkpolicy -n shop --since 24h --audit`,
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, args) },
	}
	o.bind(cmd.Flags())
	cmd.Flags().StringVarP(&o.output, "output", "o", "yaml", "Output format: yaml (with comments), json (a List)")
	cmd.Flags().StringVar(&o.format, "format", formatNetworkPolicy,
		"Kind of policy: networkpolicy, or cilium (CiliumNetworkPolicy, with names of hosts)")
	cmd.Flags().BoolVar(&o.audit, "audit", false, "Compare the NetworkPolicies of the cluster with the observed "+
		"traffic: what of it they would drop, and what else they allow")
	cmd.Flags().StringVar(&o.policy, "policy", "", "With --audit: compare those of this file instead (YAML or JSON)")
	return cmd
}

// run observes and prints policies.
func (o *advisePolicyOptions) run(cmd *cobra.Command, args []string) error {
	switch {
	case o.policy != "" && !o.audit:
		return usagef("--policy goes with --audit")
	case o.audit && o.format != formatNetworkPolicy:
		return usagef("--format=%s does not go with --audit: it compares NetworkPolicies", o.format)
	case o.audit && cmd.Flags().Changed("output") && o.output != "json":
		return usagef("--output %q: with --audit, want json, or nothing for a table", o.output)
	case o.output != "yaml" && o.output != "json":
		return usagef("--output %q: want yaml or json", o.output)
	case o.format != formatNetworkPolicy && o.format != formatCilium:
		return usagef("--format %q: want %s or %s%s", o.format, formatNetworkPolicy, formatCilium,
			didYouMean(o.format, []string{formatNetworkPolicy, formatCilium}))
	}
	c, err := o.complete(cmd.Flags().Changed, args)
	if err != nil {
		return err
	}
	var policies []*networkingv1.NetworkPolicy
	if o.policy != "" {
		if policies, err = readPolicies(o.policy, c.viewed); err != nil {
			return err
		}
	}
	options := policy.Options{}
	if c.from != "" {
		options.Selects = c.selected.matchesPod
	}
	seen := policy.New(options)
	about, ended := c.observe(cmd.Context(), seen.Add)
	if about == nil {
		return ended
	}
	r := newReporter(o.streams.ErrOut)
	inv := c.inventory(cmd.Context(), r, seen, o.audit && o.policy == "")
	if o.audit {
		if err := o.printAudit(r, about, seen, inv, policies); err != nil {
			return err
		}
		return ended
	}
	a := policy.Advise(seen, inv)
	if len(a.Policies) == 0 && len(a.Warnings) == 0 {
		return fmt.Errorf("%s: no pod of %s was seen at either end of a connection", c.of.command, about.targets)
	}
	for _, w := range append(about.warnings(), a.Warnings...) {
		r.Logf("warning: %s", w)
	}
	if err := o.print(a); err != nil {
		return err
	}
	return ended
}

// inventory reads what the cluster says about the pods. Without one, labels are not known.
func (c *adviseConfig) inventory(
	parent context.Context, r *reporter, seen *policy.Seen, policies bool,
) *policy.Inventory {
	err := c.offline
	if err == nil {
		ctx, cancel := context.WithTimeout(parent, inventoryTime)
		defer cancel()
		var inv *policy.Inventory
		if inv, err = policy.Read(ctx, c.client, seen, policies); err == nil {
			return inv
		}
	}
	r.Logf("warning: labels of pods cannot be read from the cluster: %s", oneLine(explain(err)))
	return &policy.Inventory{}
}

// warnings are about the observation as a whole.
func (o *observation) warnings() (lines []string) {
	for _, why := range o.incomplete {
		lines = append(lines, "the observation is incomplete: "+why+": what was missed is not allowed; observe "+
			"again, or for longer, before you apply this")
	}
	if o.length() < shortObservation {
		lines = append(lines, fmt.Sprintf("the observation is %v long: what happens less often (jobs, rollouts, "+
			"failovers) is not allowed; observe for longer: --duration 1h, or --since 24h with installed agents",
			o.length().Round(time.Second)))
	}
	return lines
}

// print writes the policies.
func (o *advisePolicyOptions) print(a *policy.Advice) error {
	objects := make([]any, 0, len(a.Policies))
	var out []byte
	for _, p := range a.Policies {
		var object any = p.NetworkPolicy()
		if o.format == formatCilium {
			object, p = p.Cilium()
		}
		objects = append(objects, object)
		if o.output != "yaml" {
			continue
		}
		var err error
		if out, err = policy.AppendYAML(out, object, p); err != nil {
			return err
		}
	}
	if o.output == "json" {
		list := struct {
			APIVersion string `json:"apiVersion"`
			Kind       string `json:"kind"`
			Items      []any  `json:"items"`
		}{"v1", "List", objects}
		var err error
		if out, err = json.MarshalIndent(list, "", "  "); err != nil {
			return err
		}
		out = append(out, '\n')
	}
	_, err := o.streams.Out.Write(out)
	return err
}
