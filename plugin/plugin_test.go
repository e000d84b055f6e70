package plugin

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/labels"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/orb8-dev/kubectl-orb8/cluster"
	"github.com/orb8-dev/kubectl-orb8/collect"
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/filter"
	"github.com/orb8-dev/kubectl-orb8/plugin/advice"
	"github.com/orb8-dev/kubectl-orb8/plugin/live"
	"github.com/orb8-dev/kubectl-orb8/plugin/model"
)

// run runs the plugin with a kubeconfig of an unreachable cluster.
func run(t *testing.T, args ...string) (code int, out, errOut string) {
	t.Helper()
	config := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(config, []byte(`apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://127.0.0.1:1"}}]
contexts: [{name: c, context: {cluster: c, user: u, namespace: shop}}]
users: [{name: u, user: {}}]
current-context: c
`), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBECONFIG", config)
	var stdout, stderr bytes.Buffer
	code = Main(args, strings.NewReader(""), &stdout, &stderr)
	return code, stdout.String(), stderr.String()
}

func TestUsageErrors_AreOneLine(t *testing.T) {
	for args, want := range map[string]string{
		"trcae":          `unknown command "trcae" for "kubectl orb8", did you mean "trace"?: see kubectl orb8 --help`,
		"trace nettwork": `unknown command "nettwork" for "kubectl orb8 trace", did you mean "network"?`,
		"trace network --colour": "unknown flag: --colour: see kubectl orb8 trace " +
			"network --help",
		"trace network --duration 5":                  `invalid argument "5" for "--duration"`,
		"trace network --duration=-1s":                "--duration -1s: want 0 or more",
		"trace network --interval 10ms":               "--interval 10ms: want 100ms or more",
		"trace network --tracer-resources memory=1Mi": "--tracer-resources memory=1Mi: want 64Mi or more",
		"trace network --tracer-resources cpu=much": "--tracer-resources cpu=much: want a quantity such as " +
			"cpu=500m or memory=128Mi",
		"trace network --tracer-resources disk=1Gi": "--tracer-resources disk=1Gi: want cpu or memory",
		"trace network --tracer-labels a/b/c=1":     "--tracer-labels a/b/c=1: the key is not valid: ",
		"trace network --tracer-labels team=a/b":    "--tracer-labels team=a/b: the value is not valid: ",
		"trace network --tracer-annotations orb8.dev/node=x": "--tracer-annotations orb8.dev/node=x: want another " +
			"key: kubectl orb8 sets this one itself",
		"trace network --max-nodes 0": "--max-nodes 0: want 1 or more",
		"trace network --image-pull-policy Sometimes": `--image-pull-policy "Sometimes": ` +
			`want Always, IfNotPresent or Never`,
		"trace network -l app=(web":                   `--selector "app=(web"`,
		"trace network --filter dst.prot==1":          "dst.port",
		"trace network -o xml":                        `unknown output "xml"`,
		"trace network -o custom-columns=A:.src.podd": "src.pod",
		"trace network --sort-by bytes":               "bytesSent",
		"why --window 4s":                             "--window 4s: want 5s to 1h0m0s",
		"why --nvml-library /lib/x":                   "unknown flag: --nvml-library",
		"why gpu --window 4s":                         "--window 4s: want 5s to 1h0m0s",
		"why gpu --window 2h":                         "--window 2h0m0s: want 5s to 1h0m0s",
		"why gpu --duration 5s":                       "--window says how long",
		"why gpu --sort-by=-gpus":                     "go with --output",
		"why gpu -o json --sort-by=-gpu":              "gpus",
		"why gpu --filter verdic==1":                  "verdict",
		"why gpu --nvml-library libnvidia-ml.so.1":    "want an absolute path on the nodes",
		"version -o xml":                              `--output "xml": want json`,
		"rbac":                                        "want one of --user, --group and --viewer",
		"rbac --user alice --group sre":               "want one of --user, --group and --viewer",
		"rbac --user alice --sensitive":               "--sensitive goes with --viewer",
		"rbac --viewer alice":                         `--viewer "alice": want user:NAME, group:NAME or sa:`,
		"rbac --viewer sa:alice":                      `--viewer "sa:alice": want user:NAME, group:NAME or sa:`,
		"rbac --viewer user:alice --user bob":         "--user does not go with --viewer",
		"install --dry-run=maybe":                     `--dry-run "maybe": want none, client or server`,
		"install -o json":                             `--output "json": want yaml`,
		"install --kinds flow,packets":                "--kinds packets: want some of flow, tcp",
		"install --replicas 0":                        "--replicas 0: want 1 to 16",
		"install --history-memory much":               `--history-memory "much": want a quantity such as 64Mi`,
		"install --history-memory 1k":                 "--history-memory 1k: want 1Mi to 16Gi",
		"install -n Orb8":                             "--namespace Orb8: want the name of a namespace",
		"install --timeout 0s":                        "--timeout 0s: want more than 0",
		"uninstall --timeout -1s":                     "--timeout -1s: want more than 0",
		"status -o yaml":                              `--output "yaml": want json`,
	} {
		code, out, errOut := run(t, strings.Fields(args)...)
		if code != ExitUsage || out != "" || !strings.HasPrefix(errOut, "error: ") || !strings.Contains(errOut, want) {
			t.Errorf("%s: exit code %d, stdout %q, stderr %q; want %d and %q", args, code, out, errOut, ExitUsage, want)
		}
	}
}

func TestTrace_UnreachableClusterIsOneError(t *testing.T) {
	code, out, errOut := run(t, "trace", "network")
	if code != ExitError || out != "" || strings.Count(errOut, "\n") != 1 ||
		!strings.Contains(errOut, "cluster unreachable at https://127.0.0.1:1") ||
		!strings.Contains(errOut, "kubectl cluster-info") {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, out, errOut)
	}
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	if code, _, errOut = run(t, "trace", "network", "--kubeconfig", os.DevNull); code != ExitError ||
		!strings.HasPrefix(errOut, "error: no kubeconfig: set KUBECONFIG") {
		t.Errorf("no kubeconfig: exit code %d, stderr %q", code, errOut)
	}
}

