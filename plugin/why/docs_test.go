package why_test

import (
	"runtime"
	"testing"

	"github.com/orb8-dev/kubectl-orb8/plugin/why"
)

// TestDocsAreCurrent writes the page of the rules from their table.
func TestDocsAreCurrent(t *testing.T) {
	golden(t, "../../docs/why-gpu-rules.md", why.RulesPage())
}

// onlyHere are numbers that other CPUs' arithmetic may round otherwise.
func onlyHere(t *testing.T) {
	t.Helper()
	if runtime.GOARCH != "amd64" {
		t.Skip("the golden file was written on amd64")
	}
}
