package images

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Bounds on what a registry says. Images of orb8 have two platforms and one layer of some 40 MB.
const (
	maxManifests = 64
	maxLayers    = 128
	maxConfig    = 4 << 20
	maxManifest  = 4 << 20
	maxBytes     = 4 << 30 // of all blobs of an image, for all its platforms
)

// Options of Save.
type Options struct {
	// Registry is where images are pulled from, HOST[:PORT][/PATH]; empty: the one in their names.
	Registry string
	// Platforms, OS/ARCH, are those to save; none: all.
	Platforms []string
	// CA are certificates in PEM that the registry's may be signed by, besides the system's.
	CA []byte
	// Progress gets a line for each image.
	Progress func(string)
}

// reference is the name of an image as nodes use it.
type reference struct{ repository, tag, digest string }

func parse(ref string) (reference, error) {
	if _, err := name.ParseReference(ref); err != nil {
		return reference{}, err
	}
	rest, digest, _ := strings.Cut(ref, "@")
	r := reference{repository: rest, digest: digest}
	if at := strings.LastIndexByte(rest, ':'); at > strings.LastIndexByte(rest, '/') {
		r.repository, r.tag = rest[:at], rest[at+1:]
	} else if digest == "" {
		r.tag = "latest"
	}
	return r, nil
}

// tagged is the name with the tag; empty: there is none.
func (r reference) tagged() string {
	if r.tag == "" {
		return ""
	}
	return r.repository + ":" + r.tag
}

func (r reference) all() (names []string) {
	if r.tag != "" {
		names = append(names, r.tagged())
	}
	if r.digest != "" {
		names = append(names, r.repository+"@"+r.digest)
	}
	return names
}

// Save pulls images and writes them as one archive, under the names in refs, wherever they are pulled from. What it has
// written is no archive if it fails.
func Save(ctx context.Context, w io.Writer, refs []string, o *Options) error {
	transport, err := o.transport()
	if err != nil {
		return err
	}
	a := newArchive(w)
	for _, ref := range refs {
		if err := a.save(ctx, ref, o, transport); err != nil {
			return fmt.Errorf("save %s: %w", ref, err)
		}
	}
	return a.close(len(o.Platforms) == 1 || len(a.docker) == len(refs))
}

// save adds an image.
func (a *archive) save(ctx context.Context, ref string, o *Options, transport http.RoundTripper) error {
	names, err := parse(ref)
	if err != nil {
		return err
	}
	from, err := Mirrored(ref, o.Registry)
	if err != nil {
		return err
	}
	o.Progress("pulling " + from)
	source, err := name.ParseReference(from)
	if err != nil {
		return err
	}
	d, err := remote.Get(source, remote.WithContext(ctx), remote.WithTransport(transport),
		remote.WithAuthFromKeychain(authn.DefaultKeychain))
	if err != nil {
		return err
	}
	budget := int64(maxBytes)
	if d.MediaType.IsIndex() {
		err = a.addIndex(d, names, o.Platforms, &budget)
	} else {
		var image v1.Image
		if image, err = d.Image(); err == nil {
			err = a.addImage(image, names, o.Platforms, &budget)
		}
	}
	if err != nil {
		return err
	}
	a.addNames(d.Descriptor, names)
	return nil
}

