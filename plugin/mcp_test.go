package plugin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/jsonschema-go/jsonschema"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/plugin/internal/fakeapi"
)

// assistant is a client of `kubectl orb8 mcp`, which runs in this process.
type assistant struct {
	*sdk.ClientSession
	t      *testing.T
	errOut *bytes.Buffer
	ended  chan int
}

// connectMCP starts the command, and connects the SDK's client to its standard input and output.
func connectMCP(t *testing.T, args ...string) *assistant {
	t.Helper()
	in, toServer := io.Pipe()
	fromServer, out := io.Pipe()
	a := &assistant{t: t, errOut: &bytes.Buffer{}, ended: make(chan int, 1)}
	go func() {
		a.ended <- Main(append([]string{"mcp"}, args...), in, out, a.errOut)
		_ = out.Close()
	}()
	client := sdk.NewClient(&sdk.Implementation{Name: "test", Version: "1"}, nil)
	session, err := client.Connect(t.Context(), &sdk.IOTransport{Reader: fromServer, Writer: toServer}, nil)
	if err != nil {
		t.Fatalf("connect: %v; stderr: %s", err, a.errOut)
	}
	a.ClientSession = session
	t.Cleanup(func() {
		_ = session.Close()
		if code := <-a.ended; code != ExitOK {
			t.Errorf("exit code %d: %s", code, a.errOut)
		}
	})
	return a
}

// mcpAnswer is what an assistant reads of an answer.
type mcpAnswer struct {
	Notice   string            `json:"notice"`
	Rows     []json.RawMessage `json:"rows"`
	Status   []json.RawMessage `json:"status"`
	Messages []string          `json:"messages"`
	Error    *string           `json:"error"`
	ExitCode int               `json:"exitCode"`
	Cut      []struct {
		Limit   string `json:"limit"`
		LeftOut *int   `json:"leftOut"`
	} `json:"cut"`

	isError bool
	// summary is the text that is not data.
	summary, data string
}

// call calls a tool with arguments in JSON.
func (a *assistant) call(tool, arguments string) *mcpAnswer {
	a.t.Helper()
	r, err := a.CallTool(a.t.Context(), &sdk.CallToolParams{Name: tool, Arguments: json.RawMessage(arguments)})
	if err != nil {
		a.t.Fatalf("%s %s: %v", tool, arguments, err)
	}
	a.checkOutput(tool, r)
	return answerOf(a.t, r)
}

// checkOutput checks that the structured content is as the tool's schema describes it, as clients do.
func (a *assistant) checkOutput(tool string, r *sdk.CallToolResult) {
	a.t.Helper()
	for t, err := range a.Tools(a.t.Context(), nil) {
		if err != nil {
			a.t.Fatal(err)
		}
		if t.Name != tool || r.StructuredContent == nil {
			continue
		}
		raw, err := json.Marshal(t.OutputSchema)
		schema := new(jsonschema.Schema)
		if err = errors.Join(err, json.Unmarshal(raw, schema)); err != nil {
			a.t.Fatal(err)
		}
		resolved, err := schema.Resolve(nil)
		if err == nil {
			err = resolved.Validate(r.StructuredContent)
		}
		if err != nil {
			a.t.Errorf("%s: structured content: %v", tool, err)
		}
	}
}

func answerOf(t *testing.T, r *sdk.CallToolResult) *mcpAnswer {
	t.Helper()
	out := &mcpAnswer{isError: r.IsError, summary: r.Content[0].(*sdk.TextContent).Text}
	if len(r.Content) > 1 {
		out.data = r.Content[1].(*sdk.TextContent).Text
	}
	if r.StructuredContent == nil {
		return out
	}
	raw, err := json.Marshal(r.StructuredContent)
	if err == nil {
		err = json.Unmarshal(raw, out)
	}
	if err != nil {
		t.Fatalf("structured content: %v: %s", err, raw)
	}
	return out
}

