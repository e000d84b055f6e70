package plugin

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/orb8-dev/kubectl-orb8/plugin/complete"
	"github.com/orb8-dev/kubectl-orb8/plugin/internal/fakeapi"
)

func TestCompletions_EveryFlagHasOne(t *testing.T) {
	functions := flagCompletions(&complete.Cluster{})
	unused := map[string]bool{}
	for key := range functions {
		unused[key] = true
	}
	for _, flag := range freeText {
		unused["free text "+flag] = true
	}
	values := 0
	eachCommand(NewCommand(genericiooptions.NewTestIOStreamsDiscard()), func(cmd *cobra.Command) {
		if cmd.ValidArgsFunction == nil {
			t.Errorf("%s: its arguments do not complete", cmd.CommandPath())
		}
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if f.NoOptDefVal != "" {
				return // without a value
			}
			values++
			own, common := name(cmd)+" --"+f.Name, "--"+f.Name
			delete(unused, own)
			if _, found := functions[own]; !found {
				delete(unused, common)
				delete(unused, "free text "+f.Name)
			}
			if _, found := cmd.GetFlagCompletionFunc(f.Name); !found {
				t.Errorf("%s --%s: its value does not complete: add it to flagCompletions or to freeText, in "+
					"plugin/completions.go", cmd.CommandPath(), f.Name)
			}
			if functions[common] != nil && slices.Contains(freeText, f.Name) {
				t.Errorf("--%s has a completion, and is free text", f.Name)
			}
		})
	})
	if len(unused) > 0 || values < 100 {
		t.Errorf("%d flags with values; there are no flags for the completions %v", values, unused)
	}
}

// shop is a kubeconfig for an API server, whose context has the namespace shop.
func shop(t *testing.T, url string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: east, cluster: {server: %q}}, {name: west, cluster: {server: "https://127.0.0.1:1"}}]
contexts:
- {name: team@east, context: {cluster: east, user: alice, namespace: shop}}
- {name: team@west, context: {cluster: west, user: bob, namespace: lab}}
- {name: "bad$(reboot)", context: {cluster: west, user: bob}}
users: [{name: alice, user: {}}, {name: bob, user: {}}]
current-context: team@east
`, url)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// fill stores the objects that are completed, and some with hostile names.
func fill(t *testing.T, server *fakeapi.Server) {
	t.Helper()
	for _, object := range []string{
		"{apiVersion: v1, kind: Namespace, metadata: {name: shop}}",
		"{apiVersion: v1, kind: Namespace, metadata: {name: storage}}",
		"{apiVersion: v1, kind: Node, metadata: {name: node-1, labels: {zone: a}}}",
		`{apiVersion: v1, kind: Pod, metadata: {name: web-0, namespace: shop, labels: {app: web}},
		  spec: {containers: [{name: nginx}, {name: logger}]}}`,
		`{apiVersion: v1, kind: Pod, metadata: {name: db-0, namespace: shop, labels: {app: db}},
		  spec: {containers: [{name: postgres}], initContainers: [{name: prepare}]}}`,
		"{apiVersion: v1, kind: Pod, metadata: {name: disk-0, namespace: storage}}",
		"{apiVersion: apps/v1, kind: Deployment, metadata: {name: web, namespace: shop}}",
		"{apiVersion: v1, kind: Service, metadata: {name: web-front, namespace: shop}}",
		"{apiVersion: node.k8s.io/v1, kind: RuntimeClass, metadata: {name: nvidia}, handler: nvidia}",
		`{apiVersion: v1, kind: Pod, metadata: {name: "web-\u001b[2J", namespace: shop}}`,
		`{apiVersion: v1, kind: Pod, metadata: {name: "web-$(reboot)", namespace: shop}}`,
		`{apiVersion: v1, kind: Pod, metadata: {name: "web-\n:0", namespace: shop}}`,
	} {
		server.PutYAML(t, object)
	}
}

// checkCompletions completes lines, and compares the words and the directive.
func checkCompletions(t *testing.T, kubeconfig string, lines map[string]string) {
	t.Helper()
	for line, want := range lines {
		if got := completeWords(t, kubeconfig, line); got != want {
			t.Errorf("%q:\n got %q\nwant %q", line, got, want)
		}
	}
}

// completeWords returns what completes the last word, without descriptions, and the directive.
func completeWords(t *testing.T, kubeconfig, line string) string {
	t.Helper()
	t.Setenv("KUBECONFIG", kubeconfig)
	words := strings.Split(line, " ")
	var out, errOut bytes.Buffer
	code := Main(append([]string{cobra.ShellCompNoDescRequestCmd}, words...), strings.NewReader(""), &out, &errOut)
	if code != ExitOK || strings.Count(errOut.String(), "\n") != 1 {
		t.Errorf("%s: exit code %d, stderr %q", line, code, errOut.String())
	}
	return strings.ReplaceAll(strings.TrimSuffix(out.String(), "\n"), "\n", " ")
}

func TestCompletions_OfTheCluster(t *testing.T) {
	server := fakeapi.New(t)
	fill(t, server)
	kubeconfig := shop(t, server.Config().Host)
	checkCompletions(t, kubeconfig, map[string]string{
		"trace network w":                             "web-0 :4",
		"trace network web-0 d":                       "db-0 deploy/ ds/ :4",
		"trace network web-0 w":                       ":4",
		"trace network dep":                           "deploy/ :6",
		"trace network deploy/":                       "deploy/web :4",
		"trace network Deployments.apps/w":            "Deployments.apps/web :4",
		"trace network po/":                           "po/db-0 po/web-0 :4",
		"trace network secret/":                       ":4",
		"trace network svc/":                          "svc/web-front :4",
		"trace network -A w":                          ":4",
		"trace network -n storage di":                 "disk-0 :4",
		"trace network --namespace=sto":               "storage :4",
		"trace network -n ":                           "shop storage :4",
		"trace network --node ":                       "node-1 :4",
		"trace network --container ":                  "logger nginx postgres prepare :4",
		"trace network db-0 -c ":                      "postgres prepare :4",
		"trace network -l ":                           "app=db app=web :6",
		"trace network -l app=web,a":                  "app=web,app=db :6",
		"trace network --context ":                    "team@east team@west :4",
		"trace network --context team@west --user ":   "alice bob :4",
		"trace network --cluster w":                   "west :4",
		"trace network,dns w":                         "web-0 :4",
		"trace gpu --gpu-runtime-class ":              "auto none nvidia :4",
		"query flows s":                               "sts/ :6",
		"query flows w":                               "web-0 :4",
		"top network --since 10m sv":                  ":4",
		"top network sv":                              "svc/ :6",
		"why gpu we":                                  "web-0 :4",
		"install --node-selector ":                    "zone=a :6",
		"doctor --tracer-namespace st":                "storage :4",
		"rbac --user ":                                ":4",
		"replay ":                                     ":0",
		"trace network --record ":                     ":0",
		"trace network --duration ":                   ":4",
		"version w":                                   ":4",
		"trace network --as alice --as-group g web":   "web-0 :4",
		"trace network --server=https://127.0.0.1:1 ": "deploy/ sts/ ds/ rs/ rc/ job/ cj/ svc/ pod/ :6",
	})
}

func TestCompletions_OfColumnsAndEnums(t *testing.T) {
	checkCompletions(t, os.DevNull, map[string]string{
		"trace network --sort-by srtt":                       "srttMicros :4",
		"trace network --sort-by=-srtt":                      "-srttMicros :4",
		"trace syscalls --summary --sort-by totalN":          "totalNanos :4",
		"top network --sort-by srttMi":                       "srttMicros :4",
		"top network --filter srttM":                         "srttMicros :6",
		"query flows --aggregate-by src.pod --sort-by flows": "flows :4",
		"query flows --aggregate-by src.pod,dst.workl":       "src.pod,dst.workload :6",
		"query dns --filter rcode==1&&latencyM":              "rcode==1&&latencyMicros :6",
		`query dns --filter rcode=="late`:                    ":6",
		"trace network -o j":                                 "json jsonpath= jsonpath-file= :4",
		"trace network -o custom-columns=src.pod,X:srttM":    "custom-columns=src.pod,X:srttMicros :6",
		"trace network -o custom-columns-f":                  "custom-columns-file= :6",
		"trace network -o jsonpath-file=":                    ":0",
		"status -o ":                                         "json :4",
		"install -o ":                                        "yaml :4",
		"trace network,sig":                                  "network,signals :6",
		"trace dns,net":                                      "dns,network :6",
		"trace network,dns --sort-by rcod":                   "rcode :4",
		"trace syscalls --syscall %file,openat2":             "%file,openat2 :6",
		"install --kinds flow,dn":                            "flow,dns :6",
		"install --kinds flow,fl":                            ":6",
		"top gpu --window ":                                  "10s 1m 5m :4",
		"replay x.orb8 --top n":                              "network :4",
		"replay x.orb8 --top network --group w":              "workload :4",
		"replay x.orb8 --sort-by exitC":                      "exitCode :4",
		"replay x.orb8 --why gpu --filter verd":              "verdict :6",
	})
}

