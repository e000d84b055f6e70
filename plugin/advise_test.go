package plugin

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/orbit"
)

// adviseFlows runs a command of advise that needs flows, and prints what it was given.
func adviseFlows(t *testing.T, args ...string) (code int, out, errOut string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	streams := genericiooptions.IOStreams{In: strings.NewReader(""), Out: &stdout, ErrOut: &stderr}
	o := newAdviseOptions(streams, &adviseSource{command: "advise test", kinds: []string{"flow", "dns"},
		needs: []string{"flow"}})
	cmd := &cobra.Command{Use: "test", RunE: func(cmd *cobra.Command, args []string) error {
		c, err := o.complete(cmd.Flags().Changed, args)
		if err != nil {
			return err
		}
		pods := map[string]int{}
		seen, err := c.observe(cmd.Context(), func(ev *event.Event) { pods[ev.GetPod()]++ })
		if seen != nil {
			fmt.Fprintf(&stdout, "%v %s %s in %v: %s", pods, seen.source, seen.kinds, seen.length(),
				strings.Join(seen.incomplete, "; "))
		}
		return err
	}}
	o.bind(cmd.Flags())
	root := newRoot(streams)
	group, _, err := root.Find([]string{"advise"})
	if err != nil {
		t.Fatal(err)
	}
	group.AddCommand(cmd)
	root.SetArgs(append([]string{"advise", "test"}, args...))
	code, message := execute(context.Background(), root)
	return code, stdout.String(), stderr.String() + message
}

func TestAdvise_Sources(t *testing.T) {
	events := pastEvents()
	for _, ev := range events {
		if ev.GetFlow() != nil {
			ev.Workload = "deploy/web"
		}
	}
	flows := recordAll(t, "shop", began, []string{"flow", "dns"}, events)
	both := map[bool]string{true: recordAll(t, "shop", began, []string{"flow"}, pastEvents()),
		false: recording(t, "dns")}
	whole, err := os.ReadFile(flows)
	if err != nil {
		t.Fatal(err)
	}
	cut := filepath.Join(t.TempDir(), "cut.orb8")
	if err := os.WriteFile(cut, whole[:len(whole)-1], 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		args []string
		code int
		want string // in the output, or in stderr where the exit code is not 0
	}{
		"a recording":            {[]string{"--from", flows}, 0, "map[web:30] " + flows + " [flow dns] in 9s: "},
		"a workload of it":       {[]string{"--from", flows, "deployment/web"}, 0, "map[web:20]"},
		"a pod of it":            {[]string{"--from", flows, "web", "-n", "shop"}, 0, "map[web:30]"},
		"a kind it does not use": {[]string{"--from", both[true]}, 0, "holds no dns events"},
		"a kind it lacks":        {[]string{"--from", both[false]}, 1, "advise test needs flow events"},
		"a cut recording":        {[]string{"--from", cut}, 0, "what comes after it is not known"},
		"no such workload": {[]string{"--from", flows, "deploy/wbe"}, 1, "of deploy/wbe: it is a recording of pods, " +
			"and holds events of deploy/web in shop, web in shop"},
		"a Service":         {[]string{"--from", flows, "svc/web"}, 2, `target "svc/web": of a recording, want a pod`},
		"labels":            {[]string{"--from", flows, "-l", "a=b"}, 2, "recordings hold no labels"},
		"two sources":       {[]string{"--from", flows, "--since", "1h"}, 2, "--since does not go with --from"},
		"a live flag":       {[]string{"--since", "1h", "--duration", "1m"}, 2, "--duration does not go with --since"},
		"no such file":      {[]string{"--from", "nowhere.orb8"}, 1, "--from: open nowhere.orb8"},
		"an unknown source": {[]string{"--from", os.DevNull}, 1, "--from " + os.DevNull},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("KUBECONFIG", os.DevNull)
			code, out, errs := adviseFlows(t, test.args...)
			if code == 0 {
				errs = out
			}
			if code != test.code || !strings.Contains(errs, test.want) {
				t.Errorf("exit code %d, %q; want %d, %q", code, errs, test.code, test.want)
			}
		})
	}
}

func TestAdvise_Since(t *testing.T) {
	f := &fakeServer{coverage: coverageOf("flow"), events: pastEvents()}
	f.coverage.Nodes[1].Answer, f.coverage.Nodes[1].Message = orbit.NodeAnswer_NODE_ANSWER_UNREACHABLE, "no route"
	serveAgents(t, f)
	code, out, errs := adviseFlows(t, "--since", "1h")
	for _, want := range []string{"map[web:30] the history [flow] in 10s: node n2 was not observed: no route",
		"the history holds no dns events"} {
		if code != ExitSomeFailed || !strings.Contains(out, want) {
			t.Errorf("exit code %d, %q, %q; want %q", code, out, errs, want)
		}
	}
	if got := f.request.GetSelection().GetKinds(); !slices.Equal(got, []string{"flow", "dns"}) {
		t.Errorf("asked for %v", got)
	}
	f.coverage, f.events = coverageOf("dns"), nil
	if code, _, errs := adviseFlows(t, "--since", "1h"); code != ExitError ||
		!strings.Contains(errs, "do not record flow") {
		t.Errorf("without flows: exit code %d, %q", code, errs)
	}
	f.coverage = coverageOf("flow", "dns")
	if code, _, errs := adviseFlows(t, "--since", "1h"); code != ExitError ||
		!strings.Contains(errs, "nothing was seen (flow, dns)") {
		t.Errorf("without events: exit code %d, %q", code, errs)
	}
}
