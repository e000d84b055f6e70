package plugin

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/orb8-dev/kubectl-orb8/deploy"
	"github.com/orb8-dev/kubectl-orb8/event/session"
	"github.com/orb8-dev/kubectl-orb8/internal/plural"
	"github.com/orb8-dev/kubectl-orb8/internal/version"
	"github.com/orb8-dev/kubectl-orb8/plugin/doctor"
	"github.com/orb8-dev/kubectl-orb8/plugin/launch"
)

const (
	// examineLimit bounds what one node may take, an image pull included.
	examineLimit = 2 * time.Minute
	// examineAtOnce is how many nodes are tried at a time.
	examineAtOnce = 8
	// reportBytes bounds what is read of a node's log.
	reportBytes = 1 << 20
)

// examination is one run of doctor.
type examination struct {
	tracerConfig
	streams  genericiooptions.IOStreams
	reporter *reporter
	node     string
	// gpu: look at the GPUs, too; nil: not.
	gpu *gpuConfig

	findings []doctor.Finding
	// blocked says why no tracer can be started; empty where one may be tried.
	blocked string
}

func newDoctorCommand(streams genericiooptions.IOStreams) *cobra.Command {
	o := &tracerOptions{kube: genericclioptions.NewConfigFlags(true)}
	var node, output string
	var noHeaders, gpus bool
	var gpuFlags gpuOptions
	cmd := &cobra.Command{
		Use: "doctor", Short: "Find out what keeps tracers from running here, and the command that mends it", Args: noArgs,
		Long: `Asks the cluster what you may, whether it would admit a tracer, and has a tracer on each node load what trace uses. Everything is
taken away again. What is wrong comes with what mends it; the exit code is 1 where no session can run, 3 where some nodes cannot take part.`,
		Example: `  # All nodes, with the rights you have in namespace demo
  kubectl orb8 doctor -n demo

  # What GPUs trace gpu could read, by which library, or why not
  kubectl orb8 doctor -n ml --gpu

  # One node, as JSON
  kubectl orb8 doctor --node worker-3 -o json | jq -r 'select(.status != "ok") | [.check, .detail, .mend] | @tsv'`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "" && output != "json" {
				return usagef("--output %q: want json, or nothing", output)
			}
			c, err := o.complete()
			if err != nil {
				return err
			}
			var kinds []string
			if gpus {
				kinds = []string{"gpu"}
			}
			gpu, err := gpuFlags.complete(kinds)
			if err != nil {
				return err
			}
			if err := c.connect(o.kube); err != nil {
				return err
			}
			x := &examination{tracerConfig: c, streams: streams, reporter: newReporter(streams.ErrOut), node: node, gpu: gpu}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
			defer stop()
			if err := x.run(ctx); err != nil {
				if ctx.Err() != nil {
					return &exitError{ExitInterrupted, nil}
				}
				return err
			}
			if output == "json" {
				err = doctor.WriteJSON(streams.Out, x.findings)
			} else {
				err = doctor.WriteTable(streams.Out, x.findings, !noHeaders)
			}
			if err != nil {
				return err
			}
			return x.verdict()
		},
	}
	o.bind(cmd.Flags())
	cmd.Flags().StringVar(&node, "node", "", "Try only this node")
	cmd.Flags().BoolVar(&gpus, "gpu", false, "Look at the GPUs, too: driver, library, device files, as trace gpu would")
	gpuFlags.bind(cmd.Flags())
	cmd.Flags().StringVarP(&output, "output", "o", "", "Output format: json")
	cmd.Flags().BoolVar(&noHeaders, "no-headers", false, "Print no header line")
	return cmd
}

func (x *examination) add(check string, status doctor.Status, detail, mend string) {
	x.findings = append(x.findings, doctor.Finding{Check: check, Status: status, Detail: detail, Mend: mend})
	if status == doctor.Failure && x.blocked == "" {
		x.blocked = check
	}
}

