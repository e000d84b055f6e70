package export

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/orb8-dev/kubectl-orb8/internal/credentials"
	"github.com/orb8-dev/kubectl-orb8/internal/exportconfig"
)

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
	c.TLS = exportconfig.TLS{CAFile: path}
	write("a: 1")
	if _, err := readFiles(c); err == nil || !strings.HasPrefix(err.Error(), "tls.caFile: "+path+": no certificate") {
		t.Error(err)
	}
	c.TLS = exportconfig.TLS{CertFile: path, KeyFile: path}
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
