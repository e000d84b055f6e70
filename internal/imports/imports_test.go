// Package imports holds no code: its test keeps imports one-way, as docs/ARCHITECTURE.md draws them, for everything
// that a package pulls in. It is the only rule book.
package imports

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
)

const module = "github.com/orb8-dev/kubectl-orb8/"

// rule says what the packages in a folder and below may not depend on, directly or through others, and, where only is
// given, the only packages outside the standard library that they may.
type rule struct {
	folder string
	never  []string
	// but are exceptions from never.
	but  []string
	only []string
	// own are the folders of this module that they may depend on; nil: any.
	own []string
	// except are folders below that the rule does not judge, with spaces between.
	except string
	why    string
}

// kubelet is the protobuf of a kubelet's API on its own node: messages and nothing else.
var kubelet = []string{"k8s.io/kubelet/pkg/apis/podresources/v1"}

var kubernetes = []string{"k8s.io/", "sigs.k8s.io/"}

// allClients link the clients or the types of all API groups.
var allClients = []string{"k8s.io/client-go/kubernetes", "k8s.io/client-go/informers", "k8s.io/client-go/discovery"}

// remote is what talks to others.
var remote = append([]string{"google.golang.org/grpc"}, kubernetes...)

// flags is what commands are made of.
var flags = []string{"github.com/spf13", "k8s.io/cli-runtime"}

