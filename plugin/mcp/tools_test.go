package mcp

import (
	"encoding/json"
	"strings"
	"testing"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

func TestTools_BuildCommandLines(t *testing.T) {
	h := connect(t, Config{}, nil, done)
	defer h.close()
	for _, test := range []struct{ tool, arguments, want string }{
		{"trace", `{"kinds":["network","dns"]}`, "trace network,dns --output=json --duration=10s --"},
		{
			"trace", `{"kinds":["dns"],"seconds":30,"namespace":"demo","targets":["web-0","deploy/web"],` +
				`"filter":"rcode != 'NOERROR'","sortBy":"-latencyMicros","minMilliseconds":5,"errorsOnly":true,` +
				`"syscalls":["%file","openat2"]}`,
			"trace dns --namespace=demo --filter=rcode != 'NOERROR' --sort-by=-latencyMicros --syscall=%file,openat2 " +
				"--errors-only=true --min-duration=5ms --output=json --duration=30s -- web-0 deploy/web",
		},
		{"top", `{"topic":"network","group":"peer"}`,
			"top network --group=peer --output=json --window=5s --once --limit=50 --"},
		{"top", `{"topic":"network","since":"10m","maxRows":7}`,
			"top network --since=10m --output=json --once --limit=7 --"},
		{"why", `{"topic":"gpu","allNamespaces":true}`,
			"why gpu --all-namespaces=true --output=json --window=20s --"},
		{"why", `{"targets":["deploy/web"],"seconds":30,"follow":true}`,
			"why --follow=true --output=json --window=30s -- deploy/web"},
		{"why", `{"topic":"pod","since":"10m"}`, "why --since=10m --output=json --"},
		{"diff", `{"before":"1h","length":"5m"}`, "diff --before=1h --window=5m --output=json --"},
		{"query", `{"kind":"flows","since":"1h"}`, "query flows --since=1h --output=json --last=50 --"},
		{"query", `{"kind":"flows","aggregateBy":["src.workload","dst.service"]}`,
			"query flows --aggregate-by=src.workload,dst.service --output=json --"},
		{"query", `{"kind":"flows","sortBy":"-bytesSent"}`, "query flows --sort-by=-bytesSent --output=json --"},
		{"status", `{}`, "status --output=json --"},
		{"doctor", `{"node":"n1","gpu":true}`, "doctor --node=n1 --gpu=true --output=json --"},
	} {
		if r, _ := h.call(t.Context(), test.tool, test.arguments); r.IsError {
			t.Errorf("%s %s: %s", test.tool, test.arguments, textOf(r))
			continue
		}
		c := h.last()
		got := strings.TrimSpace(strings.Join(append(append(append(append([]string{}, c.Words...), c.Flags...), "--"),
			c.Args...), " "))
		if got != test.want {
			t.Errorf("%s %s runs\n%s, want\n%s", test.tool, test.arguments, got, test.want)
		}
		past := strings.Contains(got, "--since") || test.tool == "query" || test.tool == "diff"
		if c.FromInstalledAgents != past {
			t.Errorf("%s: from installed agents: %t", got, c.FromInstalledAgents)
		}
	}
}

// TestTools_StayInTheirNamespace has why not follow what it blames into other namespaces.
func TestTools_StayInTheirNamespace(t *testing.T) {
	h := connect(t, Config{Namespace: "demo"}, nil, done)
	defer h.close()
	for arguments, want := range map[string]string{
		`{"namespace":"demo"}`: "--namespace=demo --output=json --window=20s --follow=false",
		`{"topic":"gpu"}`:      "--output=json --window=20s",
		`{"since":"1m"}`:       "--since=1m --output=json",
	} {
		if r, _ := h.call(t.Context(), "why", arguments); r.IsError || strings.Join(h.last().Flags, " ") != want {
			t.Errorf("%s: %q, want %q", arguments, h.last().Flags, want)
		}
	}
}

func TestTools_RefuseArguments(t *testing.T) {
	h := connect(t, Config{Namespace: "demo"}, nil, done)
	defer h.close()
	for _, test := range []struct{ tool, arguments, want string }{
		{"trace", `{}`, "kinds"},
		{"trace", `{"kinds":[]}`, "kinds"},
		{"trace", `{"kinds":["packets"]}`, "enum"},
		{"trace", `{"kinds":["dns"],"seconds":121}`, "seconds"},
		{"trace", `{"kinds":["dns"],"seconds":0}`, "seconds"},
		{"trace", `{"kinds":["dns"],"seconds":"10"}`, "seconds"},
		{"trace", `{"kinds":["dns"],"maxRows":1001}`, "maxRows"},
		{"trace", `{"kinds":["dns"],"kubeconfig":"/etc/shadow"}`, "kubeconfig"},
		{"trace", `{"kinds":["dns"],"record":"/etc/cron.d/x"}`, "record"},
		{"trace", `{"kinds":["dns"],"targets":["--kubeconfig=/x"]}`, "targets"},
		{"trace", `{"kinds":["dns"],"targets":["-A"]}`, "targets"},
		{"trace", `{"kinds":["dns"],"namespace":"a b"}`, "namespace"},
		{"trace", `{"kinds":["dns"],"filter":"` + strings.Repeat("x", maxFilter+1) + `"}`, "filter"},
		{"trace", `{"kinds":["dns"],"fields":["pood"]}`, `did you mean "pod"?`},
		{"trace", `{"kinds":["dns"],"syscalls":["open,--privileged"]}`, "syscalls"},
		{"trace", `{"kinds":["dns"],"allNamespaces":true}`, `restricted to the namespace "demo"`},
		{"top", `{"topic":"network","namespace":"other"}`, `restricted to the namespace "demo"`},
		{"why", `{"follow":true}`, `restricted to`},
		{"diff", `{}`, "before"},
		{"doctor", `{"namespace":"other"}`, `restricted to the namespace "demo"`},
		{"why", `{"topic":"gpu","seconds":4}`, "seconds"},
		{"columns", `{"kind":"x"}`, "enum"},
	} {
		r, err := h.client.CallTool(t.Context(),
			&sdk.CallToolParams{Name: test.tool, Arguments: json.RawMessage(test.arguments)})
		if err != nil {
			t.Fatal(err)
		}
		all, _ := json.Marshal(r)
		var text strings.Builder
		for _, c := range r.Content {
			text.WriteString(c.(*sdk.TextContent).Text)
		}
		if !r.IsError || !strings.Contains(strings.ReplaceAll(text.String(), `\"`, `"`), test.want) {
			t.Errorf("%s %.200s: want an error with %q, got %s", test.tool, test.arguments, test.want, all)
		}
	}
	if len(h.commands) > 0 {
		t.Errorf("%d commands ran", len(h.commands))
	}
}
