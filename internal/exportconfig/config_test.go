package exportconfig

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/orb8-dev/kubectl-orb8/event"
)

func known() (all []string) {
	for _, k := range event.Kinds() {
		if !k.Row {
			all = append(all, k.Name)
		}
	}
	return all
}

func parse(text string) (*Config, error) {
	c := &Config{}
	if err := yaml.UnmarshalStrict([]byte(text), c); err != nil {
		return nil, err
	}
	c.Complete(known())
	return c, c.Validate(known())
}

func TestConfig_Defaults(t *testing.T) {
	c, err := parse("endpoint: collector.monitoring:4317")
	if err != nil {
		t.Fatal(err)
	}
	want := &Config{Endpoint: "collector.monitoring:4317", Protocol: "grpc", Kinds: DefaultKinds(),
		Signals: []string{"logs"}, Updates: Updates(5 * time.Minute), QueueBytes: 4 << 20, BatchBytes: 512 << 10,
		Compression: "gzip"}
	want.Timeout.Duration = 10 * time.Second
	if !reflect.DeepEqual(c, want) {
		t.Errorf("%+v", c)
	}
}

func TestConfig_All(t *testing.T) {
	c, err := parse(`
endpoint: https://collector.monitoring:4318/otlp
protocol: http
tls: {caFile: /a, certFile: /b, keyFile: /c, serverName: collector}
headersFile: /d
signals: [metrics, logs]
metricsInterval: 15s
kinds: [flow, exec]
updates: all
resource: {k8s.cluster.name: prod}
queueBytes: 8Mi
batchBytes: 65536
timeout: 3s
compression: none
`)
	if err != nil {
		t.Fatal(err)
	}
	if c.Updates != UpdatesAll || c.QueueBytes != 8<<20 || c.BatchBytes != 65536 || c.TLS.ServerName != "collector" ||
		c.Resource["k8s.cluster.name"] != "prod" || !c.Has(SignalLogs) || !c.Has(SignalMetrics) ||
		c.MetricsInterval.Duration != 15*time.Second {
		t.Errorf("%+v", c)
	}
}

func TestConfig_Signals(t *testing.T) {
	for text, want := range map[string]time.Duration{"": 0, "signals: [logs]": 0, "signals: [metrics]": time.Minute,
		"signals: [logs, metrics]": time.Minute} {
		c, err := parse("endpoint: a:1\n" + text)
		if err != nil {
			t.Fatal(err)
		}
		if c.MetricsInterval.Duration != want || c.Has(SignalMetrics) != (want > 0) {
			t.Errorf("%q: %v every %v", text, c.Signals, c.MetricsInterval)
		}
	}
	if (*Config)(nil).Has(SignalLogs) {
		t.Error("no configuration exports logs")
	}
}

func TestKeys(t *testing.T) {
	var names []string
	for _, typ := range []reflect.Type{reflect.TypeFor[Config](), reflect.TypeFor[TLS]()} {
		for i := range typ.NumField() {
			name, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
			names = append(names, name)
		}
	}
	got := strings.FieldsFunc(Keys, func(r rune) bool { return strings.ContainsRune(" ,()", r) })
	slices.Sort(names)
	slices.Sort(got)
	if !slices.Equal(names, got) {
		t.Errorf("%v, want %v", got, names)
	}
}

func TestConfig_ErrorsNameTheKey(t *testing.T) {
	http := "protocol: http\nendpoint: "
	for text, want := range map[string]string{
		"kinds: [flow]":                                             `endpoint: ""`,
		"endpoint: collector":                                       `endpoint: "collector": want host:port`,
		"endpoint: https://a:1":                                     `want host:port`,
		"endpoint: a:0":                                             `want host:port`,
		"endpoint: a:1\nprotocol: udp":                              `protocol: "udp": want grpc or http`,
		http + "a:1":                                                `want a URL`,
		http + "http://a:1":                                         `a URL that begins with https://, or insecure`,
		http + "https://u:p@a:1":                                    `"https://u:xxxxx@a:1": want a URL without cred`,
		http + "https://a:1\ntls: {insecure: true}":                 `a URL that begins with http://, or not`,
		"endpoint: a:1\ntls: {insecure: true, caFile: /a}":          `tls.caFile: "/a": want none`,
		"endpoint: a:1\ntls: {insecure: true, serverName: a}":       `tls.serverName`,
		"endpoint: a:1\ntls: {caFile: a}":                           `tls.caFile: "a": want an absolute path`,
		"endpoint: a:1\ntls: {certFile: /a}":                        `tls.keyFile: "": want that of tls.certFile`,
		"endpoint: a:1\ntls: {keyFile: /a}":                         `tls.certFile: "": want that of tls.keyFile`,
		"endpoint: a:1\ntls: {skipVerify: true}":                    `unknown field "skipVerify"`,
		"endpoint: a:1\nheadersFile: a":                             `headersFile: "a"`,
		"endpoint: a:1\nheaders: {a: b}":                            `unknown field "headers"`,
		"endpoint: a:1\nkinds: [flowSum]":                           `kinds: "flowSum": want some of the recorded`,
		"endpoint: a:1\nsignals: [traces]":                          `signals: "traces": want logs, metrics, or both`,
		"endpoint: a:1\nsignals: [logs, logs]":                      `signals: "logs,logs": want`,
		"endpoint: a:1\nmetricsInterval: 1m":                        `metricsInterval: "1m0s": want none, unless`,
		"endpoint: a:1\nsignals: [metrics]\nmetricsInterval: 1s":    `metricsInterval: "1s": want 5s to 1h0m0s`,
		"endpoint: a:1\nsignals: [metrics]\nmetricsInterval: -1s":   `metricsInterval: "-1s": want 5s to`,
		"endpoint: a:1\nresource: {service.instance.id: x}":         `resource: "service.instance.id": want another`,
		"endpoint: a:1\nupdates: 1s":                                `updates: "1s": want all, or 10s`,
		"endpoint: a:1\nupdates: never":                             `updates: "never"`,
		"endpoint: a:1\nupdates: 5":                                 `updates: "5"`,
		"endpoint: a:1\nqueueBytes: 1k":                             `queueBytes: "1000": want 256Ki to 1Gi`,
		"endpoint: a:1\nqueueBytes: lots":                           `queueBytes, batchBytes: "lots"`,
		"endpoint: a:1\nbatchBytes: 4Mi":                            `batchBytes: "4194304": want 16Ki to 3Mi`,
		"endpoint: a:1\nqueueBytes: 256Ki\nbatchBytes: 1Mi":         `no more than queueBytes`,
		"endpoint: a:1\ntimeout: 1h":                                `timeout: "1h0m0s": want 100ms to 5m0s`,
		"endpoint: a:1\ncompression: zstd":                          `compression: "zstd": want gzip or none`,
		"endpoint: a:1\nresource: {service.name: x}":                `resource: "service.name": want another name`,
		"endpoint: a:1\nresource: {a: " + strings.Repeat("x", 2000): `resource: "a"`,
	} {
		if strings.HasSuffix(text, "x") {
			text += "}"
		}
		if _, err := parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// TestDefaultKinds_AreNotSensitive keeps arguments out of what is exported by default.
func TestDefaultKinds_AreNotSensitive(t *testing.T) {
	for _, kind := range append(DefaultKinds(), AlwaysKinds()...) {
		switch kind {
		case "exec", "signal", "syscall", "syscallSummary":
			t.Errorf("%s is exported by default", kind)
		}
	}
}