var rules = []rule{
	{
		folder: "event", except: "event/session event/orbit",
		only: []string{module + "event", "google.golang.org/protobuf/", "github.com/planetscale/vtprotobuf/"},
		why:  "everything imports event, so event imports nothing",
	},
	{
		folder: "event/session", own: []string{"event"},
		never: append([]string{"github.com/cilium/ebpf"}, kubernetes...),
		why:   "the wire is shared by two sides that must not meet",
	},
	{
		folder: "event/orbit", own: []string{"event"},
		never: append([]string{"github.com/cilium/ebpf"}, kubernetes...),
		why:   "the wire is shared by the plugin, the server and the agents",
	},
	{
		folder: "bpf", never: remote, own: []string{"event", "bpf", "internal"},
		why: "a probe knows the kernel and the event, and nothing of who asks",
	},
	{
		folder: "tracer", never: kubernetes, but: kubelet, own: []string{"event", "bpf", "tracer", "internal"},
		why: "the tracer has no access to the API server: the plugin sends it what it needs",
	},
	{
		folder: "tracer", never: []string{"github.com/NVIDIA/go-nvml"}, except: "tracer/gpu/nvml",
		why: "a crash of the driver's library ends the process that loads it, so a child of the tracer does",
	},
	{
		folder: "collect", never: remote, own: []string{"event", "collect"},
		why: "merging streams is no business of Kubernetes",
	},
	{
		folder: "filter", never: remote, own: []string{"event", "filter"},
		why: "a filter is made of columns",
	},
	{
		folder: "history", never: remote, own: []string{"event", "history"},
		why: "a recording is made of events, whoever asks for it",
	},
	{
		folder: "cluster", own: []string{"event", "collect", "cluster", "internal/kube"},
		why: "one package watches the API server; the plugin, the agent and the server share it",
	},
	{
		folder: "agent",
		own:    []string{"event", "bpf", "tracer", "history", "cluster/targets", "agent", "scrape", "internal"},
		why:    "an agent serves its node; what needs the whole cluster is the server's",
	},
	{
		folder: "cmd/orb8-agent",
		never:  append([]string{"k8s.io/api/apps"}, allClients...),
		why:    "the clients of all resources are 37 MB of an agent, which has 80 MiB in all",
	},
	{
		folder: "agent/identity", never: kubernetes,
		why: "an agent proves who it is by a token and a certificate, without the API server",
	},
	{
		folder: "agent/export", never: []string{"k8s.io/client-go", "k8s.io/api", "go.opentelemetry.io"},
		own: []string{"event", "agent/export", "internal/credentials", "internal/exportconfig"},
		why: "requests are written field by field: OpenTelemetry's SDK drops what does not fit, and counts nothing",
	},
	{
		folder: "agent/metrics", never: append([]string{"github.com/cilium/ebpf"}, kubernetes...),
		own: []string{"event", "agent/metrics"},
		why: "metrics are made of events and of the state that the agent reports",
	},
	{
		folder: "scrape", never: []string{"github.com/cilium/ebpf", "k8s.io/client-go/kubernetes"},
		own: []string{"scrape", "internal/cache", "internal/refusals"},
		why: "serving metrics does not depend on what they are, and takes no clients of all resources",
	},
	{
		folder: "server", never: []string{"github.com/cilium/ebpf", "github.com/NVIDIA/go-nvml"},
		own: []string{"event", "collect", "filter", "cluster", "history", "server", "scrape", "internal"},
		why: "a server observes nothing itself",
	},
	{
		folder: "server/metrics", never: kubernetes, own: []string{"event", "server/metrics"},
		why: "what a server counts does not depend on what it does",
	},
	{
		folder: "plugin", never: []string{"github.com/cilium/ebpf", "github.com/NVIDIA/go-nvml"},
		own: []string{"event", "collect", "filter", "cluster", "history", "plugin", "deploy", "docs", "internal"},
		why: "the plugin is pure Go for every platform kubectl runs on",
	},
	{
		folder: "plugin/images", never: remote, own: []string{"plugin/images"},
		why: "images come from a registry, whatever cluster they are for",
	},
	{
		folder: "plugin/mcp", never: append(append([]string{}, remote...), flags...),
		own: []string{"event", "docs", "internal/plural", "plugin/mcp"},
		why: "a tool is a command line: what runs it knows the cluster",
	},
	{
		folder: "plugin/terminal", never: remote, own: []string{"plugin/terminal"},
		why: "the environment says what a terminal can show",
	},
	{
		folder: "plugin/tui", never: remote,
		why: "a screen takes events and columns",
	},
	{
		folder: "plugin/capture", own: []string{"event", "collect", "plugin/capture"}, never: remote,
		why: "files of packets are made of events, wherever those come from",
	},
	{
		folder: "plugin/capture/pcapng", own: []string{"plugin/capture/pcapng"},
		why: "blocks of a file are made of bytes",
	},
	{
		folder: "plugin/capture/pcapfilter", own: []string{"plugin/capture/pcapfilter"},
		why: "an expression is compiled without knowing what it is for",
	},
	{
		folder: "plugin/diff", only: []string{module + "event", module + "plugin/diff", module + "internal/plural",
			"google.golang.org/protobuf/", "github.com/planetscale/vtprotobuf/"},
		why: "differences are made of events, wherever those come from",
	},
	{
		folder: "plugin/why", only: []string{module + "event", module + "plugin/why", module + "internal/plural",
			module + "internal/searchpath", "google.golang.org/protobuf/", "github.com/planetscale/vtprotobuf/"},
		why: "verdicts are made of events, wherever those come from",
	},
	{
		folder: "plugin/why/engine", only: []string{}, own: []string{},
		why: "one engine judges GPUs and pods",
	},
	{
		folder: "plugin/why/slots", only: []string{module + "plugin/why/engine"}, own: []string{"plugin/why/engine"},
		why: "numbers over time know nothing of events",
	},
	{
		folder: "plugin/advise", never: []string{"google.golang.org/grpc", "k8s.io/"},
		own: []string{"event", "plugin/advise", "internal/plural"},
		why: "advice is made of events, wherever those come from",
	},
	{
		folder: "plugin/advice", never: remote, own: []string{"event", "collect/losses", "plugin/advice",
			"internal/plural", "internal/searchpath"},
		why: "closing lines are made of events and losses",
	},
	{
		folder: "plugin/rights", own: []string{"deploy", "cluster", "collect", "event", "internal/capabilities",
			"internal/exportconfig", "internal/kube", "plugin/rights"},
		why: "one package checks the user's access rights, for all commands",
	},
	{
		folder: "plugin/live", never: flags,
		own: []string{
			"event",
			"collect",
			"cluster",
			"deploy",
			"internal/capabilities", "internal/delay", "internal/exportconfig", "internal/kube", "internal/plural",
			"internal/searchpath",
			"internal/version",
			"plugin/live",
			"plugin/stream", "plugin/internal/preface",
			"plugin/launch",
			"plugin/rights",
			"plugin/advice",
		},
		why: "a session has a configuration: it knows no flags, and nothing of how events are shown",
	},
	{
		folder: "plugin/complete",
		own:    []string{"event", "collect", "cluster", "internal/delay", "internal/kube", "plugin/complete"},
		why:    "completing words starts no session",
	},
	{
		folder: "plugin/helptext", never: remote, own: []string{"plugin/helptext"},
		why: "help is made of commands and their flags",
	},
	{
		folder: "plugin/facts",
		own: []string{
			"cluster",
			"collect",
			"event",
			"internal/kube",
			"internal/plural",
			"internal/searchpath",
			"plugin/facts",
			"plugin/why",
		},
		why: "one package asks Kubernetes about pods, and shows nothing",
	},
	{
		folder: "plugin/doctor",
		own: []string{
			"event",
			"collect",
			"cluster",
			"deploy",
			"internal/capabilities", "internal/exportconfig", "internal/kube", "internal/plural",
			"internal/version",
			"plugin/doctor",
			"plugin/launch",
			"plugin/rights",
		},
		why: "doctor tries what a session needs, and runs none",
	},
	{
		folder: "plugin/install", never: flags,
		own: []string{"event", "collect", "cluster", "deploy", "internal/capabilities", "internal/exportconfig",
			"internal/kube", "internal/plural", "internal/version", "plugin/install", "plugin/internal",
			"plugin/launch"},
		why: "an installation is made of values: it knows no flags",
	},
	{
		folder: "plugin/forward", never: []string{"google.golang.org/grpc"}, own: []string{"plugin/forward"},
		why: "a port-forward is a connection, whatever goes through it",
	},
	{
		folder: "internal/rootfs", only: []string{module + "internal/rootfs", "golang.org/x/sys/"},
		why: "opening untrusted files needs the kernel and nothing else",
	},
	{
		folder: "deploy", never: []string{"k8s.io/client-go", "github.com/spf13"},
		own: []string{"event", "deploy", "internal/capabilities", "internal/exportconfig"},
		why: "manifests are made of values, and applied by others",
	},
	{
		folder: "cmd/kubectl-orb8", never: []string{module + "tracer", module + "bpf", "github.com/cilium/ebpf",
			"github.com/NVIDIA/go-nvml"},
		why: "the plugin runs on every platform kubectl runs on",
	},
	{
		folder: "cmd/kubectl-orb8", never: allClients,
		why: "the clients and types of all API groups are 20 MB of a plugin",
	},
	{
		folder: "cmd/kubectl-orb8",
		never:  []string{"k8s.io/cli-runtime", "sigs.k8s.io/kustomize", "k8s.io/apimachinery/pkg/util/managedfields"},
		but:    []string{"k8s.io/cli-runtime/pkg/genericiooptions"},
		why:    "kubectl's flags bring kustomize along, and applied configurations bring OpenAPI: 12 MB of a plugin",
	},
	{
		folder: "internal/kube", except: "internal/kube/clientset internal/kube/kubefake",
		never: append([]string{"github.com/spf13", "google.golang.org/grpc"}, allClients...),
		own:   []string{"internal/kube"},
		why:   "it exists so that programs need no clients of all resources",
	},
	{
		folder: "cmd/orb8-tracer", never: kubernetes, but: kubelet,
		own: []string{"event", "bpf", "tracer", "cmd/orb8-tracer", "internal"},
		why: "the tracer is small and has no access to the API server",
	},
	{
		folder: "cmd/orb8-tracer", never: []string{"github.com/NVIDIA/go-nvml"},
		why: "the tracer is static, and the driver's library may crash what loads it",
	},
	{
		folder: "cmd/orb8-agent", never: []string{"github.com/NVIDIA/go-nvml", module + "server"},
		own: []string{"event", "bpf", "tracer", "history", "cluster", "collect", "agent", "scrape", "cmd/orb8-agent",
			"internal"},
		why: "the agent is static, and the driver's library may crash what loads it",
	},
	{
		folder: "cmd/orb8-server", never: []string{"github.com/NVIDIA/go-nvml", "github.com/cilium/ebpf"},
		own: []string{"event", "collect", "filter", "cluster", "history", "server", "scrape", "cmd/orb8-server",
			"internal"},
		why: "a server runs on any node and observes nothing itself",
	},
	{
		folder: "e2e/fleet", never: []string{module + "agent", module + "plugin", "github.com/cilium/ebpf"},
		own: []string{"event", "collect", "filter", "cluster", "history", "server", "e2e/fleet", "internal"},
		why: "fake agents speak the protocol by the wire alone",
	},
	{
		folder: "cmd/orb8-nvml", only: []string{module + "event", module + "tracer/gpu/nvml", module + "cmd/orb8-nvml",
			"github.com/NVIDIA/go-nvml", "google.golang.org/protobuf/"},
		why: "it reads the driver and nothing else",
	},
}

