package images

import (
	"archive/tar"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// mirror is a registry with TLS and a password, below a path, that has one image for two platforms.
type mirror struct {
	*httptest.Server
	host string
	// fault, if not nil, answers a request in place of the registry.
	fault func(w http.ResponseWriter, r *http.Request) bool
	// digest of the image's index, and of its manifest for linux/amd64.
	digest, amd64 v1.Hash
}

const (
	mirrored = "mirror/orb8-dev/orb8-tracer"
	tag      = "ghcr.io/orb8-dev/orb8-tracer:v1.2.3"
)

func newMirror(t *testing.T) *mirror {
	t.Helper()
	m := &mirror{}
	serve := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	m.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "alice" || password != "s3cret" {
			w.Header().Set("WWW-Authenticate", "Basic")
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED"}]}`, http.StatusUnauthorized)
			return
		}
		if m.fault == nil || !m.fault(w, r) {
			serve.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(m.Close)
	m.host = strings.TrimPrefix(m.URL, "https://")
	m.push(t)
	config := fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, m.host,
		base64.StdEncoding.EncodeToString([]byte("alice:s3cret")))
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("DOCKER_CONFIG", dir)
	return m
}

func (m *mirror) push(t *testing.T) {
	t.Helper()
	index := v1.ImageIndex(empty.Index)
	for _, arch := range []string{"amd64", "arm64"} {
		image, err := random.Image(1000, 2)
		check(t, err)
		config, err := image.ConfigFile()
		check(t, err)
		config.OS, config.Architecture = "linux", arch
		image, err = mutate.ConfigFile(image, config)
		check(t, err)
		if arch == "amd64" {
			m.amd64, err = image.Digest()
			check(t, err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image,
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}})
	}
	ref, err := name.ParseReference(m.host + "/" + mirrored + ":v1.2.3")
	check(t, err)
	check(t, remote.WriteIndex(ref, index, remote.WithTransport(m.Client().Transport),
		remote.WithAuth(&authn.Basic{Username: "alice", Password: "s3cret"})))
	m.digest, err = index.Digest()
	check(t, err)
}

func (m *mirror) options(platforms ...string) *Options {
	return &Options{Registry: m.host + "/mirror", Platforms: platforms, Progress: func(string) {},
		CA: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: m.Certificate().Raw})}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// unpack returns the files of an archive.
func unpack(t *testing.T, archive []byte) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		header, err := r.Next()
		if err == io.EOF {
			return files
		}
		check(t, err)
		content, err := io.ReadAll(r)
		check(t, err)
		if files[header.Name] != nil {
			t.Errorf("%s is there twice", header.Name)
		}
		files[header.Name] = content
	}
}

func TestSave_KeepsDigestsAndNames(t *testing.T) {
	m := newMirror(t)
	byDigest := tag + "@" + m.digest.String()
	for _, test := range []struct {
		platforms []string
		blobs     int
		docker    bool
	}{
		{nil, 1 + 2*4, false}, {[]string{"linux/amd64"}, 1 + 4, true},
	} {
		var out bytes.Buffer
		check(t, Save(t.Context(), &out, []string{byDigest}, m.options(test.platforms...)))
		files := unpack(t, out.Bytes())
		var index v1.IndexManifest
		check(t, json.Unmarshal(files["index.json"], &index))
		var names []string
		for _, d := range index.Manifests {
			if d.Digest != m.digest {
				t.Errorf("the index has %s, want %s", d.Digest, m.digest)
			}
			names = append(names, d.Annotations[containerdName])
		}
		if got := strings.Join(names, " "); got != tag+" ghcr.io/orb8-dev/orb8-tracer@"+m.digest.String() {
			t.Errorf("names %s", got)
		}
		blobs := 0
		for file, content := range files {
			if hex, ok := strings.CutPrefix(file, "blobs/sha256/"); ok {
				blobs++
				if h, _, _ := v1.SHA256(bytes.NewReader(content)); h.Hex != hex {
					t.Errorf("%s has another digest", file)
				}
			}
		}
		if blobs != test.blobs || files["oci-layout"] == nil {
			t.Errorf("%v: %d blobs, want %d", test.platforms, blobs, test.blobs)
		}
		docker, ok := files["manifest.json"]
		if ok != test.docker || ok && !strings.Contains(string(docker), `"RepoTags":["`+tag+`"]`) {
			t.Errorf("%v: manifest.json %s", test.platforms, docker)
		}
	}
}

