package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
)

// The media types of https://github.com/opencontainers/image-spec.
const (
	typeIndex    = "application/vnd.oci.image.index.v1+json"
	typeManifest = "application/vnd.oci.image.manifest.v1+json"
	typeConfig   = "application/vnd.oci.image.config.v1+json"
	typeLayer    = "application/vnd.oci.image.layer.v1.tar+gzip"
	refName      = "org.opencontainers.image.ref.name"
)

type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Platform    *platform         `json:"platform,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

type platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
}

type imageIndex struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Manifests     []descriptor `json:"manifests"`
}

type imageManifest struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Config        descriptor   `json:"config"`
	Layers        []descriptor `json:"layers"`
}

type imageConfig struct {
	platform
	Config struct {
		Entrypoint []string
		Env        []string
	} `json:"config"`
	RootFS struct {
		Type    string   `json:"type"`
		DiffIDs []string `json:"diff_ids"`
	} `json:"rootfs"`
}

func digestOf(content []byte) string {
	sum := sha256.Sum256(content)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// layout is an OCI image layout: blobs by digest, and an index.
type layout struct{ blobs []entry }

func (l *layout) add(mediaType string, content []byte) descriptor {
	digest := digestOf(content)
	l.blobs = append(l.blobs, entry{"blobs/sha256/" + digest[len("sha256:"):], 0o644, content})
	return descriptor{MediaType: mediaType, Digest: digest, Size: len(content)}
}

func (l *layout) addJSON(mediaType string, object any) (descriptor, error) {
	content, err := json.Marshal(object)
	return l.add(mediaType, content), err
}

// addImage adds the image of a directory's files for a platform.
func (l *layout) addImage(goarch, dir, entrypoint string) (descriptor, error) {
	files, err := readTree(dir)
	if err != nil {
		return descriptor{}, err
	}
	content, err := tarFile(files...)
	if err != nil {
		return descriptor{}, err
	}
	compressed, err := compress(content)
	if err != nil {
		return descriptor{}, err
	}
	c := imageConfig{platform: platform{goarch, "linux"}}
	c.Config.Entrypoint = []string{"/" + entrypoint}
	c.Config.Env = []string{"PATH=/"}
	c.RootFS.Type, c.RootFS.DiffIDs = "layers", []string{digestOf(content)}
	config, err := l.addJSON(typeConfig, c)
	if err != nil {
		return descriptor{}, err
	}
	manifest, err := l.addJSON(typeManifest, imageManifest{2, typeManifest, config,
		[]descriptor{l.add(typeLayer, compressed)}})
	manifest.Platform = &c.platform
	return manifest, err
}

// readTree reads the files of a directory, in the order of their names.
func readTree(dir string) (files []entry, err error) {
	root := os.DirFS(dir)
	err = fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := fs.ReadFile(root, name)
		files = append(files, entry{name, 0o755, content})
		return err
	})
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("%s has no files", dir)
	}
	return files, err
}

// writeImages writes an archive with the image of each platform, ARCH=DIRECTORY/ENTRYPOINT, and prints the digest that
// a registry will know them by.
func writeImages(w io.Writer, ref, out string, roots []string) error {
	if ref == "" || out == "" || len(roots) == 0 {
		return errors.New("image: want -ref, -o and directories")
	}
	l := &layout{}
	all := imageIndex{SchemaVersion: 2, MediaType: typeIndex}
	for _, arg := range roots {
		goarch, file, err := pair(arg)
		if err != nil {
			return err
		}
		manifest, err := l.addImage(goarch, filepath.Dir(file), path.Base(filepath.ToSlash(file)))
		if err != nil {
			return err
		}
		all.Manifests = append(all.Manifests, manifest)
	}
	top, err := l.addJSON(typeIndex, all)
	if err != nil {
		return err
	}
	top.Annotations = map[string]string{refName: ref}
	index, err := json.Marshal(imageIndex{2, typeIndex, []descriptor{top}})
	if err != nil {
		return err
	}
	content, err := tarFile(append([]entry{{"oci-layout", 0o644, []byte(`{"imageLayoutVersion":"1.0.0"}`)},
		{"index.json", 0o644, index}}, l.blobs...)...)
	if err != nil {
		return err
	}
	_, printed := fmt.Fprintln(w, top.Digest)
	return errors.Join(os.WriteFile(out, content, 0o644), printed)
}