// run finds out everything. An error is what keeps it from finding out anything.
func (x *examination) run(ctx context.Context) error {
	v, err := x.client.Discovery().ServerVersion()
	if err != nil {
		return err
	}
	x.add("api server", doctor.OK, v.GitVersion+" at "+x.rest.Host, "")
	if err := x.checkPermissions(ctx); err != nil {
		return err
	}
	x.deadline = min(x.jobDeadline(ctx), examineLimit)
	if err := x.gpu.resolve(ctx, x.client); err != nil {
		return err
	}
	if err := x.rehearse(ctx); err != nil {
		return err
	}
	nodes, err := x.listNodes(ctx)
	if err != nil {
		return err
	}
	return x.tryNodes(ctx, nodes)
}

// checkPermissions compares the user's rights with the documented Roles.
func (x *examination) checkPermissions(ctx context.Context) error {
	type role struct{ manifest, namespace string }
	roles := []role{{deploy.RBAC, x.tracerNamespace}}
	if x.tracerNamespace != x.namespace {
		roles = []role{{deploy.RBACTargets, x.namespace}, {deploy.RBACTracers, x.tracerNamespace}}
	}
	fix := x.grant(ctx)
	for _, role := range roles {
		permissions, err := doctor.Permissions(role.manifest)
		if err != nil {
			return err
		}
		for i := range permissions {
			if err := x.checkPermission(ctx, &permissions[i], role.namespace, fix); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkPermission asks for all verbs of one permission at once.
func (x *examination) checkPermission(ctx context.Context, p *doctor.Permission, namespace, fix string) error {
	refused := make([]bool, len(p.Verbs))
	asked := make([]error, len(p.Verbs))
	var asking sync.WaitGroup
	for i, verb := range p.Verbs {
		asking.Go(func() {
			answer, err := x.client.AuthorizationV1().SelfSubjectAccessReviews().
				Create(ctx, p.Review(verb, namespace), metav1.CreateOptions{})
			asked[i] = err
			refused[i] = err == nil && !answer.Status.Allowed
		})
	}
	asking.Wait()
	if err := cmp.Or(asked...); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		x.add("permission: "+p.Name(), doctor.Unknown, "the cluster does not tell what you may: "+oneLine(err.Error()), "")
		return nil
	}
	var verbs []string
	for i, verb := range p.Verbs {
		if refused[i] {
			verbs = append(verbs, verb)
		}
	}
	f := p.Judge(namespace, verbs, fix)
	x.add(f.Check, f.Status, f.Detail, f.Mend)
	return nil
}

// plainName is a user's name that a shell takes as it is.
var plainName = regexp.MustCompile(`^[A-Za-z0-9:@._-]+$`)

// grant is the command that gives this user the documented Role, with the user's name where the cluster tells it (1.28 and later).
func (x *examination) grant(ctx context.Context) string {
	command := grantCommand(x.namespace, x.tracerNamespace)
	me, err := x.client.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err == nil && plainName.MatchString(me.Status.UserInfo.Username) {
		command = strings.Replace(command, "--user=USER", "--user="+me.Status.UserInfo.Username, 1)
	}
	return command
}

// rehearse has the API server admit the very Job and its pod, without making them.
func (x *examination) rehearse(ctx context.Context) error {
	identity, err := session.NewIdentity()
	if err != nil {
		return err
	}
	spec := x.spec(newSessionID(), identity.PublicKey(), examineLimit)
	x.gpu.add(&spec)
	spec.Node = x.node
	if spec.Node == "" {
		spec.Node = "any"
	}
	dry := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}
	job := spec.Job()
	_, err = x.client.BatchV1().Jobs(x.tracerNamespace).Create(ctx, job, dry)
	x.admission("job", "the API server admits the tracer's Job", err, &spec)

	pod := &corev1.Pod{ObjectMeta: job.Spec.Template.ObjectMeta, Spec: job.Spec.Template.Spec}
	pod.GenerateName = job.Name + "-"
	_, err = x.client.CoreV1().Pods(x.tracerNamespace).Create(ctx, pod, dry)
	x.admission("pod", "the API server admits its pod: Pod Security, quota and webhooks", err, &spec)
	return ctx.Err()
}

func (x *examination) admission(what, admitted string, err error, spec *launch.Spec) {
	switch {
	case err == nil:
		x.add("admission: "+what, doctor.OK, admitted, "")
	case apierrors.IsNotFound(err):
		x.add("admission: "+what, doctor.Failure, fmt.Sprintf("namespace %q not found", spec.Namespace),
			"kubectl create namespace "+spec.Namespace+", or name another with -n or --tracer-namespace")
	case apierrors.IsForbidden(err) && strings.Contains(err.Error(), "cannot create resource"):
		detail, mend := "not tried: you may not create it yourself", ""
		if what == "pod" {
			// The Job's controller may, and what it will be told depends on the namespace.
			detail, mend = "you may not create pods yourself, so that admission could not be tried before a session does", ""
		}
		x.add("admission: "+what, doctor.Unknown, detail, mend)
	case apierrors.IsForbidden(err), apierrors.IsInvalid(err):
		refusal := launch.Refusal(spec, err.Error())
		x.add("admission: "+what, doctor.Failure, refusal.Reason+": "+refusal.Message, refusal.Mend)
	default:
		x.add("admission: "+what, doctor.Failure, err.Error(), "")
	}
}

// listNodes gives the nodes to look at. Who may not list nodes sees those of the pods in the namespace.
func (x *examination) listNodes(ctx context.Context) ([]corev1.Node, error) {
	if x.node != "" {
		n, err := x.client.CoreV1().Nodes().Get(ctx, x.node, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			return nil, fmt.Errorf("node %q not found: see kubectl get nodes", x.node)
		case apierrors.IsForbidden(err):
			return []corev1.Node{{ObjectMeta: metav1.ObjectMeta{Name: x.node}}}, nil
		case err != nil:
			return nil, err
		}
		return []corev1.Node{*n}, nil
	}
	list, err := x.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err == nil {
		return list.Items, nil
	}
	if !apierrors.IsForbidden(err) {
		return nil, err
	}
	pods, err := x.client.CoreV1().Pods(x.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		x.add("nodes", doctor.Unknown, "you may list neither nodes nor pods, so that it is not known where to try a tracer", "name a node with --node")
		return nil, nil
	}
	var nodes []corev1.Node
	for _, p := range pods.Items {
		if p.Spec.NodeName != "" && !slices.ContainsFunc(nodes, func(n corev1.Node) bool { return n.Name == p.Spec.NodeName }) {
			nodes = append(nodes, corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: p.Spec.NodeName}})
		}
	}
	x.add("nodes", doctor.OK, fmt.Sprintf("you may not list nodes: tried are those of the pods in namespace %s", x.namespace), "")
	return nodes, nil
}

