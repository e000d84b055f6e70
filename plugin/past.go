package plugin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/rest"

	"github.com/orb8-dev/kubectl-orb8/event/orbit"
	"github.com/orb8-dev/kubectl-orb8/event/safe"
	"github.com/orb8-dev/kubectl-orb8/internal/kube"
	"github.com/orb8-dev/kubectl-orb8/internal/plural"
	"github.com/orb8-dev/kubectl-orb8/plugin/advice"
	"github.com/orb8-dev/kubectl-orb8/plugin/door"
	"github.com/orb8-dev/kubectl-orb8/plugin/live"
	"github.com/orb8-dev/kubectl-orb8/plugin/remote"
)

// pastConfig is a question about the past, which the installed agents answer.
type pastConfig struct {
	streams          genericiooptions.IOStreams
	client           kube.Interface
	rest             *rest.Config
	installNamespace string
	request          *orbit.QueryRequest
	form             remote.Form
	failOnLoss       bool
	// command is what needs agents, in the words of the user. name, if not empty, is what the closing line begins with.
	command, name string
	// tally sums up the answer once it is complete.
	tally *advice.Tally
}

// serversOf connects to the servers of orb8; tests replace it.
var serversOf = func(o door.Options) remote.Dial {
	d := door.New(o)
	return func(ctx context.Context) (remote.Conn, error) { return d.Dial(ctx) }
}

// run asks a server, shows its answer, and says what that covers.
func (c *pastConfig) run(parent context.Context, open func(*reporter) (live.Consumer, error)) error {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	r := newReporter(c.streams.ErrOut)
	defer watchInterrupts(parent, func() { cancel(live.ErrInterrupted) })()
	dial := serversOf(door.Options{Client: c.client, Config: c.rest, Namespace: c.installNamespace})
	result, err := remote.Query(ctx, dial, c.request, c.form, func() (live.Consumer, error) { return open(r) })
	if err != nil {
		return c.explain(ctx, err)
	}
	c.tally = &result.Tally
	for _, line := range coverageLines(c.request.GetSelection(), result.Coverage, time.Now()) {
		r.Logf("%s", line)
	}
	if c.name != "" {
		c.name += ": "
	}
	r.Logf("%s%s", c.name, &result.Tally)
	switch {
	case result.Tally.Traced < result.Tally.Nodes, result.Coverage.GetStore().GetError() != "":
		return &exitError{ExitSomeFailed, nil}
	case c.failOnLoss && result.Tally.Lost():
		return &exitError{ExitLost, errLost}
	}
	return nil
}

func (c *pastConfig) explain(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), live.ErrInterrupted) {
		return &exitError{ExitInterrupted, nil}
	}
	if errors.Is(err, door.ErrNotInstalled) {
		return fmt.Errorf("%w: %s needs the agents of kubectl orb8 install, which record", err, c.command)
	}
	return remote.Explain(err)
}

// sinceOptions are the flags of a command that can be about the past.
type sinceOptions struct{ periodOptions }

func (o *sinceOptions) bind(flags *pflag.FlagSet) {
	o.periodOptions.bind(flags, "", ": from the records of installed agents")
}

// liveFlags are those that do not go with --since.
var liveFlags = []string{
	"duration", "interval", "window", "count", "record", "max-nodes", "privileged", "reverse-dns", "dns-port",
	"image", "image-registry", "image-pull-policy", "image-pull-secret",
	"tracer-namespace", "tracer-resources", "tracer-labels", "tracer-annotations",
	"nvml-library", "cuda-library", "gpu-runtime-class", "pod-resources",
	"syscall", "errors-only", "min-duration",
}

// check reports whether the command is about the past. It refuses flags that do not go with that.
func (o *sinceOptions) check(t *traceOptions, changed func(flag string) bool) (past bool, err error) {
	switch {
	case o.since == "" && o.until != "":
		return false, usagef("--until goes with --since")
	case o.since == "":
		return false, nil
	case t.mode == modeEphemeral || t.mode == "standalone":
		return true, usagef("--mode=%s: --since needs agents, which record: kubectl orb8 install installs them", t.mode)
	}
	for _, flag := range liveFlags {
		if changed(flag) {
			return true, usagef("--%s does not go with --since: installed agents have recorded what it shows", flag)
		}
	}
	return true, checkNames(t.names, t.allNamespaces)
}

// past returns the question of a command whose options are complete.
func (c *traceConfig) past(o *sinceOptions, filter string, updates func(time.Duration) time.Duration) (
	*pastConfig, error,
) {
	now := time.Now()
	r := &orbit.QueryRequest{Protocol: orbit.Protocol, Selection: c.selection()}
	if err := o.complete(r, now); err != nil {
		return nil, err
	}
	r.Selection.Filter, r.Interval = filter, int64(updates(length(r, now)))
	return &pastConfig{streams: c.streams, client: c.client, rest: c.rest, installNamespace: c.installNamespace,
		request: r, failOnLoss: c.failOnLoss, command: "--since"}, nil
}

// coverageStart is when an answer begins: at the start of its time, or of the history that reaches back furthest.
func coverageStart(c *orbit.Coverage) time.Time {
	first := uint64(math.MaxInt64)
	for _, n := range c.GetNodes() {
		if n.GetAnswer() == orbit.NodeAnswer_NODE_ANSWER_OK {
			first = min(first, n.GetReach())
		}
		if isStored(c, n) {
			first = 0
		}
	}
	if first == math.MaxInt64 {
		first = 0
	}
	return time.Unix(0, int64(min(max(c.GetSince(), first), math.MaxInt64)))
}

