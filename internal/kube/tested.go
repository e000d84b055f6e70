package kube

import (
	"fmt"

	"k8s.io/apimachinery/pkg/util/version"
	versioninfo "k8s.io/apimachinery/pkg/version"
)

// The minor versions of Kubernetes 1 that the end-to-end tests run on.
const (
	OldestTested = 30
	NewestTested = 37
)

// Untested returns a warning about an API server of a version that orb8 is not tested with. It is empty for tested and
// for unknown versions.
func Untested(v *versioninfo.Info) string {
	parsed, err := version.ParseGeneric(v.GitVersion)
	if err != nil || parsed.Major() == 0 || parsed.Major() == 1 && parsed.Minor() >= OldestTested &&
		parsed.Minor() <= NewestTested {
		return ""
	}
	return fmt.Sprintf("the API server is %s: orb8 is tested with Kubernetes 1.%d to 1.%d", v.GitVersion, OldestTested,
		NewestTested)
}
