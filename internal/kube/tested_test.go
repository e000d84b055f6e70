package kube

import (
	"testing"

	"k8s.io/apimachinery/pkg/version"
)

func TestUntested_NamesTheRange(t *testing.T) {
	for _, known := range []string{"v1.30.0", "v1.30.14+k3s1", "v1.33.4-gke.1350000", "v1.37.2-eks-1",
		"v0.0.0-master", "", "devel"} {
		if got := Untested(&version.Info{GitVersion: known}); got != "" {
			t.Errorf("%s: %q", known, got)
		}
	}
	for _, other := range []string{"v1.29.15", "v1.38.0-alpha.1", "v2.0.0"} {
		want := "the API server is " + other + ": orb8 is tested with Kubernetes 1.30 to 1.37"
		if got := Untested(&version.Info{GitVersion: other}); got != want {
			t.Errorf("%s: %q, want %q", other, got, want)
		}
	}
}