func TestSave_RefusesWhatIsWrong(t *testing.T) {
	m := newMirror(t)
	manifest := func(r *http.Request) bool { return strings.Contains(r.URL.Path, "/manifests/") }
	blobs := 0
	layer := func(r *http.Request) bool {
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
			blobs++
			return blobs > 1 // the first one is the configuration
		}
		return false
	}
	for _, test := range []struct {
		name, ref, want string
		fault           func(w http.ResponseWriter, r *http.Request) bool
		change          func(*Options)
	}{
		{name: "no such image", ref: "ghcr.io/orb8-dev/none:v1", want: "NAME_UNKNOWN"},
		{name: "another image than the digest's", want: "does not match requested digest",
			fault: func(w http.ResponseWriter, r *http.Request) bool {
				if manifest(r) {
					fmt.Fprint(w, `{"schemaVersion":2}`)
				}
				return manifest(r)
			}},
		{name: "a manifest without an end", want: "an answer of more than 4194304 bytes",
			fault: func(w http.ResponseWriter, r *http.Request) bool {
				for i := 0; manifest(r) && i < 64; i++ {
					_, _ = w.Write(make([]byte, 1<<20)) // until the client has enough
				}
				return manifest(r)
			}},
		{name: "another layer", want: "blob sha256:",
			fault: func(w http.ResponseWriter, r *http.Request) bool {
				if !layer(r) {
					return false
				}
				_, _ = w.Write(make([]byte, 4096))
				_ = http.NewResponseController(w).Flush() // without a Content-Length
				return true
			}},
		{name: "a layer that is cut", want: "blob sha256:",
			fault: func(w http.ResponseWriter, r *http.Request) bool {
				if !layer(r) {
					return false
				}
				_, _ = w.Write(make([]byte, 10))
				_ = http.NewResponseController(w).Flush()
				return true
			}},
		{name: "another configuration", want: "its configuration",
			fault: func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.Contains(r.URL.Path, "/blobs/") {
					return false
				}
				_, _ = w.Write(make([]byte, 100<<20))
				return true
			}},
		{name: "an unknown platform", want: "it has no platform linux/s390x, but linux/amd64, linux/arm64",
			change: func(o *Options) { o.Platforms = []string{"linux/s390x"} }},
		{name: "an unknown authority", want: "certificate", change: func(o *Options) { o.CA = nil }},
		{name: "no certificate", want: "no certificate in PEM", change: func(o *Options) { o.CA = []byte("x") }},
	} {
		t.Run(test.name, func(t *testing.T) {
			m.fault, blobs = test.fault, 0
			o := m.options()
			if test.change != nil {
				test.change(o)
			}
			ref := test.ref
			if ref == "" {
				ref = tag + "@" + m.digest.String()
			}
			err := Save(t.Context(), io.Discard, []string{ref}, o)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
	m.fault = nil
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	t.Setenv("HOME", t.TempDir())
	if err := Save(t.Context(), io.Discard, []string{tag}, m.options()); err == nil ||
		!strings.Contains(err.Error(), "UNAUTHORIZED") {
		t.Errorf("without credentials: %v", err)
	}
}

func TestSave_OneManifestWithoutAnIndex(t *testing.T) {
	m := newMirror(t)
	ref := "ghcr.io/orb8-dev/orb8-tracer@" + m.amd64.String()
	var out bytes.Buffer
	check(t, Save(t.Context(), &out, []string{ref}, m.options()))
	files := unpack(t, out.Bytes())
	if files["manifest.json"] == nil || !strings.Contains(string(files["index.json"]), ref) {
		t.Errorf("index.json %s", files["index.json"])
	}
	if err := Save(t.Context(), io.Discard, []string{ref}, m.options("linux/arm64")); err == nil ||
		!strings.Contains(err.Error(), "it has no platform linux/arm64, but linux/amd64") {
		t.Errorf("another platform: %v", err)
	}
}

func TestTransport_NeedsTLS(t *testing.T) {
	for _, host := range []string{"10.1.2.3:5000", "registry.local"} {
		r := httptest.NewRequest(http.MethodGet, "http://"+host+"/v2/", nil)
		response, err := bounded{http.DefaultTransport}.RoundTrip(r)
		if err == nil {
			_ = response.Body.Close()
		}
		if err == nil || err.Error() != host+" has no TLS" {
			t.Errorf("%s: %v", host, err)
		}
	}
}

// TestTransport_LimitsRedirectedManifests has a registry whose manifests lie where blobs do, and have no end.
func TestTransport_LimitsRedirectedManifests(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/manifests/") {
			http.Redirect(w, r, "/v2/blobs/x/blobs/sha256:0", http.StatusTemporaryRedirect)
			return
		}
		for range 16 {
			_, _ = w.Write(make([]byte, 1<<20)) // until the client has enough
		}
	}))
	defer server.Close()
	client := &http.Client{Transport: bounded{http.DefaultTransport}}
	read := func(path string) (int, error) {
		response, err := client.Get(server.URL + path)
		check(t, err)
		defer func() { _ = response.Body.Close() }()
		content, err := io.ReadAll(response.Body)
		return len(content), err
	}
	for _, path := range []string{"/v2/x/manifests/v1", "/v2/blobs/x/manifests/v1", "/v2/x/blobs/y/tags"} {
		if n, err := read(path); err == nil || n > maxManifest {
			t.Errorf("%s: %d bytes: %v", path, n, err)
		}
	}
	if n, err := read("/v2/x/blobs/sha256:0"); err != nil || n != 16<<20 {
		t.Errorf("a blob: %d bytes: %v", n, err)
	}
}