func TestVersion_PrintsJSON(t *testing.T) {
	code, out, _ := run(t, "version", "-o", "json")
	var v struct{ Version, TracerImage string }
	if err := json.Unmarshal([]byte(out), &v); code != ExitOK || err != nil || v.Version == "" ||
		!strings.HasSuffix(v.TracerImage, ":"+v.Version) {
		t.Errorf("exit code %d, %q, %v", code, out, err)
	}
}

func TestSelectorErrors_NamePosition(t *testing.T) {
	_, err := labels.Parse("app=web,x==y==z")
	if err == nil {
		t.Fatal("parsed")
	}
	if got := pointAt("app=web,x==y==z", err); !strings.HasSuffix(got, "(at column 10)") {
		t.Errorf("got %q", got)
	}
}

func TestExitCode(t *testing.T) {
	lost := []collect.Loss{{Node: "n", Stage: event.LossStage_LOSS_STAGE_QUEUE, Count: 1}}
	nameless := []collect.Loss{{Node: "n", Stage: event.LossStage_LOSS_STAGE_NAMING, Count: 1}}
	for name, test := range map[string]struct {
		err        error
		losses     []collect.Loss
		gaps       map[string]time.Duration
		failOnLoss bool
		want       int
	}{
		"done":                    {want: ExitOK},
		"stdout fails":            {err: os.ErrPermission, want: ExitError},
		"interrupted":             {err: live.ErrInterrupted, want: ExitInterrupted},
		"some failed":             {err: live.ErrSomeFailed, want: ExitSomeFailed},
		"all failed":              {err: live.ErrAllFailed, want: ExitError},
		"lost":                    {losses: lost, want: ExitOK},
		"lost, and that counts":   {losses: lost, failOnLoss: true, want: ExitLost},
		"a gap is a loss":         {gaps: map[string]time.Duration{"a": 1}, failOnLoss: true, want: ExitLost},
		"nameless is not lost":    {losses: nameless, failOnLoss: true, want: ExitOK},
		"interrupted before lost": {err: live.ErrInterrupted, losses: lost, failOnLoss: true, want: ExitInterrupted},
	} {
		t.Run(name, func(t *testing.T) {
			c := &traceConfig{failOnLoss: test.failOnLoss}
			err := c.exit(&advice.Tally{Losses: test.losses, Gaps: test.gaps}, test.err)
			exit := (*exitError)(nil)
			got := ExitOK
			switch {
			case errors.As(err, &exit):
				got = exit.code
			case err != nil:
				got = ExitError
			}
			if got != test.want {
				t.Errorf("exit code %d (%v), want %d", got, err, test.want)
			}
		})
	}
}

