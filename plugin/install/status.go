package install

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/liggitt/tabwriter"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/orb8-dev/kubectl-orb8/deploy"
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/safe"
	"github.com/orb8-dev/kubectl-orb8/internal/plural"
)

// Status is the state of an installation.
type Status struct {
	Installation
	// Agents and Servers are the numbers wanted.
	Agents, Servers int
	// Pods are the agents in the order of their nodes, then the servers.
	Pods []Pod
	// Problems are those that no pod has.
	Problems []string
}

// Status reads the state of the installation.
func (i *Installer) Status(ctx context.Context) (*Status, error) {
	found, err := i.Find(ctx)
	if err != nil {
		return nil, err
	}
	if found == nil {
		return nil, ErrNotInstalled
	}
	s := &Status{Installation: *found}
	agents, err := i.Client.AppsV1().DaemonSets(s.Namespace).Get(ctx, deploy.Agent, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		s.Problems = append(s.Problems, "daemonset "+deploy.Agent+" is missing: run kubectl orb8 install")
	case err != nil:
		return nil, err
	default:
		s.Agents = int(agents.Status.DesiredNumberScheduled)
	}
	servers, err := i.Client.AppsV1().Deployments(s.Namespace).Get(ctx, deploy.Server, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		s.Problems = append(s.Problems, "deployment "+deploy.Server+" is missing: run kubectl orb8 install")
	case err != nil:
		return nil, err
	case servers.Spec.Replicas != nil:
		s.Servers = int(*servers.Spec.Replicas)
	}
	pods, err := i.pods(ctx, s.Namespace)
	if err != nil {
		return nil, err
	}
	for n := range pods {
		s.Pods = append(s.Pods, describePod(&pods[n]))
	}
	slices.SortFunc(s.Pods, func(a, b Pod) int {
		return cmp.Or(cmp.Compare(a.Component, b.Component), cmp.Compare(a.Node, b.Node), cmp.Compare(a.Pod, b.Pod))
	})
	for _, c := range []struct {
		component, kind, name string
		wanted                int
	}{
		{deploy.ComponentAgent, "DaemonSet", deploy.Agent, s.Agents},
		{deploy.ComponentServer, "ReplicaSet", deploy.Server + "-", s.Servers},
	} {
		if countPods(pods, c.component) >= c.wanted {
			continue
		}
		if why := i.refusal(ctx, s.Namespace, c.kind, c.name); why != "" {
			s.Problems = append(s.Problems, c.component+"s are not created: "+why)
		}
	}
	return s, nil
}

// ready counts the ready pods of a component.
func (s *Status) ready(component string) (n int) {
	for i := range s.Pods {
		if s.Pods[i].Component == component && s.Pods[i].Ready {
			n++
		}
	}
	return n
}

// Health of an installation.
type Health int

// An installation that is Degraded answers, though not for all nodes or not from all servers.
const (
	Healthy Health = iota
	Degraded
	Down
)

// Verdict returns the closing lines of status. own is the version of the plugin.
func (s *Status) Verdict(own string) (lines []string, health Health) {
	agents, servers := s.ready(deploy.ComponentAgent), s.ready(deploy.ComponentServer)
	lines = append(slices.Clone(s.Problems), fmt.Sprintf("orb8 %s in namespace %s: %d/%s ready, %d/%s ready",
		cmp.Or(s.Version, "of unknown version"), s.Namespace, agents, plural.Count(s.Agents, "agent"), servers,
		plural.Count(s.Servers, "server")))
	others := map[string]int{}
	for i := range s.Pods {
		if v := s.Pods[i].Version; v != s.Version {
			others[cmp.Or(v, "of unknown version")]++
		}
	}
	if len(others) > 0 {
		var parts []string
		for v, n := range others {
			parts = append(parts, plural.Count(n, "pod")+" "+v)
		}
		slices.Sort(parts)
		lines = append(lines, "not all have the installed version: "+strings.Join(parts, ", "))
	}
	if s.Version != own {
		lines = append(lines, fmt.Sprintf("this kubectl orb8 is %s: kubectl orb8 upgrade changes the installation "+
			"to it", own))
	}
	switch {
	case servers == 0 || agents == 0:
		return lines, Down
	case agents < s.Agents || servers < s.Servers || len(s.Problems) > 0:
		return lines, Degraded
	}
	return lines, Healthy
}

// WriteTable writes a line per pod. Text from the cluster is made safe for a terminal.
func (s *Status) WriteTable(w io.Writer, headers bool) error {
	table := tabwriter.NewWriter(w, 6, 4, 3, ' ', tabwriter.RememberWidths) // as kubectl get
	if headers {
		if _, err := fmt.Fprintln(table, "COMPONENT\tNODE\tPOD\tREADY\tVERSION\tRESTARTS\tREASON"); err != nil {
			return err
		}
	}
	for i := range s.Pods {
		p := &s.Pods[i]
		ready := "no"
		if p.Ready {
			ready = "yes"
		}
		cells := []string{p.Component, p.Node, p.Pod, ready, p.Version, strconv.Itoa(int(p.Restarts)), p.Reason}
		for n, cell := range cells {
			text := strings.Join(strings.Fields(cell), " ")
			if text == "" && n < len(cells)-1 {
				text = "-"
			}
			cells[n] = string(safe.AppendText(nil, text))
		}
		if _, err := fmt.Fprintln(table, strings.TrimRight(strings.Join(cells, "\t"), "\t")); err != nil {
			return err
		}
	}
	return table.Flush()
}

// MarshalJSON writes a pod as `status -o json` documents it, with null for what is unknown.
func (d Pod) MarshalJSON() ([]byte, error) {
	null := func(s string) *string {
		if s == "" {
			return nil
		}
		return &s
	}
	return json.Marshal(struct {
		SchemaVersion int     `json:"schemaVersion"`
		Kind          string  `json:"kind"`
		Component     string  `json:"component"`
		Node          *string `json:"node"`
		Pod           string  `json:"pod"`
		Ready         bool    `json:"ready"`
		Version       *string `json:"version"`
		Restarts      int32   `json:"restarts"`
		Reason        *string `json:"reason"`
	}{
		event.SchemaVersion, "installedPod", d.Component, null(d.Node), d.Pod, d.Ready, null(d.Version), d.Restarts,
		null(d.Reason),
	})
}

// WriteJSON writes one JSON object per line.
func (s *Status) WriteJSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	for i := range s.Pods {
		if err := encoder.Encode(s.Pods[i]); err != nil {
			return err
		}
	}
	return nil
}