// tryNodes has a tracer look at each node.
func (x *examination) tryNodes(ctx context.Context, nodes []corev1.Node) error {
	slices.SortFunc(nodes, func(a, b corev1.Node) int { return strings.Compare(a.Name, b.Name) })
	if more := len(nodes) - x.maxNodes; more > 0 {
		x.add("nodes", doctor.Unknown, fmt.Sprintf("%d of %d nodes are not tried (--max-nodes %d)", more, len(nodes), x.maxNodes), "")
		nodes = nodes[:x.maxNodes]
	}
	launcher := launch.New(ctx, x.client, x.tracerNamespace, newSessionID())
	defer launcher.Close()
	identity, err := session.NewIdentity()
	if err != nil {
		return err
	}
	commands := map[string]string{}
	for _, t := range tracings {
		commands[t.kind] = "trace " + t.name
	}
	results := make([][]doctor.Finding, len(nodes))
	slots := make(chan struct{}, examineAtOnce)
	var trying sync.WaitGroup
	for i := range nodes {
		usable := true
		if nodes[i].UID != "" { // it was read, and is not only a name
			results[i], usable = doctor.Node(&nodes[i])
		}
		name := nodes[i].Name
		if !usable {
			continue
		}
		if x.blocked != "" {
			results[i] = append(results[i], doctor.Finding{Node: name, Check: "tracer", Status: doctor.Unknown, Detail: "not tried, for: " + x.blocked})
			continue
		}
		trying.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			spec := x.spec(launcher.Session(), identity.PublicKey(), x.deadline)
			spec.Node, spec.Command, spec.Kernel = name, "doctor", nodes[i].Status.NodeInfo.KernelVersion
			x.gpu.add(&spec)
			report, err := x.try(ctx, launcher, &spec)
			if err != nil {
				f := doctor.Finding{Node: name, Check: "tracer", Status: doctor.Failure, Detail: err.Error()}
				if start := (*launch.StartError)(nil); errors.As(err, &start) {
					f.Detail, f.Mend = start.Reason+": "+start.Message, start.Mend
				}
				results[i] = append(results[i], f)
				return
			}
			results[i] = append(results[i], doctor.Report(name, report, x.privileged, commands)...)
		})
	}
	trying.Wait()
	for _, r := range results {
		x.findings = append(x.findings, r...)
	}
	return ctx.Err()
}

