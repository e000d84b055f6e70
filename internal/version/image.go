package version

const (
	// TracerRepository is where the tracer's images of released versions are.
	TracerRepository = "ghcr.io/orb8-dev/orb8-tracer"
	// Repository is where the images of agents and servers are.
	Repository = "ghcr.io/orb8-dev/orb8"
)

// tracerDigest and imageDigest are set by the linker of a release, whose images are pushed before the plugin is built:
// -X github.com/orb8-dev/kubectl-orb8/internal/version.tracerDigest=sha256:…
var tracerDigest, imageDigest string

// TracerImage is the reference of the image that a plugin of this build starts by default: by tag and digest
// where the build knows the digest, so that nobody who can push to the tag decides what runs on nodes, else by tag.
func TracerImage() string { return withDigest(TracerTag(), tracerDigest) }

// Image is the reference of the image that a plugin of this build installs by default, as TracerImage.
func Image() string { return withDigest(Tag(), imageDigest) }

func withDigest(tag, digest string) string {
	if digest == "" {
		return tag
	}
	return tag + "@" + digest
}

// TracerTag is the reference that `make image` of the same build writes into its archive: an image does not know its
// own digest.
func TracerTag() string { return TracerRepository + ":" + Version() }

// Tag is that of the image of agents and servers.
func Tag() string { return Repository + ":" + Version() }
