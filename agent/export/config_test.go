package export

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/orb8-dev/kubectl-orb8/internal/credentials"
)

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
		Updates: Updates(5 * time.Minute), QueueBytes: 4 << 20, BatchBytes: 512 << 10, Compression: "gzip"}
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
		c.Resource["k8s.cluster.name"] != "prod" {
		t.Errorf("%+v", c)
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
		http + "http://a:1":                                         `has no TLS: want https, or tls.insecure`,
		http + "https://u:p@a:1":                                    `has credentials: put them into headersFile`,
		http + "https://a:1\ntls: {insecure: true}":                 `tls.insecure: true`,
		"endpoint: a:1\ntls: {insecure: true, caFile: /a}":          `tls.caFile: "/a": want none`,
		"endpoint: a:1\ntls: {insecure: true, serverName: a}":       `tls.serverName`,
		"endpoint: a:1\ntls: {caFile: a}":                           `tls.caFile: "a": want an absolute path`,
		"endpoint: a:1\ntls: {certFile: /a}":                        `tls.keyFile: missing`,
		"endpoint: a:1\ntls: {keyFile: /a}":                         `tls.certFile: missing`,
		"endpoint: a:1\ntls: {skipVerify: true}":                    `unknown field "skipVerify"`,
		"endpoint: a:1\nheadersFile: a":                             `headersFile: "a"`,
		"endpoint: a:1\nheaders: {a: b}":                            `unknown field "headers"`,
		"endpoint: a:1\nkinds: [flowSum]":                           `kinds: "flowSum" is not recorded: want some of`,
		"endpoint: a:1\nupdates: 1s":                                `updates: 1s: want all, or 10s`,
		"endpoint: a:1\nupdates: never":                             `updates: "never"`,
		"endpoint: a:1\nupdates: 5":                                 `updates: 5`,
		"endpoint: a:1\nqueueBytes: 1k":                             `queueBytes: 1000: want 256Ki to 1Gi`,
		"endpoint: a:1\nqueueBytes: lots":                           `queueBytes, batchBytes: "lots"`,
		"endpoint: a:1\nbatchBytes: 4Mi":                            `batchBytes: 4194304: want 16Ki to 3Mi`,
		"endpoint: a:1\nqueueBytes: 256Ki\nbatchBytes: 1Mi":         `no more than queueBytes`,
		"endpoint: a:1\ntimeout: 1h":                                `timeout: 1h0m0s: want 100ms to 5m0s`,
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
	for _, kind := range append(DefaultKinds(), alwaysKinds...) {
		switch kind {
		case "exec", "signal", "syscall", "syscallSummary":
			t.Errorf("%s is exported by default", kind)
		}
	}
}

func TestParseHeaders(t *testing.T) {
	got, err := parseHeaders([]byte("# comment\n\nAuthorization: Bearer a:b \r\nX-Scope-OrgID: tenant\n"))
	if err != nil || !reflect.DeepEqual(got, []header{{"authorization", "Bearer a:b"}, {"x-scope-orgid", "tenant"}}) {
		t.Errorf("%v, %v", got, err)
	}
	for text, want := range map[string]string{
		"a: 1\nsecret":               `line 2: want "name: value"`,
		"a b: secret":                "line 1",
		"Content-Type: secret":       "the header content-type belongs to the protocol",
		"grpc-timeout: secret":       "belongs to the protocol",
		"a: secret\x01":              "not printable",
		"a: secret\xc3\xa4":          "not printable",
		strings.Repeat("a: b\n", 33): "at most 32 headers",
	} {
		_, err := parseHeaders([]byte(text))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestReadFiles(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "headers")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := newConfig(t, "a:1", func(c *Config) { c.HeadersFile = path })
	write("a: 1")
	first, err := readFiles(c)
	if err != nil {
		t.Fatal(err)
	}
	write("a: 2")
	if second, err := readFiles(c); err != nil || first.sum == second.sum {
		t.Errorf("a change was not seen, %v", err)
	}
	write(strings.Repeat("#", credentials.MaxFile+1))
	if _, err := readFiles(c); err == nil || !strings.HasPrefix(err.Error(), "headersFile: "+path+": want at most") {
		t.Error(err)
	}
	c.TLS = TLS{CAFile: path}
	write("a: 1")
	if _, err := readFiles(c); err == nil || !strings.HasPrefix(err.Error(), "tls.caFile: "+path+": no certificate") {
		t.Error(err)
	}
	c.TLS = TLS{CertFile: path, KeyFile: path}
	if _, err := readFiles(c); err == nil || !strings.HasPrefix(err.Error(), "tls.certFile: "+path) {
		t.Error(err)
	}
}

func FuzzParseHeaders(f *testing.F) {
	f.Add([]byte("Authorization: Bearer x\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		all, err := parseHeaders(text)
		for _, h := range all {
			if !isToken(h.name) || !credentials.IsPrintable(h.value) || err == nil && len(all) > maxHeaders {
				t.Errorf("%+v", h)
			}
		}
	})
}