type pkg struct {
	ImportPath string
	Deps       []string
	Error      *struct{ Err string }
}

func TestImportsRunOneWay(t *testing.T) {
	packages := list(t)
	for _, r := range rules {
		if _, err := os.Stat("../../" + r.folder); errors.Is(err, os.ErrNotExist) {
			continue // a rule for what is to come
		}
		t.Run(strings.ReplaceAll(r.folder, "/", " "), func(t *testing.T) {
			judged := 0
			for _, p := range packages {
				folder := strings.TrimPrefix(p.ImportPath, module)
				excepted := func(e string) bool { return within(folder, e) }
				if !within(folder, r.folder) || slices.ContainsFunc(strings.Fields(r.except), excepted) {
					continue
				}
				judged++
				for _, dep := range p.Deps {
					if breaks(r, dep) {
						t.Errorf("%s depends on %s: %s", folder, dep, r.why)
					}
				}
			}
			if judged == 0 {
				t.Errorf("no package found in %s, which exists", r.folder)
			}
		})
	}
}

func TestPlugin_OnlyItsMainImportsIt(t *testing.T) {
	for _, p := range list(t) {
		folder := strings.TrimPrefix(p.ImportPath, module)
		if top, _, _ := strings.Cut(folder, "/"); top == "plugin" || top == "e2e" || folder == "cmd/kubectl-orb8" ||
			folder == "hack/manpages" {
			continue
		}
		for _, dep := range p.Deps {
			if within(dep, module+"plugin") {
				t.Errorf("%s depends on %s: what others need too belongs in a room of its own", folder, dep)
			}
		}
	}
}

