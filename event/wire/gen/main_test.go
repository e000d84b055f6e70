package main

import (
	"bytes"
	"os"
	"testing"
)

// TestGenerated_UpToDate fails when event.proto has a field that event/wire does not check or decode.
func TestGenerated_UpToDate(t *testing.T) {
	for name := range files {
		want, err := generate(name)
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile("../" + name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("event/wire/%s is older than event.proto: run go generate ./event/wire", name)
		}
	}
}
