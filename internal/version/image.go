package version

// TracerRepository is where the tracer's images of released versions are.
const TracerRepository = "ghcr.io/orb8-dev/orb8-tracer"

// TracerImage is the image reference that a plugin of this build starts unless told otherwise, and that `make image` of
// the same build writes into its archive.
func TracerImage() string { return TracerRepository + ":" + Version() }