func TestEveryFolderOfTheProductHasARule(t *testing.T) {
	for _, p := range list(t) {
		folder := strings.TrimPrefix(p.ImportPath, module)
		top, _, _ := strings.Cut(folder, "/")
		if top == "e2e" || top == "hack" || top == "internal" || top == "docs" ||
			folder == strings.TrimSuffix(module, "/") {
			continue
		}
		ruled := false
		for _, r := range rules {
			ruled = ruled || within(folder, r.folder)
		}
		if !ruled {
			t.Errorf("%s: say in this test what it may import", folder)
		}
	}
}

func breaks(r rule, dep string) bool {
	for _, exception := range r.but {
		if dep == exception {
			return false
		}
	}
	if folder, ours := strings.CutPrefix(dep, module); ours && r.own != nil {
		return !slices.ContainsFunc(r.own, func(own string) bool { return within(folder, own) })
	}
	for _, prefix := range r.never {
		if within(dep, strings.TrimSuffix(prefix, "/")) {
			return true
		}
	}
	if r.only == nil || !strings.Contains(strings.Split(dep, "/")[0], ".") {
		return false // the standard library has no dot in its first element
	}
	for _, prefix := range r.only {
		if within(dep, strings.TrimSuffix(prefix, "/")) {
			return false
		}
	}
	return true
}

func within(path, folder string) bool { return path == folder || strings.HasPrefix(path, folder+"/") }

func list(t *testing.T) []pkg {
	t.Helper()
	packages, err := listed()
	if err != nil {
		t.Fatal(err)
	}
	return packages
}

var listed = sync.OnceValues(func() (packages []pkg, err error) {
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Deps,Error", "./...")
	cmd.Dir = "../.."
	// The tracer is for Linux only; the rules are the same wherever the test runs.
	cmd.Env = append(os.Environ(), "GOOS=linux", "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return packages, nil
		} else if err != nil {
			return nil, err
		}
		packages = append(packages, p)
	}
})
