package event

import (
	"encoding/json"
	"flag"
	"os"
	"testing"
)

var update = flag.Bool("update", false, "write the generated docs")

func TestDocsAreCurrent(t *testing.T) {
	if !json.Valid(Schema()) {
		t.Fatal("the schema is not JSON")
	}
	for path, want := range map[string][]byte{
		"../docs/schema/event.schema.json": Schema(),
		"../docs/columns.md":               Markdown(),
	} {
		if *update {
			if err := os.WriteFile(path, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != string(want) {
			t.Errorf("%s is not what the columns say: go test ./event -run Docs -update", path)
		}
	}
}
