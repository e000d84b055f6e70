// Package version knows what this build is called. Plugin and tracer of one build give the same answer, which is how a
// mismatch of the two is reported and how the plugin picks the tracer's default image.
package version

import (
	"runtime/debug"
	"strings"
	"sync"
)

// version is set by the linker: -X github.com/orb8-dev/kubectl-orb8/internal/version.version=v1.2.3
var version string

// Unknown is the version of a build that carries neither a linker flag nor a module or VCS version.
const Unknown = "v0.0.0-unknown"

// Version is the version of this build: the linker's, else the module version (go install …@v1.2.3), else
// the commit it was built from, with "-dirty" when the tree had changes.
func Version() string { return resolved() }

var resolved = sync.OnceValue(func() string {
	info, _ := debug.ReadBuildInfo()
	return resolve(version, info)
})

func resolve(linked string, info *debug.BuildInfo) string {
	if linked != "" {
		return linked
	}
	if info == nil {
		return Unknown
	}
	// A version that the go command stamped from the VCS holds a "+" for a dirty tree, which image tags may not.
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return strings.ReplaceAll(v, "+", "-")
	}
	var revision, dirty string
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision" && len(s.Value) >= 12:
			revision = s.Value[:12]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "-dirty"
		}
	}
	if revision == "" {
		return Unknown
	}
	return "v0.0.0-" + revision + dirty
}
