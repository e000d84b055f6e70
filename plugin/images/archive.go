package images

import (
	"archive/tar"
	"encoding/json"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Annotations by which ctr and others name what they import.
const (
	containerdName = "io.containerd.image.name"
	ociName        = "org.opencontainers.image.ref.name"
)

// archive writes an OCI image layout as a tar file, blob by blob. If it has one platform only, it is also an archive of
// `docker save`, since Docker Engine with its own store reads nothing else.
type archive struct {
	tar    *tar.Writer
	blobs  map[v1.Hash]bool
	index  []v1.Descriptor
	docker []dockerImage
}

// dockerImage is an entry of manifest.json.
type dockerImage struct {
	Config   string
	RepoTags []string
	Layers   []string
}

func newArchive(w io.Writer) *archive {
	return &archive{tar: tar.NewWriter(w), blobs: map[v1.Hash]bool{}}
}

func blobPath(h v1.Hash) string { return "blobs/" + h.Algorithm + "/" + h.Hex }

// addBlob adds a blob of a known size, unless it is there. open is called only if it is not.
func (a *archive) addBlob(h v1.Hash, size int64, open func() (io.ReadCloser, error)) error {
	if a.blobs[h] {
		return nil
	}
	content, err := open()
	if err != nil {
		return fmt.Errorf("blob %s: %w", h, err)
	}
	defer content.Close()
	if err := a.addFile(blobPath(h), size, content); err != nil {
		return fmt.Errorf("blob %s: %w", h, err)
	}
	a.blobs[h] = true
	return nil
}

// addFile adds a file. The content is checked by its reader, but may be too short.
func (a *archive) addFile(path string, size int64, content io.Reader) error {
	if err := a.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: path, Mode: 0o644, Size: size}); err != nil {
		return err
	}
	n, err := io.Copy(a.tar, content)
	if err == nil && n != size {
		err = fmt.Errorf("%d bytes, want %d", n, size)
	}
	return err
}

func (a *archive) addJSON(path string, object any) error {
	content, err := json.Marshal(object)
	if err != nil {
		return err
	}
	return a.addBytes(path, content)
}

// addNames lists an image in the index, once for each of its names: a node looks for it by its digest where the
// reference has one, and else by its tag.
func (a *archive) addNames(d v1.Descriptor, names reference) {
	for _, name := range names.all() {
		named := v1.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size,
			Annotations: map[string]string{containerdName: name, ociName: name}}
		a.index = append(a.index, named)
	}
}

// close writes what lists the blobs. The index comes last: without it, the archive is no image.
func (a *archive) close(onePlatform bool) error {
	if onePlatform {
		if err := a.addJSON("manifest.json", a.docker); err != nil {
			return err
		}
	}
	if err := a.addJSON("oci-layout", map[string]string{"imageLayoutVersion": "1.0.0"}); err != nil {
		return err
	}
	if err := a.addJSON("index.json", v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex,
		Manifests: a.index}); err != nil {
		return err
	}
	return a.tar.Close()
}
