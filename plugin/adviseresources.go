package plugin

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/orb8-dev/kubectl-orb8/internal/plural"
	"github.com/orb8-dev/kubectl-orb8/plugin/advise/manifest"
	"github.com/orb8-dev/kubectl-orb8/plugin/advise/resources"
)

// adviseResourcesOptions are the flags of advise resources, as the user gave them.
type adviseResourcesOptions struct {
	adviseOptions
	output string
}

func (o *adviseResourcesOptions) bind(flags *pflag.FlagSet) {
	o.adviseOptions.bind(flags)
	flags.StringVarP(&o.output, "output", "o", "", "Output format: json, one object for each container; YAML "+
		"documents by default")
}

func newAdviseResourcesCommand(streams genericiooptions.IOStreams) *cobra.Command {
	of := &adviseSource{command: "advise resources", kinds: []string{"resources"}, needs: []string{"resources"},
		record: "trace resources"}
	o := &adviseResourcesOptions{adviseOptions: newAdviseOptions(streams, of)}
	cmd := &cobra.Command{
		Use:   "resources [POD | KIND/NAME ...]",
		Short: "Write requests and limits of CPU and memory from the observed use",
		Long: `Print a patch for each workload, with requests and limits from the observed use of its containers: the
95th percentile of the CPU, and the largest working set of memory with headroom. A CPU limit is advised only where there
is one already. Throttling and OOM kills raise the advised limits.`,
		Example: `  # A deployment, over an hour
  kubectl orb8 advise resources deploy/web -n demo --duration 1h

  # What the installed agents have recorded
  kubectl orb8 advise resources -n demo --since 6h

  # From a recording, for programs
  kubectl orb8 trace resources -n demo --duration 10m --record use.orb8
  kubectl orb8 advise resources --from use.orb8 -o json`,
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, args) },
	}
	o.bind(cmd.Flags())
	return cmd
}

func (o *adviseResourcesOptions) run(cmd *cobra.Command, args []string) error {
	if o.output != "" && o.output != "json" {
		return usagef("--output %q: want json, or nothing", o.output)
	}
	c, err := o.complete(cmd.Flags().Changed, args)
	if err != nil {
		return err
	}
	return c.adviseResources(cmd.Context(), o.output == "json")
}

// adviseResources observes, and prints requests and limits.
func (c *adviseConfig) adviseResources(ctx context.Context, asJSON bool) error {
	observed := resources.NewObserved()
	seen, ended := c.observe(ctx, observed.Add)
	if seen == nil {
		return ended
	}
	r := newReporter(c.streams.ErrOut)
	for _, why := range seen.incomplete {
		r.Logf("warning: the observation is incomplete: %s: what was missed may have used more", why)
	}
	if n := observed.Refused(); n > 0 {
		r.Logf("note: %s of no container that has a name, as of a pod's sandbox: not in the advice",
			plural.Count(n, "event"))
	}
	specs, err := c.readSpecs(ctx, observed.Owners())
	if err != nil {
		r.Logf("note: %v: today's requests are not known", err)
	}
	all := observed.Advise(resources.Options{Length: seen.length(), Today: specs.today})
	for _, a := range all {
		for _, w := range a.Warnings {
			r.Logf("warning: %s, container %s: %s", a.Owner, a.Container, w)
		}
	}
	var out []byte
	if asJSON {
		out, err = resourcesJSON(all, seen)
	} else {
		out, err = resourcesYAML(all)
	}
	if err != nil {
		return err
	}
	if _, err := c.streams.Out.Write(out); err != nil {
		return err
	}
	return ended
}

