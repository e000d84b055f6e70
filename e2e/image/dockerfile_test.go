package main

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

var pinned = regexp.MustCompile(`^FROM (--platform=\S+ )?(scratch|\S+@sha256:[0-9a-f]{64})( AS \S+)?$`)

// TestDockerfile_FetchesNothingUnpinned checks that nothing outside go.sum and the pinned toolchain is in the image.
func TestDockerfile_FetchesNothingUnpinned(t *testing.T) {
	text, err := os.ReadFile("../../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	bases := 0
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "FROM ") {
			bases++
			if !pinned.MatchString(line) {
				t.Errorf("%q: want scratch, or a base image by digest", line)
			}
		}
		if strings.HasPrefix(line, "RUN ") || strings.HasPrefix(line, "ADD ") {
			t.Errorf("%q: packages that it fetches are not pinned; build with make tracer", line)
		}
	}
	if bases == 0 {
		t.Error("no FROM")
	}
}
