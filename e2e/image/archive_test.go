package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"testing"
)

func TestImage_WritesConfigAndLayer(t *testing.T) {
	binary := []byte("\x7fELF and so on")
	image := Image{Reference: "example.org/a/b:v1", Architecture: "arm64", Binary: "/b"}
	var out bytes.Buffer
	if err := image.Write(&out, file{"b", 0o755, binary}, file{"lib/c", 0o755, []byte("c")}); err != nil {
		t.Fatal(err)
	}
	files := untar(t, out.Bytes())

	var manifests []manifest
	unmarshal(t, files["manifest.json"], &manifests)
	if len(manifests) != 1 || len(manifests[0].Layers) != 1 {
		t.Fatalf("manifest.json names %d images: %s", len(manifests), files["manifest.json"])
	}
	m := manifests[0]
	if len(m.RepoTags) != 1 || m.RepoTags[0] != image.Reference {
		t.Errorf("RepoTags are %q, want %q", m.RepoTags, image.Reference)
	}

	var c config
	unmarshal(t, files[m.Config], &c)
	if c.Architecture != "arm64" || c.OS != "linux" {
		t.Errorf("image is for %s/%s, want linux/arm64", c.OS, c.Architecture)
	}
	if len(c.Config.Entrypoint) != 1 || c.Config.Entrypoint[0] != "/b" {
		t.Errorf("entrypoint is %q, want /b", c.Config.Entrypoint)
	}
	layer := files[m.Layers[0]]
	if want := "sha256:" + digest(layer); len(c.RootFS.DiffIDs) != 1 || c.RootFS.DiffIDs[0] != want {
		t.Errorf("diff_ids are %q, want the layer's own digest %s", c.RootFS.DiffIDs, want)
	}
	if got := untar(t, layer)["lib/c"]; string(got) != "c" {
		t.Errorf("the layer holds %q as lib/c", got)
	}
	if got := untar(t, layer)["b"]; !bytes.Equal(got, binary) {
		t.Errorf("the layer holds %q as b, want %q", got, binary)
	}
}

func TestImage_WriteIsReproducible(t *testing.T) {
	image := Image{Reference: "example.org/a:v1", Architecture: "amd64", Binary: "/a"}
	var first, second bytes.Buffer
	for _, w := range []*bytes.Buffer{&first, &second} {
		if err := image.Write(w, file{"a", 0o755, []byte("content")}); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("two archives of one binary differ")
	}
}

func untar(t *testing.T, b []byte) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for r := tar.NewReader(bytes.NewReader(b)); ; {
		h, err := r.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if !h.ModTime.IsZero() && h.ModTime.Unix() != 0 {
			t.Errorf("%s has the time %s", h.Name, h.ModTime)
		}
		if files[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}

func unmarshal(t *testing.T, b []byte, to any) {
	t.Helper()
	if err := json.Unmarshal(b, to); err != nil {
		t.Fatalf("%v in %q", err, b)
	}
}
