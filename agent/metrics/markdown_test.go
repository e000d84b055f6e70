package metrics

import (
	"bytes"
	"flag"
	"os"
	"testing"
)

var update = flag.Bool("update", false, "write the generated docs")

// others is where the part of servers begins, which server/metrics writes.
var others = []byte("\n<!-- What follows is written by ")

func TestDocsAreCurrent(t *testing.T) {
	const path = "../../docs/metrics.md"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	got, rest := text, []byte(nil)
	if i := bytes.Index(text, others); i >= 0 {
		got, rest = text[:i], text[i:]
	}
	want := Markdown()
	if *update {
		if err := os.WriteFile(path, append(want, rest...), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what the catalog says: go test ./agent/metrics -run Docs -update", path)
	}
}
