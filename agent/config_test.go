package agent

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestParseConfig(t *testing.T) {
	known := []string{"flow", "tcp", "dns", "drop", "exec", "resources", "gpu", "syscall"}
	c, err := parseConfig([]byte(`
kinds: [flow, exec]
interval: 5s
dnsPorts: [53, 5353]
syscalls: {names: [openat], errorsOnly: true, minDuration: 10ms}
excludeNamespaces: [kube-system]
`), known)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(c.Kinds, []string{"flow", "exec"}) || c.Interval.Duration != 5*time.Second ||
		c.session().GetSyscall().GetMinDuration() != int64(10*time.Millisecond) {
		t.Errorf("got %+v", c)
	}
	if c, err := parseConfig(nil, known); err != nil || !c.equal(defaultConfig()) {
		t.Errorf("an empty file: %+v, %v", c, err)
	}
	exported := func(text string) []string {
		c, err := parseConfig([]byte(text+"\nexport: {endpoint: 'collector:4317'}"), known)
		if err != nil {
			t.Fatal(err)
		}
		return c.Export.Kinds
	}
	if got := exported(""); !reflect.DeepEqual(got, []string{"flow", "tcp", "dns", "drop"}) {
		t.Errorf("by default %v are exported", got)
	}
	if got := exported("kinds: [flow, exec]"); !reflect.DeepEqual(got, []string{"flow"}) {
		t.Errorf("with exec recorded, %v are exported", got)
	}
	if a, err := parseConfig([]byte("export: {endpoint: 'a:1'}"), known); err != nil || !a.equal(defaultConfig()) {
		t.Errorf("the export changes what is observed: %v", err)
	}
	for text, want := range map[string]string{
		"export: {endpoint: 'a:1', kinds: [exec]}": `export.kinds: "exec": want some of the recorded kinds, flow`,
		"export: {}":                           `export.endpoint: "": want host:port`,
		"export: {endpoint: 'a:1', header: x}": `of export: endpoint, protocol, tls (insecure, caFile`,
		"kinds: [flow, pings]":                 `kinds: "pings": want some of flow`,
		"kind: [flow]":                         `unknown field "kind": known keys are`,
		"interval: 1ms":                        "interval: 1ms: want 100ms",
		"dnsPorts: [0]":                        "dnsPorts: 0: want 1",
		"dnsPorts: [99999]":                    "dnsPorts: 99999: want 1",
		"syscalls: {minDuration: -1s}":         "syscalls.minDuration: -1s",
		"kinds: flow":                          "known keys are",
		"interval: soon":                       "known keys are",
		"syscalls: {name: [read]}":             `unknown field "name"`,
		"kinds: [flow]\nkinds: [tcp]":          `"kinds" already set`,
		"dnsPorts: [" + strings.Repeat("53,", 16) + "53]": "dnsPorts: 17 ports",
	} {
		if _, err := parseConfig([]byte(text), known); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte("kinds: [flow]\ninterval: 1s\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if c, err := parseConfig(text, []string{"flow"}); err == nil && c.Interval.Duration < minInterval {
			t.Errorf("accepted %+v", c)
		}
	})
}