func TestForbidden_NamesTheGrant(t *testing.T) {
	got := explain(&cluster.ForbiddenError{Verb: "create", Resource: "jobs", Namespace: "shop"})
	want := `forbidden: may not create jobs in namespace "shop"; an administrator grants it with: ` +
		`kubectl orb8 rbac -n shop --user=USER | kubectl apply -f -`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestCommands_TraceEveryKind(t *testing.T) {
	for _, k := range event.Kinds() {
		traced := slices.ContainsFunc(traceCommands, func(tr traceCommand) bool {
			return tr.kind == k.Name ||
				tr.summary == k.Name
		})
		topped := slices.ContainsFunc(model.Topics(), func(t *model.Topic) bool { return t.Row == k }) ||
			slices.Contains(
				[]string{"gpuVerdict", "podVerdict", "podState", "serviceState", "flowSum", "difference"},
				k.Name,
			) // of why, query, diff
		if topped != k.Row {
			t.Errorf("%s is a row %v, but one of a topic %v", k.Name, k.Row, topped)
		}
		switch own := k.Name == "lost" || k.Name == "nodeStatus"; {
		case k.Name == "packet": // of capture
		case !traced && !own && !topped:
			t.Errorf("no command traces the kind %q: add it to traceCommands in plugin/trace.go", k.Name)
		case traced && (own || topped):
			t.Errorf("%s is traced, and also a row of top or of every session", k.Name)
		}
	}
}

func TestCommands_CoverEveryTopic(t *testing.T) {
	page, err := os.ReadFile("../docs/top.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, topic := range model.Topics() {
		if !slices.Contains(topic.Row.Column("group").Enum, topic.Groups[0].Name) ||
			len(topic.Groups) != len(topic.Row.Column("group").Enum) {
			t.Errorf("%s: the groups %v are not the words of the column, %v", topic.Name, groupNames(topic),
				topic.Row.Column("group").Enum)
		}
		for _, source := range topic.Sources {
			if event.KindByName(source) == nil {
				t.Errorf("%s takes events of the kind %q, which there is not", topic.Name, source)
			}
		}
		for _, want := range []string{"$ kubectl orb8 top " + topic.Name, "`" + topic.Row.Name + "`",
			"- `" + topic.Name + "`"} {
			if !strings.Contains(string(page), want) {
				t.Errorf("docs/top.md has no %q", want)
			}
		}
		for _, g := range topic.Groups {
			if !strings.Contains(string(page), g.Name) {
				t.Errorf("docs/top.md does not name the group %q of %s", g.Name, topic.Name)
			}
		}
		if topic.Row.Column(topic.Sort) == nil || !slices.ContainsFunc(topCommands,
			func(what topCommand) bool { return what.name == topic.Name }) {
			t.Errorf("%s has no command, or no column %q to sort by", topic.Name, topic.Sort)
		}
	}
}

func TestCommands_AreDocumented(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	security, err := os.ReadFile("../docs/SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	_, shows, _ := strings.Cut(string(security), "\n## What a trace shows\n")
	shows, _, _ = strings.Cut(strings.ReplaceAll(shows, "\n", " "), " ## ")
	for _, tr := range traceCommands {
		if !strings.Contains(string(readme), "(docs/trace-"+tr.name+".md)") {
			t.Errorf("README.md does not list trace %s", tr.name)
		}
		if !regexp.MustCompile("[` ]" + tr.name + "`").MatchString(shows) {
			t.Errorf("docs/SECURITY.md, What a trace shows, does not name trace %s", tr.name)
		}
		page, err := os.ReadFile("../docs/trace-" + tr.name + ".md")
		if err != nil {
			t.Errorf("write the page of trace %s (see docs/adding-a-probe.md): %v", tr.name, err)
			continue
		}
		for _, want := range []string{
			"# kubectl orb8 trace " + tr.name, "$ kubectl orb8 trace " + tr.name, "columns.md#" +
				strings.ToLower(tr.kind), "\n## Cost\n",
		} {
			if !strings.Contains(string(page), want) {
				t.Errorf("docs/trace-%s.md has no %q", tr.name, want)
			}
		}
	}
}

func TestCommands_HaveEndToEndTests(t *testing.T) {
	files, err := filepath.Glob("../e2e/*_test.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("no end-to-end tests: %v", err)
	}
	var suite []byte
	for _, file := range files {
		code, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		suite = append(suite, code...)
	}
	for _, tr := range traceCommands {
		if !regexp.MustCompile(`"trace",\s+"(\w+,)*` + tr.name + `(,\w+)*"`).Match(suite) {
			t.Errorf("no end-to-end test runs trace %s (events of the kind %s): write e2e/%[1]s_test.go", tr.name,
				tr.kind)
		}
	}
}

func TestTrace_SeveralKinds(t *testing.T) {
	cmd := newTraceCommand(genericiooptions.NewTestIOStreamsDiscard())
	if kinds, err := parseKinds(cmd, "network,net,flows"); err != nil || !slices.Equal(kinds, []string{"flow"}) {
		t.Errorf("got %v, %v", kinds, err)
	}
	for list, want := range map[string]string{
		"network,":         "a kind is empty",
		",":                "a kind is empty",
		"network,nettwork": `unknown command "nettwork"`,
	} {
		if _, err := parseKinds(cmd, list); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", list, err, want)
		}
	}
}

// filterExample is a command with a filter, in help or on a page.
var filterExample = regexp.MustCompile(`kubectl orb8 (trace|replay|why|top) ([\w.,-]+)[^\n']*--filter[= ]'([^']*)'`)

func TestCommands_FilterExamplesCompile(t *testing.T) {
	var files []string
	for _, pattern := range []string{"*.go", "../docs/*.md", "../README.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	examples := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range filterExample.FindAllStringSubmatch(string(text), -1) {
			examples++
			if _, err := filter.Compile(m[3], exampleKinds(m[1], m[2])); err != nil {
				t.Errorf("%s: %s: %v", file, m[0], err)
			}
		}
	}
	if examples < 20 {
		t.Errorf("%d examples, want 20 or more", examples)
	}
}

// exampleKinds are the kinds of events of a command with its first argument.
func exampleKinds(command, argument string) (kinds []*event.Kind) {
	switch command {
	case "replay":
		return event.Kinds()
	case "why":
		if argument == "gpu" {
			return []*event.Kind{event.KindByName("gpuVerdict")}
		}
		return []*event.Kind{event.KindByName("podVerdict")}
	case "top":
		for _, topic := range model.Topics() {
			if topic.Name == argument {
				for _, source := range topic.Sources {
					kinds = append(kinds, event.KindByName(source))
				}
			}
		}
		return kinds
	}
	for name := range strings.SplitSeq(argument, ",") {
		for _, tr := range traceCommands {
			if tr.name == name {
				kinds = append(kinds, event.KindByName(tr.kind))
			}
		}
	}
	return kinds
}
