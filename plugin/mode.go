package plugin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/orb8-dev/kubectl-orb8/deploy"
	"github.com/orb8-dev/kubectl-orb8/event/orbit"
	"github.com/orb8-dev/kubectl-orb8/plugin/door"
	"github.com/orb8-dev/kubectl-orb8/plugin/live"
	"github.com/orb8-dev/kubectl-orb8/plugin/remote"
)

// The values of --mode.
const (
	modeAuto      = "auto"
	modeEphemeral = "ephemeral"
	modeCluster   = "cluster"
)

// modeOptions are the flags that choose between tracers and installed agents.
type modeOptions struct {
	mode             string
	installNamespace string
}

func (o *modeOptions) bind(flags *pflag.FlagSet) {
	flags.StringVar(&o.mode, "mode", modeAuto,
		"cluster: ask the installed agents; ephemeral: start tracers; auto: agents where they can answer, else tracers")
	flags.StringVar(&o.installNamespace, "orb8-namespace", deploy.DefaultNamespace,
		"Namespace that orb8 is installed in")
}

// complete validates the mode. only are the flags that were set and that only tracers have.
func (o *modeOptions) complete(only []string) (mode string, err error) {
	switch mode = o.mode; mode {
	case "standalone":
		mode = modeEphemeral
	case modeAuto, modeEphemeral, modeCluster:
	default:
		return "", usagef("--mode %q: want auto, ephemeral or cluster", o.mode)
	}
	if len(only) == 0 {
		return mode, nil
	}
	if mode == modeCluster {
		return "", usagef("--%s: only tracers have it: leave it out, or use --mode=ephemeral", only[0])
	}
	return modeEphemeral, nil
}

// tracerFlags are the flags that were set and that only tracers have.
func (o *traceOptions) tracerFlags() (set []string) {
	add := func(name string, isSet bool) {
		if isSet {
			set = append(set, name)
		}
	}
	add("image", o.image != "")
	add("image-registry", o.registry.registry != "")
	add("image-pull-policy", o.pullPolicy != "")
	add("image-pull-secret", len(o.pullSecrets) > 0)
	add("tracer-namespace", o.tracerNamespace != "")
	add("tracer-resources", len(o.resources) > 0)
	add("tracer-labels", len(o.labels) > 0)
	add("tracer-annotations", len(o.annotations) > 0)
	add("privileged", o.privileged)
	add("reverse-dns", o.reverseDNS)
	add("dns-port", !slices.Equal(o.dnsPorts, []uint{53}))
	add("syscall", len(o.syscalls.names) > 0)
	add("errors-only", o.syscalls.errorsOnly)
	add("min-duration", o.syscalls.minDuration > 0)
	return set
}

// engine returns the session's engine.
func (c *traceConfig) engine(ctx context.Context, r *reporter) engine {
	if c.mode == modeEphemeral {
		return live.New(ctx, c.session(), c.dependencies(r))
	}
	dial := serversOf(door.Options{Client: c.client, Config: c.rest, Namespace: c.installNamespace})
	config := remote.Config{Selection: c.selection(), Interval: c.interval, Duration: c.duration}
	if c.mode == modeAuto {
		conn, why := c.probe(ctx, dial)
		if why != "" {
			r.Logf("note: %s: starting tracers", why)
		}
		if conn == nil {
			return live.New(ctx, c.session(), c.dependencies(r))
		}
		dial = once(conn, dial)
	}
	return remote.New(ctx, config, dial, r)
}

// once returns a Dial that returns an open connection first.
func once(conn remote.Conn, dial remote.Dial) remote.Dial {
	return func(ctx context.Context) (remote.Conn, error) {
		if first := conn; first != nil {
			conn = nil
			return first, nil
		}
		return dial(ctx)
	}
}

// selection is the query for a server.
func (c *traceConfig) selection() *orbit.Selection {
	s := &orbit.Selection{Kinds: kindNames(c.kinds), Names: c.query.Names, Container: c.query.Container,
		Node: c.query.Node}
	if !c.query.AllNamespaces {
		s.Namespaces = []string{c.query.Namespace}
	}
	if c.query.Selector != nil {
		s.Labels = c.query.Selector.String()
	}
	return s
}

// probe returns a connection to a server if the installed agents can answer. If not, it is nil, and why is the reason
// if it is worth a note: without an installation, or without the right to it, there is none.
func (c *traceConfig) probe(ctx context.Context, dial remote.Dial) (conn remote.Conn, why string) {
	var coverage *orbit.Coverage
	reached := false
	conn, err := remote.Ask(ctx, dial, func(conn remote.Conn) (err error) {
		reached = true
		coverage, err = remote.Probe(ctx, conn, c.selection())
		return err
	})
	switch {
	case errors.Is(err, door.ErrNotInstalled), errors.Is(err, door.ErrForbidden), errors.Is(err, door.ErrUnknown):
		return nil, ""
	case status.Code(err) == codes.PermissionDenied: // but the user may be allowed to start tracers
		return nil, ""
	case err != nil && !reached:
		return nil, fmt.Sprintf("the installed orb8 cannot be reached: %v", err)
	case err != nil:
		return nil, fmt.Sprintf("the installed orb8 does not answer: %v", err)
	}
	if why = c.unanswered(coverage); why != "" {
		_ = conn.Close()
		return nil, why
	}
	return conn, ""
}

// unanswered says why the installed agents cannot answer; empty: they can.
func (c *traceConfig) unanswered(coverage *orbit.Coverage) string {
	nodes := map[string]*orbit.NodeCoverage{}
	for _, n := range coverage.GetNodes() {
		nodes[n.GetNode()] = n
		if n.GetAnswer() != orbit.NodeAnswer_NODE_ANSWER_OK {
			return fmt.Sprintf("the agent of %s does not answer", n.GetNode())
		}
	}
	if missing := remote.Unrecorded(kindNames(c.kinds), nodes); len(missing) > 0 {
		return "the installed agents do not record " + strings.Join(missing, ", ")
	}
	if len(nodes) == 0 {
		return "no agent is installed"
	}
	return ""
}
