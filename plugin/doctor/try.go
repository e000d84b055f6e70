package doctor

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/orb8-dev/kubectl-orb8/event/session"
	"github.com/orb8-dev/kubectl-orb8/internal/version"
	"github.com/orb8-dev/kubectl-orb8/plugin/launch"
)

// maxReportBytes bounds what is read of a tracer's log.
const maxReportBytes = 1 << 20

// tryNodes runs a tracer on each node.
func (x *examination) tryNodes(ctx context.Context, nodes []corev1.Node) error {
	slices.SortFunc(nodes, func(a, b corev1.Node) int { return strings.Compare(a.Name, b.Name) })
	if more := len(nodes) - x.MaxNodes; more > 0 {
		x.add("nodes", Unknown,
			fmt.Sprintf("%d of %d nodes are not tried (--max-nodes %d)", more, len(nodes), x.MaxNodes), "")
		nodes = nodes[:x.MaxNodes]
	}
	identity, err := session.NewIdentity()
	if err != nil {
		return err
	}
	spec := x.Spec
	spec.Session, spec.ClientKey, spec.Command = launch.NewSessionID(), identity.PublicKey(), launch.CommandDoctor
	launcher := x.Launch(ctx, spec.Session)
	defer launcher.Close()
	results := make([][]Finding, len(nodes))
	slots := make(chan struct{}, parallelTries)
	var trying sync.WaitGroup
	for i := range nodes {
		usable := true
		if nodes[i].UID != "" { // it was read, and is not only a name
			results[i], usable = Node(&nodes[i])
		}
		if !usable {
			continue
		}
		own := spec
		own.Node, own.Kernel = nodes[i].Name, nodes[i].Status.NodeInfo.KernelVersion
		if x.blocked != "" {
			results[i] = append(results[i],
				Finding{Node: own.Node, Check: "tracer", Status: Unknown, Detail: "not tried, for: " + x.blocked})
			continue
		}
		trying.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			results[i] = append(results[i], x.tryNode(ctx, launcher, &own)...)
		})
	}
	trying.Wait()
	for _, r := range results {
		x.findings = append(x.findings, r...)
	}
	return ctx.Err()
}

// tryNode runs a tracer on one node and returns the findings of its report.
func (x *examination) tryNode(ctx context.Context, launcher Launcher, spec *launch.Spec) []Finding {
	report, err := x.try(ctx, launcher, spec)
	if err == nil {
		return Report(spec.Node, report, spec.Privileged, x.Commands)
	}
	f := Finding{Node: spec.Node, Check: "tracer", Status: Failure, Detail: err.Error()}
	if start := (*launch.StartError)(nil); errors.As(err, &start) {
		f.Detail, f.Fix = start.Reason+": "+start.Message, start.Fix
	}
	return []Finding{f}
}

// try starts a tracer on one node, reads its report and removes it again.
func (x *examination) try(
	ctx context.Context, launcher Launcher, spec *launch.Spec,
) (report *session.Report, err error) {
	limited, cancel := context.WithTimeout(ctx, examineLimit)
	defer cancel()
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), deleteTimeout)
		defer cancel()
		if e := launcher.Delete(ctx, spec.JobName()); e != nil && err == nil {
			err = fmt.Errorf("delete job %s: %w", spec.JobName(), e)
		}
	}()
	if err := launcher.Create(limited, spec); err != nil {
		return nil, err
	}
	var keeping sync.WaitGroup
	keep, stop := context.WithCancel(limited)
	defer keeping.Wait()
	defer stop()
	created := time.Now()
	// Where it fails the Job ends at its deadline: there is nothing to report.
	keeping.Go(func() { launch.Keep(keep, launcher, spec, created, func(error) {}) })
	state := ""
	pod, err := launcher.Running(limited, spec, func(s string) { state = s })
	if err != nil {
		if ctx.Err() == nil && limited.Err() != nil {
			return nil, fmt.Errorf("no tracer after %v: %s", examineLimit, state)
		}
		return nil, err
	}
	log, err := x.Log(limited, pod)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	return readReport(log)
}

func readReport(log io.Reader) (*session.Report, error) {
	lines := bufio.NewScanner(io.LimitReader(log, maxReportBytes))
	lines.Buffer(nil, maxReportBytes)
	last := ""
	for lines.Scan() {
		r, ok, err := session.ParseReport(lines.Text())
		switch {
		case err != nil:
			return nil, err
		case !ok:
			last = lines.Text()
			continue
		case r.Protocol != session.Protocol:
			return nil, fmt.Errorf("the tracer is %s and speaks protocol %d, this plugin is %s and speaks "+
				"protocol %d: "+
				"name an image of the same version with --image",
				r.Version, r.Protocol, version.Version(), session.Protocol)
		}
		return r, nil
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read the tracer's log: %w", err)
	}
	if last != "" {
		return nil, fmt.Errorf("the tracer reported nothing; its last word: %s", last)
	}
	return nil, errors.New("the tracer reported nothing: is its image of the same version?")
}