// today is what Kubernetes knows of a container now.
func (s containerSpecs) today(of manifest.Owner, container string) *resources.Today {
	spec := s.find(of, container)
	if spec == nil {
		return nil
	}
	quantity := func(list corev1.ResourceList, name corev1.ResourceName, unit func(corev1.ResourceList) int64) *uint64 {
		if _, set := list[name]; !set {
			return nil
		}
		n := uint64(max(unit(list), 0))
		return &n
	}
	millis := func(l corev1.ResourceList) int64 { return l.Cpu().MilliValue() }
	bytes := func(l corev1.ResourceList) int64 { return l.Memory().Value() }
	requests, limits := spec.resources.Requests, spec.resources.Limits
	return &resources.Today{Init: spec.init, OOMKilled: spec.oomKilled, Amounts: resources.Amounts{
		CPURequest:    quantity(requests, corev1.ResourceCPU, millis),
		CPULimit:      quantity(limits, corev1.ResourceCPU, millis),
		MemoryRequest: quantity(requests, corev1.ResourceMemory, bytes),
		MemoryLimit:   quantity(limits, corev1.ResourceMemory, bytes),
	}}
}

// resourcesYAML is a patch for each workload, with the evidence as comments.
func resourcesYAML(all []*resources.Advice) (out []byte, err error) {
	for len(all) > 0 {
		owner := all[0].Owner
		var comments []string
		var containers []manifest.Container
		for len(all) > 0 && all[0].Owner == owner {
			comments = append(comments, all[0].Evidence...)
			if patch := all[0].Patch(); patch != nil {
				containers = append(containers, *patch)
			}
			all = all[1:]
		}
		if len(containers) == 0 {
			out = append(append(out, "---\n"...), manifest.Comments(comments)...)
			continue
		}
		doc, err := manifest.Document(append(comments, owner.Usage("FILE")), owner.Patch(containers...))
		if err != nil {
			return nil, err
		}
		out = append(out, doc...)
	}
	return out, nil
}

// resourcesObject is advice on a container, for programs. Null is not set, or not known.
type resourcesObject struct {
	Namespace       string         `json:"namespace"`
	Workload        string         `json:"workload"`
	Container       string         `json:"container"`
	ObservedSeconds float64        `json:"observedSeconds"`
	Observed        observedUse    `json:"observed"`
	Today           *amountsObject `json:"today"`
	Enforced        amountsObject  `json:"enforced"`
	Advised         amountsObject  `json:"advised"`
	Patch           map[string]any `json:"patch"`
	Evidence        []string       `json:"evidence"`
	Warnings        []string       `json:"warnings"`
}

type observedUse struct {
	Pods             int     `json:"pods"`
	Samples          uint64  `json:"samples"`
	P95Millis        *uint64 `json:"p95CPUMillis"`
	PeakMillis       *uint64 `json:"peakCPUMillis"`
	ThrottledPercent *uint64 `json:"throttledPercent"`
	WorkingSetBytes  *uint64 `json:"peakWorkingSetBytes"`
	ChargedBytes     *uint64 `json:"peakBytes"`
	OOMKills         *uint64 `json:"oomKills"`
}

type amountsObject struct {
	CPURequest    *uint64 `json:"requestCPUMillis"`
	CPULimit      *uint64 `json:"limitCPUMillis"`
	MemoryRequest *uint64 `json:"requestMemoryBytes"`
	MemoryLimit   *uint64 `json:"limitMemoryBytes"`
}

// resourcesJSON is an object for each container, a line each.
func resourcesJSON(all []*resources.Advice, seen *observation) ([]byte, error) {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	for _, a := range all {
		s := &a.Seen
		object := resourcesObject{
			Namespace: a.Owner.Namespace, Workload: a.Owner.Name(), Container: a.Container,
			ObservedSeconds: seen.length().Seconds(),
			Observed: observedUse{s.Pods, s.Samples, s.P95, s.PeakCPU, s.Throttled, s.WorkingSet, s.ChargedMemory,
				s.OOMKills},
			Enforced: amountsObject(a.Enforced), Advised: amountsObject(a.Advised), Evidence: a.Evidence,
			Warnings: append(incompleteWarnings(seen), a.Warnings...),
		}
		if a.Today != nil {
			today := amountsObject(a.Today.Amounts)
			object.Today = &today
		}
		if patch := a.Patch(); patch != nil {
			object.Patch = a.Owner.Patch(*patch)
		}
		if err := e.Encode(object); err != nil {
			return nil, fmt.Errorf("write JSON: %w", err)
		}
	}
	return out.Bytes(), nil
}
