package doctor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	k8stesting "k8s.io/client-go/testing"

	"github.com/orb8-dev/kubectl-orb8/event/session"
	"github.com/orb8-dev/kubectl-orb8/internal/kube/kubefake"
	"github.com/orb8-dev/kubectl-orb8/plugin/launch"
)

// fakeLauncher starts tracers that exist in the test only.
type fakeLauncher struct {
	mu      sync.Mutex
	specs   []launch.Spec
	deleted []string
	running func(ctx context.Context, spec *launch.Spec, progress func(string)) (string, error)
	// deleteErr is the error of Delete.
	deleteErr error
}

func (l *fakeLauncher) Create(_ context.Context, spec *launch.Spec) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.specs = append(l.specs, *spec)
	return nil
}

func (l *fakeLauncher) Running(ctx context.Context, s *launch.Spec, progress func(string)) (string, error) {
	if l.running != nil {
		return l.running(ctx, s, progress)
	}
	return "pod-" + s.Node, nil
}

func (l *fakeLauncher) Extend(context.Context, string, time.Duration) error { return nil }
func (l *fakeLauncher) Shared(string) bool                                  { return false }
func (l *fakeLauncher) Close()                                              {}
func (l *fakeLauncher) Delete(_ context.Context, job string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.deleted = append(l.deleted, job)
	return l.deleteErr
}

// harness is an examination of fakes.
type harness struct {
	client   *kubefake.Client
	launcher *fakeLauncher
	config   Config
	// log is the tracers' log; denied are the user's missing rights, as "verb resource".
	log    func(pod string) string
	denied map[string]bool
}

func reportLine(change func(*session.Report)) string {
	r := session.Report{
		Protocol: session.Protocol, Kernel: "6.1.0", Arch: "x86_64", BTF: true, Cgroup: "unified",
		Probes: []session.ProbeReport{{Kind: "flow", Hooks: []string{"cgroup_skb"}}},
	}
	change(&r)
	return "time=now level=INFO\n" + r.Line() + "\n"
}

func newHarness(nodes ...string) *harness {
	h := &harness{
		client: kubefake.New(), launcher: &fakeLauncher{}, denied: map[string]bool{},
		config: Config{
			Host: "https://api", Namespace: "demo", Spec: launch.Spec{Namespace: "demo", Image: "tracer"}, MaxNodes: 50,
			Commands: map[string]string{"flow": "trace network"}, Grant: "kubectl orb8 rbac -n demo --user=USER",
		},
		log: func(string) string { return reportLine(func(*session.Report) {}) },
	}
	for _, name := range nodes {
		n := node(func(n *corev1.Node) { n.Name, n.UID = name, "x" })
		if err := h.client.Tracker().Add(n); err != nil {
			panic(err)
		}
	}
	h.client.PrependReactor("create", "selfsubjectaccessreviews",
		func(action k8stesting.Action) (bool, runtime.Object, error) {
			review := action.(k8stesting.CreateAction).GetObject().(*authorizationv1.SelfSubjectAccessReview)
			a := review.Spec.ResourceAttributes
			review.Status.Allowed = !h.denied[a.Verb+" "+a.Resource]
			return true, review, nil
		})
	return h
}

func (h *harness) examine(ctx context.Context) ([]Finding, error) {
	return Examine(ctx, h.config, Dependencies{
		Client: h.client,
		Launch: func(context.Context, string) Launcher { return h.launcher },
		Log: func(_ context.Context, pod string) (io.ReadCloser, error) {
			text := h.log(pod)
			if text == "" {
				return nil, errors.New("read the tracer's log: gone")
			}
			return io.NopCloser(strings.NewReader(text)), nil
		},
	})
}

// fail makes the cluster refuse a verb on a resource.
func (h *harness) fail(verb, resource string, err error) {
	h.client.PrependReactor(verb, resource, func(k8stesting.Action) (bool, runtime.Object, error) {
		return true, nil,
			err
	})
}

// find returns the first finding of a check.
func find(t *testing.T, findings []Finding, node, check string) Finding {
	t.Helper()
	i := slices.IndexFunc(findings, func(f Finding) bool { return f.Node == node && f.Check == check })
	if i < 0 {
		t.Fatalf("no finding %q of node %q in %+v", check, node, findings)
	}
	return findings[i]
}

func forbidden(resource, message string) error {
	return apierrors.NewForbidden(schema.GroupResource{Resource: resource}, "x", errors.New(message))
}

