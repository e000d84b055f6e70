package e2e

import (
	"cmp"
	"regexp"
	"strings"
	"testing"

	"github.com/orb8-dev/kubectl-orb8/e2e/kit"
)

// badInput is a command line that fails, and its expected result.
type badInput struct {
	name string
	// kubeconfig; empty: the administrator's.
	kubeconfig string
	args       string
	code       int
	// stderr is a regular expression for the line on stderr.
	stderr string
}

// check runs the command and checks its exit code, stderr and stdout.
func (b *badInput) check(t *testing.T, e *kit.Env) {
	t.Helper()
	kubeconfig := cmp.Or(b.kubeconfig, e.Kubeconfig)
	tr := e.TraceAs(t, kubeconfig, strings.Fields(b.args)...)
	if code := tr.Wait(t); code != b.code {
		t.Errorf("exit code %d, want %d", code, b.code)
	}
	stderr := tr.Stderr()
	if !regexp.MustCompile(b.stderr).MatchString(stderr) {
		t.Errorf("stderr has no match of %q:\n%s", b.stderr, stderr)
	}
	// Two nodes may print a few lines of progress each.
	if n := strings.Count(stderr, "\n"); n > 14 {
		t.Errorf("%d lines on stderr, want at most 14:\n%s", n, stderr)
	}
	if strings.Contains(stderr, "goroutine ") {
		t.Errorf("stderr has a stack trace:\n%s", stderr)
	}
	if n := tr.Lines(t); n != 0 && b.code != 0 {
		t.Errorf("%d lines on stdout", n)
	}
}

// TestBadInput runs commands that fail. Each prints one clear line, exits with the right code and leaves nothing in the
// cluster.
func TestBadInput(t *testing.T) {
	e := kit.Need(t)
	ns := busy(t, e)
	restricted := e.Namespace(t, map[string]string{"pod-security.kubernetes.io/enforce": "baseline"})
	nobody := e.User(t, "nobody")
	const usage, failed = 2, 1
	// The first ones fail before they create an object, so they can run in parallel.
	before := e.Snapshot(t, false)
	t.Run("refused at once", func(t *testing.T) {
		for _, test := range []badInput{
			{name: "no kubeconfig", kubeconfig: "/nonexistent/kubeconfig", args: "trace network",
				code: failed, stderr: `kubeconfig|configuration`},
			{name: "cluster unreachable", args: "trace network --server https://127.0.0.1:1",
				code: failed, stderr: `127\.0\.0\.1:1.*refused`},
			{name: "no permission", kubeconfig: nobody, args: "trace network -n " + ns,
				code: failed, stderr: `list pods.*` + ns + `.*kubectl orb8 rbac -n ` + ns},
			{name: "no such namespace", args: "trace network -n missing",
				code: failed, stderr: `namespace "missing" not found`},
			{name: "no such pod", args: "trace network missing -n " + ns,
				code: failed, stderr: `pod "missing" not found in namespace`},
			{name: "no such deployment", args: "trace network deploy/missing -n " + ns,
				code: failed, stderr: `deployment "missing" not found`},
			{name: "no such node", args: "trace network --node missing -n " + ns,
				code: failed, stderr: `node "missing" not found`},
			{name: "not a kind", args: "trace network gadget/x -n " + ns, code: failed, stderr: `gadget`},
			{name: "selector that does not parse", args: "trace network -l a==b==c -n " + ns,
				code: usage, stderr: `selector.*a==b==c|a==b==c.*selector`},
			{name: "filter that does not parse", args: "trace network --filter src.pod=== -n " + ns,
				code: usage, stderr: `(?s)src\.pod===.*\^`},
			{name: "filter on an unknown field", args: `trace network --filter src.pot=="x" -n ` + ns,
				code: usage, stderr: `(?s)pot.*src\.pod`},
			{name: "filter that is no condition", args: "trace network --filter bytesSent -n " + ns,
				code: usage, stderr: `want true or false`},
			{name: "unknown output", args: "trace network -o jsn -n " + ns, code: usage, stderr: `jsn.*json`},
			{name: "unknown column", args: "trace network -o custom-columns=A:.src.pot -n " + ns,
				code: usage, stderr: `(?s)src\.pot.*src\.pod`},
			{name: "unknown column to sort by", args: "trace network --sort-by nope --duration 1s -n " + ns,
				code: usage, stderr: `(?s)nope.*bytesSent`},
			{name: "unknown flag", args: "trace network --colour", code: usage, stderr: `unknown flag: --colour`},
			{name: "unknown kind of trace", args: "trace smells", code: usage, stderr: `smells`},
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
			code: failed, stderr: `image.*127\.0\.0\.1:1/none:v1`},
		{name: "tracer of another version", args: "trace network --image " + kit.WorkloadImage + " -n " + ns,
			code: failed, stderr: `v99\.0\.0 speaks protocol 4096.*same version`},
		{name: "pod security", args: "trace network --tracer-namespace " + restricted + " -n " + ns,
			code: failed, stderr: `pod-security\.kubernetes\.io/enforce=privileged`},
		{name: "no such tracer namespace", args: "trace network --tracer-namespace missing -n " + ns,
			code: failed, stderr: `namespaces? "missing" not found`},
		{name: "nothing matches", args: "trace network -l app=missing --duration 1s -n " + ns,
			code: 0, stderr: `nothing matches pods with labels app=missing`},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := e.Snapshot(t, false)
			test.check(t, e)
			before.NothingLeft(t)
		})
	}
}
