package main

import (
	"bytes"
	"os"
	"testing"
)

// TestGenerated_UpToDate fails when event.proto has a field that event/check does not know.
func TestGenerated_UpToDate(t *testing.T) {
	want, err := generate()
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../fields.go")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("event/check/fields.go is older than event.proto: run go generate ./event/check")
	}
}