func TestExamine_NoFailures(t *testing.T) {
	h := newHarness("n2", "n1")
	findings, err := h.examine(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range findings {
		if f.Status != OK {
			t.Errorf("%+v", f)
		}
	}
	if f := find(t, findings, "n1", "trace network"); f.Detail != "cgroup_skb" {
		t.Errorf("%+v", f)
	}
	if line, err := Verdict(findings); err != nil || line != "2 nodes can be traced" {
		t.Errorf("%q, %v", line, err)
	}
	if len(h.launcher.deleted) != 2 || len(h.launcher.specs) != 2 {
		t.Fatalf("%d Jobs created, %d deleted", len(h.launcher.specs), len(h.launcher.deleted))
	}
	for _, s := range h.launcher.specs {
		if s.Command != "doctor" || s.Kernel != "6.1.0-18-cloud-arm64" || s.Deadline != time.Minute || s.Session == "" {
			t.Errorf("spec %+v", s)
		}
	}
}

func TestExamine_MissingRights(t *testing.T) {
	h := newHarness("n1")
	h.denied["create jobs"], h.denied["patch jobs"] = true, true
	findings, err := h.examine(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f := find(t, findings, "", "permission: jobs.batch")
	if f.Status != Failure || f.Fix != h.config.Grant || !strings.HasPrefix(f.Detail,
		"may not create, patch jobs.batch") {
		t.Errorf("%+v", f)
	}
	f = find(t, findings, "n1", "tracer")
	if f.Status != Unknown || f.Detail != "not tried, for: permission: jobs.batch" || len(h.launcher.specs) > 0 {
		t.Errorf("%+v; %d Jobs", f, len(h.launcher.specs))
	}
	if line, err := Verdict(findings); !errors.Is(err, ErrNoSession) ||
		line != "no session can run: see above for what fixes it" {
		t.Errorf("%q, %v", line, err)
	}
}

func TestExamine_RightsOfBothNamespaces(t *testing.T) {
	h := newHarness("n1")
	h.config.Spec.Namespace = "tracers"
	h.denied["list events"] = true
	findings, err := h.examine(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if f := find(t, findings, "", "permission: services"); !strings.HasSuffix(f.Detail, "in namespace demo") {
		t.Errorf("%+v", f)
	}
	if f := find(t, findings, "", "permission: events"); f.Status != Warning ||
		!strings.Contains(f.Detail, "in namespace tracers") {
		t.Errorf("%+v", f)
	}
}

func TestExamine_RightsUnknown(t *testing.T) {
	h := newHarness("n1")
	h.fail("create", "selfsubjectaccessreviews", errors.New("no\x1b"))
	findings, err := h.examine(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f := find(t, findings, "", "permission: pods")
	if f.Status != Unknown || f.Detail != `the cluster does not answer access reviews: no\x1b` {
		t.Errorf("%+v", f)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.examine(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
}

func TestExamine_Admission(t *testing.T) {
	for name, test := range map[string]struct {
		err    error
		status Status
		detail string
	}{
		"no namespace": {
			apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, "demo"), Failure,
			`namespace "demo" not found`,
		},
		"no right": {forbidden("pods", "User cannot create resource \"pods\""), Unknown,
			"you may not create pods yourself"},
		"quota":    {forbidden("pods", "exceeded quota: small"), Failure, "quota: "},
		"no route": {errors.New("no route to host"), Failure, "no route to host"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness("n1")
			h.fail("create", "pods", test.err)
			findings, err := h.examine(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			f := find(t, findings, "", "admission: pod")
			if f.Status != test.status || !strings.HasPrefix(f.Detail, test.detail) {
				t.Errorf("%+v", f)
			}
		})
	}
}

func TestExamine_Nodes(t *testing.T) {
	pods := func(h *harness) {
		for i, on := range []string{"n1", "n1", "", "n3"} {
			p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint(i), Namespace: "demo"}}
			p.Spec.NodeName = on
			if err := h.client.Tracker().Add(p); err != nil {
				panic(err)
			}
		}
	}
	for name, test := range map[string]struct {
		change func(*harness)
		tried  []string
		err    string
		finds  string // the detail of the finding "nodes"
	}{
		"one": {func(h *harness) { h.config.Node = "n2" }, []string{"n2"}, "", ""},
		"one not there": {func(h *harness) { h.config.Node = "n9" }, nil, `node "n9" not found: see kubectl get nodes`,
			""},
		"one by its name": {func(h *harness) { h.config.Node = "n2"; h.fail("get", "nodes", forbidden("nodes", "no")) },
			[]string{"n2"}, "", ""},
		"one, no route": {func(h *harness) { h.config.Node = "n2"; h.fail("get", "nodes", errors.New("no route")) },
			nil,
			"no route", ""},
		"all, no route": {func(h *harness) { h.fail("list", "nodes", errors.New("no route")) }, nil, "no route", ""},
		"bounded": {func(h *harness) { h.config.MaxNodes = 1 }, []string{"n1"}, "",
			"1 of 2 nodes are not tried (--max-nodes 1)"},
		"those of pods": {
			func(h *harness) { pods(h); h.fail("list", "nodes", forbidden("nodes", "no")) }, []string{"n1", "n3"}, "",
			"you may not list nodes: tried are those of the pods in namespace demo",
		},
		"neither": {
			func(h *harness) { h.fail("list", "*", forbidden("nodes", "no")) }, nil, "",
			"you may list neither nodes nor pods, so that it is not known where to try a tracer",
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness("n1", "n2")
			test.change(h)
			findings, err := h.examine(t.Context())
			if test.err != "" {
				if err == nil || err.Error() != test.err {
					t.Errorf("got %v, want %s", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var tried []string
			for _, s := range h.launcher.specs {
				tried = append(tried, s.Node)
			}
			if slices.Sort(tried); !slices.Equal(tried, test.tried) {
				t.Errorf("tried %q, want %q", tried, test.tried)
			}
			if test.finds != "" {
				if f := find(t, findings, "", "nodes"); f.Detail != test.finds {
					t.Errorf("%+v", f)
				}
			}
		})
	}
}

func TestExamine_SkipsUnusableNode(t *testing.T) {
	h := newHarness("n1")
	old := node(func(n *corev1.Node) { n.Name, n.UID, n.Status.NodeInfo.KernelVersion = "old", "x", "5.4.0" })
	if err := h.client.Tracker().Add(old); err != nil {
		t.Fatal(err)
	}
	findings, err := h.examine(t.Context())
	if err != nil || len(h.launcher.specs) != 1 || find(t, findings, "old", "kernel").Status != Failure {
		t.Errorf("%v, %d Jobs, %+v", err, len(h.launcher.specs), findings)
	}
	if line, err := Verdict(findings); !errors.Is(err, ErrSomeNodes) ||
		line != "1 of 2 nodes cannot be traced: see above for what fixes it" {
		t.Errorf("%q, %v", line, err)
	}
}

func TestExamine_TracerFails(t *testing.T) {
	start := &launch.StartError{Reason: "image", Message: "no such image", Fix: "name another"}
	for name, test := range map[string]struct {
		change func(*harness)
		want   Finding
	}{
		"to start": {
			func(h *harness) {
				h.launcher.running = func(context.Context, *launch.Spec, func(string)) (string, error) {
					return "",
						start
				}
			},
			Finding{Detail: "image: no such image", Fix: "name another"},
		},
		"to be deleted": {
			func(h *harness) { h.launcher.deleteErr = errors.New("no") }, Finding{Detail: "delete job JOB: no"},
		},
		"to have a log": {func(h *harness) { h.log = func(string) string { return "" } },
			Finding{Detail: "read the tracer's log: gone"}},
		"to report": {
			func(h *harness) { h.log = func(string) string { return "no BTF\n" } },
			Finding{Detail: "the tracer reported nothing; its last word: no BTF"},
		},
		"to log": {
			func(h *harness) { h.log = func(string) string { return "\n" } },
			Finding{Detail: "the tracer reported nothing: is its image of the same version?"},
		},
		"to be of this version": {
			func(h *harness) {
				h.log = func(string) string {
					return reportLine(func(r *session.Report) {
						r.Protocol, r.Version = 999,
							"v9"
					})
				}
			},
			Finding{Detail: "the tracer is v9 and speaks protocol 999"},
		},
		"to be short": {
			func(h *harness) { h.log = func(string) string { return strings.Repeat("x", 2*maxReportBytes) } },
			Finding{Detail: "read the tracer's log: bufio.Scanner: token too long"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness("n1")
			test.change(h)
			findings, err := h.examine(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			f := find(t, findings, "n1", "tracer")
			want := strings.Replace(test.want.Detail, "JOB", h.launcher.specs[0].JobName(), 1)
			if f.Status != Failure || !strings.HasPrefix(f.Detail, want) || f.Fix != test.want.Fix ||
				len(h.launcher.deleted) != 1 {
				t.Errorf("%+v, want %+v; %d Jobs deleted", f, test.want, len(h.launcher.deleted))
			}
		})
	}
}

func TestExamine_SlowNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness("n1", "n2")
		h.launcher.running = func(ctx context.Context, s *launch.Spec, progress func(string)) (string, error) {
			if s.Node == "n2" {
				return "pod-n2", nil
			}
			progress("pulling the image")
			<-ctx.Done()
			return "", ctx.Err()
		}
		findings, err := h.examine(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if f := find(t, findings, "n1", "tracer"); f.Detail != "no tracer after 2m0s: pulling the image" {
			t.Errorf("%+v", f)
		}
		find(t, findings, "n2", "trace network")
	})
}

func TestExamine_Interrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness("n1")
		ctx, interrupt := context.WithCancel(t.Context())
		h.launcher.running = func(ctx context.Context, _ *launch.Spec, _ func(string)) (string, error) {
			interrupt()
			<-ctx.Done()
			return "", ctx.Err()
		}
		if _, err := h.examine(ctx); !errors.Is(err, context.Canceled) || len(h.launcher.deleted) != 1 {
			t.Errorf("got %v; %d Jobs deleted", err, len(h.launcher.deleted))
		}
	})
}

func TestExamine_UnreachableCluster(t *testing.T) {
	h := newHarness("n1")
	h.config.Spec.RuntimeClass = launch.RuntimeClassAuto
	h.fail("get", "runtimeclasses", errors.New("no route"))
	if _, err := h.examine(t.Context()); err == nil || err.Error() != "no route" {
		t.Errorf("got %v", err)
	}
}
