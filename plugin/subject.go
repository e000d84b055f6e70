package plugin

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/internal/plural"
	"github.com/orb8-dev/kubectl-orb8/plugin/why"
	"github.com/orb8-dev/kubectl-orb8/plugin/why/pods"
)

// judge collects the evidence of a window. Its methods are for one goroutine.
type judge interface {
	// Add takes an event, Observe the kinds of events that are observed, Doubt a node of which a part is not known.
	Add(ev *event.Event)
	Observe(kinds ...string)
	Doubt(node string)
	// Restart begins a new window.
	Restart()
	Verdicts() []*event.Event
	// Full reports whether there was more than there is room for.
	Full() bool
}

// subject is what verdicts are given of.
type subject struct {
	// name is the value of replay --why, and command the command.
	name, command string
	// rows is the kind of the verdicts, sources are the kinds of events that they use, and needs those without which
	// there are none.
	rows           string
	sources, needs []string
	// adds are kinds of rows that a recording of it holds, too.
	adds []string
	// judge makes one for windows of a length, 0: that grow.
	judge func(window time.Duration) judge
	// slot is how long a slot is in a window of a length.
	slot func(window time.Duration) time.Duration
	text func(dst []byte, ev *event.Event, namespace string) []byte
	// remark reports what is missing. If there is no verdict at all, it returns why.
	remark func(v *verdicts, rows []*event.Event) error
}

// subjects lists what verdicts are given of.
var subjects = []*subject{whyPods, whyGPUs}

var whyPods = &subject{
	name: "pod", command: "why", rows: "podVerdict",
	sources: []string{"resources", "flow", "tcp", "dns", "drop", "exec", "syscall"},
	needs:   []string{"resources", "flow", "tcp", "dns", "drop", "exec"},
	adds:    []string{"podState", "serviceState"},
	judge:   func(window time.Duration) judge { return pods.New(window) },
	slot:    pods.Slot, text: pods.AppendText, remark: (*verdicts).remarkPods,
}

var whyGPUs = &subject{
	name: "gpu", command: "why gpu", rows: "gpuVerdict",
	sources: []string{"gpu", "resources", "flow"}, needs: []string{"gpu"},
	judge: func(window time.Duration) judge { return why.New(window) },
	slot:  why.Slot, text: why.AppendText, remark: (*verdicts).remarkGPUs,
}

// subjectNames are the values of replay --why.
func subjectNames() (names []string) {
	for _, s := range subjects {
		names = append(names, s.name)
	}
	return names
}

// subjectByName returns the subject with a name, nil if there is none.
func subjectByName(name string) *subject {
	i := slices.IndexFunc(subjects, func(s *subject) bool { return s.name == name })
	if i < 0 {
		return nil
	}
	return subjects[i]
}

func (v *verdicts) remarkPods(rows []*event.Event) error {
	if len(rows) == 0 {
		return fmt.Errorf("no pod was seen that matches %s", v.config.targets)
	}
	return nil
}

// remarkGPUs reports the pods without a verdict.
func (v *verdicts) remarkGPUs(rows []*event.Event) error {
	watch, ok := v.watch.(*why.Watch)
	if !ok {
		return nil
	}
	without := watch.Without()
	if len(rows) == 0 {
		return v.noGPU(watch, without)
	}
	for _, name := range without {
		if v.config.named {
			v.reporter.Logf("note: %s has no GPU: no process of it is on one", name)
		}
	}
	for _, n := range watch.Nodes() {
		if n.Trouble != "" {
			v.reporter.Logf("note: nothing to read of the GPUs of %s: %s", n.Name, n.Trouble)
		}
	}
	return nil
}

// maxListed is how many nodes or pods an error names.
const maxListed = 10

// noGPU returns why there is no verdict at all.
func (v *verdicts) noGPU(watch *why.Watch, without []string) error {
	var nodes, blind []string
	devices := 0
	for _, n := range watch.Nodes() {
		devices += n.Devices
		nodes = append(nodes, n.Name)
		if n.Trouble != "" {
			blind = append(blind, n.Name+": "+n.Trouble)
		} else if n.Devices == 0 {
			blind = append(blind, n.Name+": no GPU was seen")
		}
	}
	switch {
	case len(nodes) == 0:
		return fmt.Errorf("no pod was seen that matches %s", v.config.targets)
	case devices == 0:
		return fmt.Errorf("no GPU on the examined nodes: %s", listed(blind, "; "))
	case len(without) > 0:
		return fmt.Errorf("no GPU of these pods: no process of theirs is on one, and none was seen to be allocated "+
			"to them: %s (%d %s on %s)",
			listed(without, ", "), devices, plural.Noun(devices, "GPU"), listed(nodes, ", "))
	}
	return fmt.Errorf("no pod with a GPU matches %s: %d %s on %s", v.config.targets, devices,
		plural.Noun(devices, "GPU"), listed(nodes, ", "))
}

// listed joins the first of a list.
func listed(list []string, separator string) string {
	if len(list) > maxListed {
		return strings.Join(list[:maxListed], separator) + fmt.Sprintf(" and %d more", len(list)-maxListed)
	}
	return strings.Join(list, separator)
}
