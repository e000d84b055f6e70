package e2e

import (
	"cmp"
	"regexp"
	"strings"
	"testing"

	"github.com/orb8-dev/kubectl-orb8/e2e/kit"
)

// badInput is what cannot work.
type badInput struct {
	name string
	// kubeconfig; empty: the administrator's.
	kubeconfig string
	args       string
	code       int
	// says is a regular expression for the line.
	says string
}

// check types it, and holds the answer against what it should be.
func (b *badInput) check(t *testing.T, e *kit.Env) {
	t.Helper()
	kubeconfig := cmp.Or(b.kubeconfig, e.Kubeconfig)
	tr := e.TraceAs(t, kubeconfig, strings.Fields(b.args)...)
	if code := tr.Wait(t); code != b.code {
		t.Errorf("exit code %d, want %d", code, b.code)
	}
	stderr := tr.Stderr()
	if !regexp.MustCompile(b.says).MatchString(stderr) {
		t.Errorf("stderr says nothing like %q:\n%s", b.says, stderr)
	}
	// Two nodes may say on a few lines each how far they came.
	if n := strings.Count(stderr, "\n"); n > 14 {
		t.Errorf("%d lines on stderr, want a clear word:\n%s", n, stderr)
	}
	if strings.Contains(stderr, "goroutine ") {
		t.Errorf("stderr holds a stack:\n%s", stderr)
	}
	if n := tr.Lines(t); n != 0 && b.code != 0 {
		t.Errorf("%d lines on stdout", n)
	}
}

// TestBadInput types what cannot work. Each is answered with one clear line and the right exit code, and leaves
// nothing.
func TestBadInput(t *testing.T) {
	e := kit.Need(t)
	ns := busy(t, e)
	restricted := e.Namespace(t, map[string]string{"pod-security.kubernetes.io/enforce": "baseline"})
	nobody := e.User(t, "nobody")
	const usage, failed = 2, 1
	// The first come to nothing before anything is made, so that they may be typed side by side.
	before := e.Snapshot(t, false)
	t.Run("refused at once", func(t *testing.T) {
		for _, test := range []badInput{
			{name: "no kubeconfig", kubeconfig: "/nonexistent/kubeconfig", args: "trace network",
				code: failed, says: `kubeconfig|configuration`},
			{name: "cluster unreachable", args: "trace network --server https://127.0.0.1:1",
				code: failed, says: `127\.0\.0\.1:1.*refused`},
			{name: "no permission", kubeconfig: nobody, args: "trace network -n " + ns,
				code: failed, says: `list pods.*` + ns + `.*kubectl orb8 rbac -n ` + ns},
			{name: "no such namespace", args: "trace network -n missing",
				code: failed, says: `namespace "missing" not found`},
			{name: "no such pod", args: "trace network missing -n " + ns,
				code: failed, says: `pod "missing" not found in namespace`},
			{name: "no such deployment", args: "trace network deploy/missing -n " + ns,
				code: failed, says: `deployment "missing" not found`},
			{name: "no such node", args: "trace network --node missing -n " + ns,
				code: failed, says: `node "missing" not found`},
			{name: "not a kind", args: "trace network gadget/x -n " + ns, code: failed, says: `gadget`},
			{name: "selector that does not parse", args: "trace network -l a==b==c -n " + ns,
				code: usage, says: `selector.*a==b==c|a==b==c.*selector`},
			{name: "filter that does not parse", args: "trace network --filter src.pod=== -n " + ns,
				code: usage, says: `(?s)src\.pod===.*\^`},
			{name: "filter on an unknown field", args: `trace network --filter src.pot=="x" -n ` + ns,
				code: usage, says: `(?s)pot.*src\.pod`},
			{name: "filter that is no condition", args: "trace network --filter bytesSent -n " + ns,
				code: usage, says: `want true or false`},
			{name: "unknown output", args: "trace network -o jsn -n " + ns, code: usage, says: `jsn.*json`},
			{name: "unknown column", args: "trace network -o custom-columns=A:.src.pot -n " + ns,
				code: usage, says: `(?s)src\.pot.*src\.pod`},
			{name: "unknown column to sort by", args: "trace network --sort-by nope --duration 1s -n " + ns,
				code: usage, says: `(?s)nope.*bytesSent`},
			{name: "unknown flag", args: "trace network --colour", code: usage, says: `unknown flag: --colour`},
			{name: "unknown kind of trace", args: "trace smells", code: usage, says: `smells`},
		} {
			t.Run(test.name, func(t *testing.T) {
				t.Parallel()
				test.check(t, e)
			})
		}
	})
	before.NothingLeft(t)
	for _, test := range []badInput{
		{name: "no such image", args: "trace network --image 127.0.0.1:1/none:v1 -n " + ns,
			code: failed, says: `image.*127\.0\.0\.1:1/none:v1`},
		{name: "tracer of another version", args: "trace network --image " + kit.WorkloadImage + " -n " + ns,
			code: failed, says: `v99\.0\.0 speaks protocol 4096.*same version`},
		{name: "pod security", args: "trace network --tracer-namespace " + restricted + " -n " + ns,
			code: failed, says: `pod-security\.kubernetes\.io/enforce=privileged`},
		{name: "no such tracer namespace", args: "trace network --tracer-namespace missing -n " + ns,
			code: failed, says: `namespaces? "missing" not found`},
		{name: "nothing matches", args: "trace network -l app=missing --duration 1s -n " + ns,
			code: 0, says: `nothing matches pods with labels app=missing`},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := e.Snapshot(t, false)
			test.check(t, e)
			before.NothingLeft(t)
		})
	}
}