func TestMCP_OffersToolsThatOnlyObserve(t *testing.T) {
	for args, want := range map[string][]string{
		"":                    {"columns", "diff", "doctor", "query", "status", "top", "trace", "why"},
		"--read-only-cluster": {"columns", "diff", "query", "status", "top", "trace", "why"},
		"--recordings " + t.TempDir(): {"columns", "diff", "doctor", "query", "replay", "status", "top", "trace",
			"why"},
		"-n demo --orb8-namespace other": {"columns", "diff", "doctor", "query", "status", "top", "trace", "why"},
	} {
		a := connectMCP(t, strings.Fields(args)...)
		list, err := a.ListTools(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, tool := range list.Tools {
			names = append(names, tool.Name)
			if n := tool.Annotations; !n.ReadOnlyHint || n.DestructiveHint == nil || *n.DestructiveHint {
				t.Errorf("%s: annotations %+v", tool.Name, n)
			}
			schema := tool.InputSchema.(map[string]any)
			if schema["additionalProperties"] == nil {
				t.Errorf("%s takes any arguments", tool.Name)
			}
		}
		if slices.Sort(names); !slices.Equal(names, want) {
			t.Errorf("%q offers %q, want %q", args, names, want)
		}
	}
}

func TestMCP_ReplaysARecording(t *testing.T) {
	path := recording(t, "dns")
	dir, file, _ := cutLast(path, "/")
	a := connectMCP(t, "--recordings", dir)

	list := a.call("replay", `{}`)
	if len(list.Rows) != 1 || !strings.Contains(string(list.Rows[0]), `"file":"`+file+`"`) || list.isError {
		t.Errorf("recordings: %s", list.Rows)
	}
	all := a.call("replay", `{"file":"`+file+`"}`)
	_, want, _ := orb8(t, nil, "replay", path, "-o", "json")
	checkSchema(t, all)
	var got strings.Builder
	for _, row := range append(all.Rows, all.Status...) {
		got.WriteString(canonical(t, row) + "\n")
	}
	var lines strings.Builder
	for line := range strings.Lines(want) {
		lines.WriteString(canonical(t, []byte(line)) + "\n")
	}
	if got.String() != lines.String() || all.isError || all.ExitCode != 0 {
		t.Errorf("rows\n%swant\n%s", &got, &lines)
	}
	if !strings.Contains(all.summary, "10 rows") || !strings.Contains(all.summary, "Events were lost") {
		t.Errorf("summary %q", all.summary)
	}
	few := a.call("replay", `{"file":"`+file+`","filter":"rcode == 'SERVFAIL'","fields":["name","pod"]}`)
	if len(few.Rows) != 1 || string(few.Rows[0]) != `{"kind":"dns","name":"n7.example.","pod":"web"}` {
		t.Errorf("rows %s", few.Rows)
	}
	top := a.call("replay", `{"file":"`+file+`","top":"dns","maxRows":3}`)
	if len(top.Rows) != 4 || !strings.Contains(string(top.Rows[0]), `"kind":"dnsTop"`) {
		t.Errorf("%d rows: %s", len(top.Rows), top.Rows)
	}
}

// checkSchema checks that rows are as the resources about columns describe them.
func checkSchema(t *testing.T, a *mcpAnswer) {
	t.Helper()
	for _, row := range append(slices.Clone(a.Rows), a.Status...) {
		var named struct{ Kind string }
		var value any
		if err := errors.Join(json.Unmarshal(row, &named), json.Unmarshal(row, &value)); err != nil {
			t.Fatal(err)
		}
		kind := event.KindByName(named.Kind)
		if kind == nil {
			t.Fatalf("a row without a kind: %s", row)
		}
		schema := new(jsonschema.Schema)
		if err := json.Unmarshal(event.SchemaOf(kind), schema); err != nil {
			t.Fatal(err)
		}
		resolved, err := schema.Resolve(nil)
		if err == nil {
			err = resolved.Validate(value)
		}
		if err != nil {
			t.Errorf("%s: %v", row, err)
		}
	}
}

// canonical is JSON without differences that mean nothing.
func canonical(t *testing.T, raw []byte) string {
	t.Helper()
	var v any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%v: %s", err, raw)
	}
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return "", s, false
	}
	return s[:i], s[i+len(sep):], true
}

func TestMCP_RefusesFlagsThatDoNotGoTogether(t *testing.T) {
	for args, want := range map[string]string{
		"--answer-bytes 1":                        "--answer-bytes 1: want 4096 to 1048576",
		"--read-only-cluster --image x":           "--image: only tracers have it, and --read-only-cluster starts none",
		"--recordings /nowhere":                   "--recordings: open",
		"--image-pull-policy Sometimes":           `--image-pull-policy "Sometimes"`,
		"--kubeconfig /nowhere":                   "/nowhere",
		"--read-only-cluster --tracer-labels a=b": "--tracer-labels: only tracers have it",
	} {
		code, out, errOut := run(t, append([]string{"mcp"}, strings.Fields(args)...)...)
		if code == ExitOK || out != "" || !strings.Contains(errOut, want) || strings.Count(errOut, "\n") != 1 {
			t.Errorf("%s: exit code %d, %q, want %q", args, code, errOut, want)
		}
	}
}

