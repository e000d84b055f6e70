package metrics

import (
	"flag"
	"os"
	"testing"
)

var update = flag.Bool("update", false, "write the generated docs")

func TestDocsAreCurrent(t *testing.T) {
	const path = "../../docs/metrics.md"
	if *update {
		if err := os.WriteFile(path, Markdown(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(Markdown()) {
		t.Errorf("%s is not what the catalog says: go test ./agent/metrics -run Docs -update", path)
	}
}