// isStored reports whether what a node holds no more is of the history store.
func isStored(c *orbit.Coverage, n *orbit.NodeCoverage) bool {
	return n.GetStoredUntil() > 0 && c.GetStore() != nil && c.GetStore().GetError() == ""
}

// checkRecorded refuses an answer if no node records any of the kinds, or none is visible.
func checkRecorded(c *orbit.Coverage, kinds []string) error {
	visible := slices.DeleteFunc(slices.Clone(kinds), func(k string) bool {
		return slices.Contains(c.GetForbiddenKinds(), k)
	})
	if len(visible) == 0 {
		return fmt.Errorf("you may not see %s", strings.Join(kinds, " and "))
	}
	answered := false
	for _, n := range c.GetNodes() {
		if n.GetAnswer() != orbit.NodeAnswer_NODE_ANSWER_OK {
			continue
		}
		answered = true
		if slices.ContainsFunc(visible, func(k string) bool { return slices.Contains(n.GetKinds(), k) }) {
			return nil
		}
	}
	if !answered {
		return nil
	}
	return fmt.Errorf("the installed agents do not record %s: of the past, it is not known; tracers can show it now, "+
		"without --since", strings.Join(kinds, " and "))
}

// unknownTimes lists the times of the answer that the nodes did not observe.
func unknownTimes(c *orbit.Coverage) (lines []string) {
	for _, n := range c.GetNodes() {
		if n.GetAnswer() != orbit.NodeAnswer_NODE_ANSWER_OK {
			continue
		}
		spans := n.GetGaps()
		if n.GetReach() > c.GetSince() && c.GetSince() > 0 && !isStored(c, n) {
			spans = append([]*orbit.Span{{From: c.GetSince(), To: n.GetReach()}}, spans...)
		}
		for _, s := range orbit.MergeSpans(spans...) {
			to := min(cmp.Or(s.GetTo(), c.GetUntil()), math.MaxInt64)
			from := min(s.GetFrom(), to)
			if d := time.Duration(to - from); d >= minUnknown {
				lines = append(lines, fmt.Sprintf("%s: nothing is known of %s to %s (%v)", n.GetNode(),
					clockTime(from), clockTime(to), d.Round(time.Second)))
			}
		}
	}
	if more := len(lines) - maxListed; more > 0 {
		lines = append(lines[:maxListed], fmt.Sprintf("and %d more such times of nodes", more))
	}
	return lines
}

// minUnknown is the least time without knowledge that is worth a line: agents have samples of each second.
const minUnknown = 2 * time.Second

func clockTime(ns uint64) string { return time.Unix(0, int64(ns)).UTC().Format(time.RFC3339) }

// checkNames refuses names where they do not mean one object.
func checkNames(names []string, allNamespaces bool) error {
	if allNamespaces && len(names) > 0 {
		return usagef("target %q: want no names together with --all-namespaces: a name means one object of one "+
			"namespace", names[0])
	}
	return nil
}

// coverageLines say what an answer covers: nodes that did not answer, kinds that are not recorded or not visible, the
// namespaces, and how far back it reaches.
func coverageLines(s *orbit.Selection, c *orbit.Coverage, now time.Time) (lines []string) {
	nodes := map[string]*orbit.NodeCoverage{}
	var latest *orbit.NodeCoverage // the node that reaches back least
	for _, n := range c.GetNodes() {
		nodes[n.GetNode()] = n
		if n.GetAnswer() != orbit.NodeAnswer_NODE_ANSWER_OK {
			lines = append(lines, fmt.Sprintf("%s: %s: its events are missing", n.GetNode(), n.GetMessage()))
			continue
		}
		if n.GetReach() > latest.GetReach() {
			latest = n
		}
	}
	if missing := remote.Unrecorded(s.GetKinds(), nodes); len(missing) > 0 {
		lines = append(lines, "note: the installed agents do not record "+strings.Join(missing, ", "))
	}
	if len(c.GetForbiddenKinds()) > 0 {
		lines = append(lines, "note: you may not see "+strings.Join(c.GetForbiddenKinds(), ", "))
	}
	if len(s.GetNamespaces()) == 0 && !c.GetAllNamespaces() {
		lines = append(lines, fmt.Sprintf("%s that you may see: %s", plural.Noun(len(c.GetNamespaces()), "namespace"),
			strings.Join(slices.Sorted(slices.Values(c.GetNamespaces())), ", ")))
	}
	if latest != nil {
		ago := now.Sub(time.Unix(0, int64(latest.GetReach()))).Round(time.Second)
		lines = append(lines, fmt.Sprintf("the history reaches back %v (%s)", ago, string(safe.AppendText(nil,
			latest.GetNode()))))
	}
	return append(lines, storeLines(c.GetStore())...)
}

// storeLines say what of an answer is of the history store.
func storeLines(s *orbit.StoreCoverage) (lines []string) {
	switch {
	case s == nil:
		return nil
	case s.GetError() != "":
		lines = append(lines, fmt.Sprintf("the history store: %s: what is older is missing",
			string(safe.AppendText(nil, s.GetError()))))
	default:
		lines = append(lines, fmt.Sprintf("what is older is of the history store: %d %s", s.GetEvents(),
			plural.Noun(s.GetEvents(), "event")))
	}
	if n := s.GetUnreadable() + s.GetForeign(); n > 0 {
		lines = append(lines, fmt.Sprintf("the history store also sent %d rows that cannot be read, and %d that are "+
			"not of orb8", s.GetUnreadable(), s.GetForeign()))
	}
	return lines
}