// selectServer writes a kubeconfig with a context for each API server, of which the first is the current one.
func selectServer(t *testing.T, path string, servers ...string) {
	t.Helper()
	var clusters, contexts strings.Builder
	for _, server := range servers {
		fmt.Fprintf(&clusters, "- {name: %q, cluster: {server: %[1]q}}\n", server)
		fmt.Fprintf(&contexts, "- {name: %q, context: {cluster: %[1]q, user: u}}\n", server)
	}
	if err := os.WriteFile(path, fmt.Appendf(nil,
		"apiVersion: v1\nkind: Config\ncurrent-context: %q\nusers: [{name: u}]\nclusters:\n%scontexts:\n%s",
		servers[0], &clusters, &contexts), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestMCP_KeepsTheContext selects another context while the server runs.
func TestMCP_KeepsTheContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kubeconfig")
	const first, second = "https://127.0.0.1:1", "https://127.0.0.1:2"
	selectServer(t, path, first, second)
	a := connectMCP(t, "--kubeconfig", path)
	selectServer(t, path, second, first)
	if answer := a.call("status", `{}`); answer.Error == nil || !strings.Contains(*answer.Error, first) {
		t.Errorf("answer %+v", answer)
	}
}

// TestMCP_PassesItsFlags has flags of mcp reach the commands that have them, and no others.
func TestMCP_PassesItsFlags(t *testing.T) {
	root := newRoot(genericiooptions.NewTestIOStreamsDiscard())
	cmd, _, err := root.Find([]string{"mcp"})
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.ParseFlags([]string{"-n", "demo", "--context=c", "--orb8-namespace=o", "--image=i", "--as-group=a,b",
		"--as-group=c", "--tracer-labels=x=1", "--read-only-cluster"}); err != nil {
		t.Fatal(err)
	}
	const user, tracer = "--as-group=a,b --as-group=c --context=c", " --image=i --namespace=demo"
	for words, want := range map[string]string{
		"trace":         user + tracer + " --orb8-namespace=o --tracer-labels=x=1",
		"query dns":     user + " --namespace=demo --orb8-namespace=o",
		"status":        user + " --namespace=o",
		"doctor":        user + tracer + " --tracer-labels=x=1",
		"top dns":       user + tracer + " --orb8-namespace=o --tracer-labels=x=1",
		"replay":        "",
		"past: top dns": user + " --namespace=demo --orb8-namespace=o",
	} {
		words, past := strings.CutPrefix(words, "past: ")
		target, _, err := root.Find(strings.Fields(words))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range ownFlags(cmd) {
			got = append(got, f.forCommand(target, past)...)
		}
		if slices.Sort(got); strings.Join(got, " ") != want {
			t.Errorf("%s (past: %t) gets %q, want %q", words, past, got, want)
		}
	}
}

func TestMCP_AgentsOnlyStartsNoTracer(t *testing.T) {
	api := fakeapi.New(t)
	path := filepath.Join(t.TempDir(), "kubeconfig")
	selectServer(t, path, api.Config().Host)
	a := connectMCP(t, "--kubeconfig", path, "--read-only-cluster")
	for tool, arguments := range map[string]string{
		"trace": `{"kinds":["dns"],"seconds":1}`, "top": `{"topic":"dns","seconds":1}`,
		"why": `{"topic":"gpu","seconds":5}`, "query": `{"kind":"dns"}`, "diff": `{"before":"1h"}`,
	} {
		if answer := a.call(tool, arguments); answer.Error == nil || !strings.Contains(*answer.Error, "not installed") {
			t.Errorf("%s: %+v", tool, answer)
		}
	}
	for _, r := range api.Requests() {
		if r.Verb != "get" && r.Verb != "list" && r.Verb != "watch" {
			t.Errorf("request %+v", r)
		}
	}
}

func TestMCP_HasPagesAndColumns(t *testing.T) {
	a := connectMCP(t)
	resources, err := a.ListResources(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	size, uris := 0, map[string]bool{}
	for _, r := range resources.Resources {
		uris[r.URI] = true
		read, err := a.ReadResource(t.Context(), &sdk.ReadResourceParams{URI: r.URI})
		if err != nil || len(read.Contents) != 1 || len(read.Contents[0].Text) != int(r.Size) ||
			r.Size == 0 || r.Title == "" {
			t.Fatalf("%+v: %v", r, err)
		}
		size += int(r.Size)
		if strings.HasPrefix(r.URI, "orb8://columns/") && !json.Valid([]byte(read.Contents[0].Text)) {
			t.Errorf("%s is no JSON", r.URI)
		}
	}
	for _, uri := range []string{"orb8://docs/trace-tcp", "orb8://docs/filters", "orb8://columns/flow",
		"orb8://columns/gpuVerdict"} {
		if !uris[uri] {
			t.Errorf("no %s", uri)
		}
	}
	if size > 300_000 {
		t.Errorf("%d bytes of resources", size)
	}
	if _, err := a.ReadResource(t.Context(), &sdk.ReadResourceParams{URI: "orb8://docs/../../etc/passwd"}); err == nil {
		t.Error("it reads any file")
	}
	columns := a.call("columns", `{"kind":"flow"}`)
	var names []string
	for _, row := range columns.Rows {
		var c struct{ Column, Type, Meaning string }
		if err := json.Unmarshal(row, &c); err != nil || c.Type == "" || c.Meaning == "" {
			t.Errorf("column %s: %v", row, err)
		}
		names = append(names, c.Column)
	}
	if !slices.Contains(names, "bytesSent") || !slices.Contains(names, "src.pod") {
		t.Errorf("columns %q", names)
	}
}