func TestCompletions_ForbiddenNamespaces(t *testing.T) {
	server := fakeapi.New(t)
	server.Forbid(func(string, string) bool { return true })
	kubeconfig := shop(t, server.Config().Host)
	checkCompletions(t, kubeconfig, map[string]string{
		"trace network -n ":     "lab shop :4",
		"trace network web":     ":4",
		"trace network --node ": ":4",
	})
}

func TestCompletions_EndWithoutAnAnswer(t *testing.T) {
	end := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-end:
		case <-r.Context().Done():
		}
	}))
	defer server.Close()
	defer close(end)
	started := time.Now()
	if got := completeWords(t, shop(t, server.URL), "trace network w"); got != ":4" {
		t.Errorf("got %q", got)
	}
	if d := time.Since(started); d > 10*time.Second {
		t.Errorf("ended after %v", d)
	}
}

func TestCompletions_EndBeforeTheCredentials(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("it runs a shell script")
	}
	dir := t.TempDir()
	waits, started := filepath.Join(dir, "waits"), filepath.Join(dir, "started")
	script := fmt.Sprintf("#!/bin/sh\ntouch %s\nwhile [ -e %s ]; do sleep 0.1; done\n", started, waits)
	if err := errors.Join(os.WriteFile(waits, nil, 0o600),
		os.WriteFile(filepath.Join(dir, "login"), []byte(script), 0o755)); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.Remove(waits) }()
	path := shop(t, "https://127.0.0.1:1")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	login := fmt.Sprintf("{name: alice, user: {exec: {apiVersion: client.authentication.k8s.io/v1, "+
		"interactiveMode: Never, command: %s/login}}}", dir)
	changed := strings.Replace(string(text), "{name: alice, user: {}}", login, 1)
	if err := os.WriteFile(path, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if got := completeWords(t, path, "trace network w"); got != ":4" {
		t.Errorf("got %q", got)
	}
	if d := time.Since(began); d > 10*time.Second {
		t.Errorf("ended after %v", d)
	}
	if _, err := os.Stat(started); err != nil {
		t.Errorf("the credential plugin was not run: %v", err)
	}
}
