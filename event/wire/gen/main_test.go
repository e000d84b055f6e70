package main

import (
	"bytes"
	"os"
	"testing"
)

// TestGenerated_UpToDate fails when event.proto has a text that event/wire does not check.
func TestGenerated_UpToDate(t *testing.T) {
	want, err := generate()
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../text.go")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("event/wire/text.go is older than event.proto: run go generate ./event/wire")
	}
}