// try runs a doctor on one node and takes it away again.
func (x *examination) try(ctx context.Context, launcher *launch.Launcher, spec *launch.Spec) (report *session.Report, err error) {
	limited, cancel := context.WithTimeout(ctx, examineLimit)
	defer cancel()
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
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
	waits := ""
	pod, err := launcher.Running(limited, spec, func(s string) { waits = s })
	if err != nil {
		if ctx.Err() == nil && limited.Err() != nil {
			return nil, fmt.Errorf("no tracer after %v: %s", examineLimit, waits)
		}
		return nil, err
	}
	log, err := x.client.CoreV1().Pods(spec.Namespace).GetLogs(pod, &corev1.PodLogOptions{Container: launch.Container, Follow: true}).Stream(limited)
	if err != nil {
		return nil, fmt.Errorf("read the tracer's log: %w", err)
	}
	defer log.Close()
	return readReport(log)
}

func readReport(log io.Reader) (*session.Report, error) {
	lines := bufio.NewScanner(io.LimitReader(log, reportBytes))
	lines.Buffer(nil, reportBytes)
	said := ""
	for lines.Scan() {
		r, ok, err := session.ParseReport(lines.Text())
		switch {
		case err != nil:
			return nil, err
		case !ok:
			said = lines.Text()
			continue
		case r.Protocol != session.Protocol:
			return nil, fmt.Errorf("the tracer is %s and speaks protocol %d, this plugin is %s and speaks protocol %d: name an image of the same version with --image",
				r.Version, r.Protocol, version.Version(), session.Protocol)
		}
		return r, nil
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read the tracer's log: %w", err)
	}
	if said != "" {
		return nil, fmt.Errorf("the tracer reported nothing; its last word: %s", said)
	}
	return nil, errors.New("the tracer reported nothing: is its image of the same version?")
}

// verdict is the exit code.
func (x *examination) verdict() error {
	tried := map[string]bool{}
	for _, f := range x.findings {
		if f.Node != "" {
			tried[f.Node] = true
		}
	}
	see := "see above for what is wrong"
	if slices.ContainsFunc(x.findings, func(f doctor.Finding) bool { return f.Status == doctor.Failure && f.Mend != "" }) {
		see = "see above for what mends it"
	}
	cluster, nodes := doctor.Failed(x.findings)
	switch {
	case cluster > 0, len(nodes) > 0 && len(nodes) == len(tried):
		x.reporter.line("no session can run: %s", see)
		return &exitError{ExitError, nil}
	case len(nodes) > 0:
		x.reporter.line("%d of %s cannot be traced: %s", len(nodes), plural.Count(len(tried), "node"), see)
		return &exitError{ExitSomeFailed, nil}
	}
	x.reporter.line("%s can be traced", plural.Count(len(tried), "node"))
	return nil
}
