package version

// TracerRepository is where the tracer's images of released versions are.
const TracerRepository = "ghcr.io/orb8-dev/orb8-tracer"

// tracerDigest is set by the linker of a release, whose image is pushed before the plugin is built:
// -X github.com/orb8-dev/kubectl-orb8/internal/version.tracerDigest=sha256:…
var tracerDigest string

// TracerImage is the reference of the image that a plugin of this build starts by default: by tag and digest
// where the build knows the digest, so that nobody who can push to the tag decides what runs on nodes, else by tag.
func TracerImage() string { return tracerImage(tracerDigest) }

func tracerImage(digest string) string {
	if digest == "" {
		return TracerTag()
	}
	return TracerTag() + "@" + digest
}

// TracerTag is the reference that `make image` of the same build writes into its archive: an image does not know its
// own digest.
func TracerTag() string { return TracerRepository + ":" + Version() }