// addIndex adds the images of platforms, and the index as it is: its digest stays the same.
func (a *archive) addIndex(d *remote.Descriptor, names reference, platforms []string, budget *int64) error {
	index, err := d.ImageIndex()
	if err != nil {
		return err
	}
	list, err := index.IndexManifest()
	if err != nil {
		return fmt.Errorf("the index of its platforms: %w", err)
	}
	if len(list.Manifests) > maxManifests {
		return fmt.Errorf("%d platforms, want %d at most", len(list.Manifests), maxManifests)
	}
	var known []string
	for _, m := range list.Manifests {
		if !m.MediaType.IsImage() || m.Platform == nil || m.Platform.OS == "unknown" { // attestations
			continue
		}
		platform := m.Platform.OS + "/" + m.Platform.Architecture
		known = append(known, platform)
		if len(platforms) > 0 && !slices.Contains(platforms, platform) {
			continue
		}
		image, err := index.Image(m.Digest)
		if err != nil {
			return fmt.Errorf("%s: %w", platform, err)
		}
		if err := a.addImage(image, names, nil, budget); err != nil {
			return fmt.Errorf("%s: %w", platform, err)
		}
	}
	for _, p := range platforms {
		if !slices.Contains(known, p) {
			return fmt.Errorf("it has no platform %s, but %s", p, strings.Join(known, ", "))
		}
	}
	return a.addBlobBytes(d.Digest, d.Manifest)
}

// addImage adds the blobs of an image of one platform, which has to be one of platforms if there are any.
func (a *archive) addImage(image v1.Image, names reference, platforms []string, budget *int64) error {
	manifest, err := image.Manifest()
	if err != nil {
		return fmt.Errorf("its manifest: %w", err)
	}
	if err := spend(manifest, budget); err != nil {
		return err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return fmt.Errorf("its configuration: %w", err)
	}
	if own := config.OS + "/" + config.Architecture; len(platforms) > 0 && !slices.Contains(platforms, own) {
		return fmt.Errorf("it has no platform %s, but %s", strings.Join(platforms, ", "), own)
	}
	return a.addParts(image, manifest, names)
}

// spend takes the blobs that a manifest lists from a budget of bytes.
func spend(manifest *v1.Manifest, budget *int64) error {
	switch config := manifest.Config.Size; {
	case len(manifest.Layers) > maxLayers:
		return fmt.Errorf("%d layers, want %d at most", len(manifest.Layers), maxLayers)
	case config < 0 || config > maxConfig:
		return fmt.Errorf("a configuration of %d bytes, want %d at most", config, maxConfig)
	}
	for _, blob := range append([]v1.Descriptor{manifest.Config}, manifest.Layers...) {
		if blob.Size < 0 {
			return fmt.Errorf("a layer of %d bytes", blob.Size)
		}
		// Compared before it is subtracted: the sum of a few sizes may overflow.
		if blob.Size > *budget {
			return fmt.Errorf("it is larger than %d bytes", int64(maxBytes))
		}
		*budget -= blob.Size
	}
	return nil
}

// addParts adds the configuration, the layers and the manifest.
func (a *archive) addParts(image v1.Image, manifest *v1.Manifest, names reference) error {
	entry := dockerImage{Config: blobPath(manifest.Config.Digest), RepoTags: []string{}, Layers: []string{}}
	if tagged := names.tagged(); tagged != "" {
		entry.RepoTags = append(entry.RepoTags, tagged)
	}
	config, err := image.RawConfigFile()
	if err == nil {
		err = a.addBlobBytes(manifest.Config.Digest, config)
	}
	if err != nil {
		return err
	}
	for _, l := range manifest.Layers {
		layer, err := image.LayerByDigest(l.Digest)
		if err != nil {
			return err
		}
		if err := a.addBlob(l.Digest, l.Size, layer.Compressed); err != nil {
			return err
		}
		entry.Layers = append(entry.Layers, blobPath(l.Digest))
	}
	raw, err := image.RawManifest()
	if err != nil {
		return err
	}
	digest, err := image.Digest()
	if err != nil {
		return err
	}
	a.docker = append(a.docker, entry)
	return a.addBlobBytes(digest, raw)
}

func (a *archive) addBlobBytes(h v1.Hash, content []byte) error {
	return a.addBlob(h, int64(len(content)), func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(content)), nil
	})
}

func (a *archive) addBytes(path string, content []byte) error {
	return a.addFile(path, int64(len(content)), bytes.NewReader(content))
}
