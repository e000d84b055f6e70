package why_test

import (
	"runtime"
	"testing"

	"github.com/orb8-dev/kubectl-orb8/plugin/why"
)

// TestDocs_RulesPageIsCurrent compares docs/why-gpu-rules.md with the table of rules.
func TestDocs_RulesPageIsCurrent(t *testing.T) {
	golden(t, "../../docs/why-gpu-rules.md", why.RulesPage())
}

// onlyHere skips tests of numbers that other architectures may round differently.
func onlyHere(t *testing.T) {
	t.Helper()
	if runtime.GOARCH != "amd64" {
		t.Skip("the golden file was written on amd64")
	}
}
