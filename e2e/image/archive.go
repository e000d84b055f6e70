package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"path"
)

// Image is the reference and the configuration of an image.
type Image struct {
	// Reference is the name with its tag, such as "ghcr.io/orb8-dev/orb8-tracer:v1.2.3".
	Reference string
	// Architecture is spelled as Go and OCI do: amd64, arm64.
	Architecture string
	// Binary is the absolute path of the entrypoint in the image.
	Binary string
}

// config is the part of the image configuration that runtimes read
// (https://github.com/opencontainers/image-spec/blob/main/config.md).
type config struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
	Config       struct {
		Entrypoint []string
		Env        []string
	} `json:"config"`
	RootFS struct {
		Type    string   `json:"type"`
		DiffIDs []string `json:"diff_ids"`
	} `json:"rootfs"`
}

// manifest is an entry of manifest.json in an archive of `docker save`.
type manifest struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// Write writes the image in the format of `docker save`, with files as its only layer. They are owned by root and
// readable by all, since a container may run as any user.
func (i Image) Write(w io.Writer, files ...file) error {
	layer, err := archive(files...)
	if err != nil {
		return err
	}
	var c config
	c.Architecture, c.OS = i.Architecture, "linux"
	c.Config.Entrypoint = []string{i.Binary}
	c.Config.Env = []string{"PATH=" + path.Dir(i.Binary)}
	c.RootFS.Type, c.RootFS.DiffIDs = "layers", []string{"sha256:" + digest(layer)}
	configJSON, err := json.Marshal(c)
	if err != nil {
		return err
	}
	m := manifest{
		Config:   digest(configJSON) + ".json",
		RepoTags: []string{i.Reference},
		Layers:   []string{digest(layer) + "/layer.tar"},
	}
	manifestJSON, err := json.Marshal([]manifest{m})
	if err != nil {
		return err
	}
	all, err := archive(
		file{name: m.Layers[0], mode: 0o644, content: layer},
		file{name: m.Config, mode: 0o644, content: configJSON},
		file{name: "manifest.json", mode: 0o644, content: manifestJSON},
	)
	if err != nil {
		return err
	}
	_, err = w.Write(all)
	return err
}

type file struct {
	name    string
	mode    int64
	content []byte
}

// archive returns a tar file without times and owners.
func archive(files ...file) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := tar.Header{Typeflag: tar.TypeReg, Name: f.name, Mode: f.mode, Size: int64(len(f.content)),
			Format: tar.FormatUSTAR}
		if err := w.WriteHeader(&h); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.content); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return b.Bytes(), err
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
