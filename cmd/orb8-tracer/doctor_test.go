//go:build linux

package main

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/orb8-dev/kubectl-orb8/internal/capabilities"
)

func TestCapabilitiesAreThoseThatTheKernelTakes(t *testing.T) {
	status := filepath.Join(t.TempDir(), "status")
	// BPF and SYS_RESOURCE, by capabilities(7).
	if err := os.WriteFile(status, []byte("Name:\torb8-tracer\nCapEff:\t0000008001000000\nCapBnd:\t0\n"),
		0o600); err != nil {
		t.Fatal(err)
	}
	for kernel, old := range map[string]bool{
		"5.10.0-32-cloud-amd64": true, "4.19.0": true, "5.11.0": false, "5.15.0-1-gke": false,
		"6.1.0-18-cloud-arm64": false, "": false,
	} {
		granted, missing, err := compareCapabilities(status, kernel, false)
		if err != nil {
			t.Fatal(err)
		}
		want := []string{"BPF"}
		if old {
			want = append(want, "SYS_RESOURCE")
		}
		if !slices.Equal(granted, want) || !slices.Equal(missing, []string{"PERFMON", "NET_ADMIN"}) {
			t.Errorf("Linux %q: granted %v, missing %v", kernel, granted, missing)
		}
	}
	for kernel, more := range map[string][]string{
		"6.1.0": {"SYS_PTRACE", "SETUID", "SETGID", "SYS_ADMIN"}, "6.6.0": {"SYS_PTRACE", "SETUID", "SETGID"},
	} {
		if _, missing, err := compareCapabilities(status, kernel, true); err != nil ||
			!slices.Equal(missing, append([]string{"PERFMON", "NET_ADMIN"}, more...)) {
			t.Errorf("for GPUs on Linux %s: missing %v, %v", kernel, missing, err)
		}
	}
	if _, _, err := compareCapabilities(filepath.Join(t.TempDir(), "none"), "", false); err == nil {
		t.Error("no error without a status file")
	}
}

func TestEveryCapabilityHasItsNumber(t *testing.T) {
	for _, name := range capabilities.For("5.10", true) {
		if numbers[name] == 0 {
			t.Errorf("%s has no number", name)
		}
	}
}

func TestDoctor_RefusesBrokenConfigurations(t *testing.T) {
	env := func(string) string { return "!" }
	if err := run(t.Context(), []string{"doctor"}, env, io.Discard, io.Discard); err == nil ||
		!strings.HasPrefix(err.Error(), "read the configuration: ") {
		t.Errorf("got %v", err)
	}
}