func TestSpend_KeepsWithinTheBudget(t *testing.T) {
	layers := func(sizes ...int64) (all []v1.Descriptor) {
		for _, size := range sizes {
			all = append(all, v1.Descriptor{Size: size})
		}
		return all
	}
	for name, c := range map[string]struct {
		config int64
		layers []v1.Descriptor
		want   string
	}{
		"an image":              {1000, layers(40<<20, 1), ""},
		"a layer too many":      {1, layers(make([]int64, maxLayers+1)...), "129 layers, want 128 at most"},
		"a large configuration": {maxConfig + 1, nil, "a configuration of 4194305 bytes, want 4194304 at most"},
		"no configuration":      {-1, nil, "a configuration of -1 bytes, want 4194304 at most"},
		"a negative layer":      {1, layers(-1), "a layer of -1 bytes"},
		"a large layer":         {1, layers(maxBytes), "it is larger than 4294967296 bytes"},
		"a sum that overflows":  {1, layers(math.MaxInt64, math.MaxInt64, 2), "it is larger than 4294967296 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			budget := int64(maxBytes)
			got := ""
			manifest := &v1.Manifest{Config: v1.Descriptor{Size: c.config}, Layers: c.layers}
			if err := spend(manifest, &budget); err != nil {
				got = err.Error()
			}
			if got != c.want || budget < 0 || budget > maxBytes {
				t.Errorf("%q, want %q; %d bytes are left", got, c.want, budget)
			}
		})
	}
}

func TestMirrored_KeepsTagAndDigest(t *testing.T) {
	digest := "@sha256:" + strings.Repeat("0", 64)
	for _, test := range []struct{ ref, registry, want string }{
		{"ghcr.io/a/b:v1" + digest, "registry.corp:5000/mirror", "registry.corp:5000/mirror/a/b:v1" + digest},
		{"ghcr.io/a/b:v1", "localhost", "localhost/a/b:v1"},
		{"ghcr.io/a/b:v1", "", "ghcr.io/a/b:v1"},
		{"ghcr.io/a/b:v1", "mirror", ""},
		{"ghcr.io/a/b:v1", "registry.corp/", ""},
		{"ghcr.io/a/b:v1", "https://registry.corp", ""},
		{"ghcr.io/a/b:v1", "registry.corp/UPPER", ""},
	} {
		got, err := Mirrored(test.ref, test.registry)
		if got != test.want || (err != nil) != (test.want == "") {
			t.Errorf("%s at %q is %q, %v", test.ref, test.registry, got, err)
		}
	}
}
