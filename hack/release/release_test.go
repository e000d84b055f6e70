package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// place writes a file below a directory.
func place(t *testing.T, dir, name, content string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// untar returns the files of an archive. None has a time or an owner.
func untar(t *testing.T, r io.Reader) map[string]string {
	t.Helper()
	files := map[string]string{}
	for archive := tar.NewReader(r); ; {
		h, err := archive.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.ModTime.Unix() != 0 || h.Uid != 0 || h.Uname != "" {
			t.Errorf("%s: time %v, owner %d %s", h.Name, h.ModTime, h.Uid, h.Uname)
		}
		content, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		files[h.Name] = string(content)
	}
}

func gunzip(t *testing.T, content []byte) io.Reader {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestArchives_HoldAllFiles(t *testing.T) {
	t.Chdir("../..")
	dir := t.TempDir()
	linux, windows := place(t, dir, "in/linux", "elf"), place(t, dir, "in/windows", "pe")
	out := filepath.Join(dir, "out")
	if err := os.Mkdir(out, 0o755); err != nil {
		t.Fatal(err)
	}
	place(t, dir, "man/kubectl-orb8.1", ".TH")
	if err := run([]string{"archives", "-o", out, "-man", filepath.Join(dir, "man"), "linux/arm64=" + linux,
		"windows/amd64=" + windows}); err != nil {
		t.Fatal(err)
	}
	files := untar(t, gunzip(t, readFile(t, filepath.Join(out, "kubectl-orb8_linux_arm64.tar.gz"))))
	if files["kubectl-orb8"] != "elf" || !strings.Contains(files["LICENSE"], "Apache License") ||
		!strings.HasPrefix(files["kubectl_complete-orb8"], "#!/bin/sh\n") ||
		files["man/man1/kubectl-orb8.1"] != ".TH" || len(files) != 4 {
		t.Errorf("%q", slices.Collect(maps.Keys(files)))
	}
	z, err := zip.OpenReader(filepath.Join(out, "kubectl-orb8_windows_amd64.zip"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = z.Close() }()
	if len(z.File) != 3 || z.File[0].Name != "kubectl-orb8.exe" || z.File[1].Name != "kubectl_complete-orb8.cmd" ||
		z.File[2].Name != "LICENSE" {
		t.Errorf("%v", z.File)
	}
	if err := run([]string{"checksums", out}); err != nil {
		t.Fatal(err)
	}
	sums := strings.Split(string(readFile(t, filepath.Join(out, checksums))), "\n")
	if len(sums) != 3 || !strings.HasSuffix(sums[0], "  kubectl-orb8_linux_arm64.tar.gz") {
		t.Errorf("%q", sums)
	}
}

func TestImage_IsAnOCILayout(t *testing.T) {
	dir := t.TempDir()
	for _, goarch := range []string{"amd64", "arm64"} {
		place(t, dir, goarch+"/tracer", "program of "+goarch)
		place(t, dir, goarch+"/lib/c", "c")
	}
	var first, second strings.Builder
	one, two := filepath.Join(dir, "one.tar"), filepath.Join(dir, "two.tar")
	roots := []string{"amd64=" + dir + "/amd64/tracer", "arm64=" + dir + "/arm64/tracer"}
	if err := writeImages(&first, "example.org/tracer:v1", one, roots); err != nil {
		t.Fatal(err)
	}
	if err := writeImages(&second, "example.org/tracer:v1", two, roots); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(readFile(t, one), readFile(t, two)) || first.String() != second.String() {
		t.Error("two builds differ")
	}
	files := untar(t, bytes.NewReader(readFile(t, one)))
	// Each blob is what its name says, and each descriptor names one.
	for name, content := range files {
		if digest, ok := strings.CutPrefix(name, "blobs/sha256/"); ok && digestOf([]byte(content)) != "sha256:"+digest {
			t.Errorf("%s has another digest", name)
		}
	}
	blob := func(d descriptor, into any) string {
		t.Helper()
		content, ok := files["blobs/sha256/"+strings.TrimPrefix(d.Digest, "sha256:")]
		if !ok || len(content) != d.Size {
			t.Fatalf("no blob for %+v", d)
		}
		if into != nil {
			if err := json.Unmarshal([]byte(content), into); err != nil {
				t.Fatal(err)
			}
		}
		return content
	}
	var index, all imageIndex
	if err := json.Unmarshal([]byte(files["index.json"]), &index); err != nil {
		t.Fatal(err)
	}
	top := index.Manifests[0]
	if top.Digest+"\n" != first.String() || top.Annotations[refName] != "example.org/tracer:v1" {
		t.Errorf("%+v, printed %q", top, first.String())
	}
	blob(top, &all)
	for i, goarch := range []string{"amd64", "arm64"} {
		var m imageManifest
		var c imageConfig
		blob(all.Manifests[i], &m)
		blob(m.Config, &c)
		layer, err := io.ReadAll(gunzip(t, []byte(blob(m.Layers[0], nil))))
		if err != nil {
			t.Fatal(err)
		}
		root := untar(t, bytes.NewReader(layer))
		if all.Manifests[i].Platform.Architecture != goarch || c.Architecture != goarch || c.OS != "linux" ||
			c.Config.Entrypoint[0] != "/tracer" || c.RootFS.DiffIDs[0] != digestOf(layer) ||
			root["tracer"] != "program of "+goarch || root["lib/c"] != "c" {
			t.Errorf("%s: %+v with %q", goarch, c, root)
		}
	}
}

func TestKrew_FillsTheTemplate(t *testing.T) {
	dir := t.TempDir()
	for _, p := range platforms {
		place(t, dir, archiveName(p[0], p[1]), p[0]+p[1])
	}
	out := filepath.Join(t.TempDir(), "orb8.yaml")
	arguments := []string{"krew", "-version", "v1.2.3", "-template", "../../krew/orb8.yaml.tmpl", "-o", out, dir}
	if err := run(arguments); err != nil {
		t.Fatal(err)
	}
	var manifest struct {
		Metadata struct{ Name string }
		Spec     struct {
			Version, ShortDescription, Caveats string
			Platforms                          []struct{ URI, SHA256, Bin string }
		}
	}
	if err := yaml.Unmarshal(readFile(t, out), &manifest); err != nil {
		t.Fatal(err)
	}
	if manifest.Metadata.Name != "orb8" || manifest.Spec.Version != "v1.2.3" || len(manifest.Spec.Platforms) != 6 {
		t.Errorf("%+v", manifest)
	}
	for _, p := range manifest.Spec.Platforms {
		name := p.URI[strings.LastIndex(p.URI, "/")+1:]
		if sum := digestOf(readFile(t, filepath.Join(dir, name))); sum != "sha256:"+p.SHA256 {
			t.Errorf("%s has %s, not %s", name, sum, p.SHA256)
		}
		if windows := strings.Contains(name, "windows"); !strings.Contains(p.URI, "/v1.2.3/") ||
			windows != strings.HasSuffix(p.Bin, ".exe") {
			t.Errorf("%+v", p)
		}
	}
	if err := os.Remove(filepath.Join(dir, "kubectl-orb8_darwin_arm64.tar.gz")); err != nil {
		t.Fatal(err)
	}
	if err := run(arguments); err == nil {
		t.Error("no error without one of the archives")
	}
	if err := run([]string{"krew", "-version", "5179471", "-template", "x", "-o", out, dir}); err == nil {
		t.Error("no error for a version that krew refuses")
	}
}
