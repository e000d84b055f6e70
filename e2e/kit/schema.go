package kit

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// CheckSchema validates each line on stdout against docs/schema/event.schema.json.
func (tr *Trace) CheckSchema(t testing.TB) {
	t.Helper()
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	schema, err := compiler.Compile(filepath.Join(tr.env.Root, "docs", "schema", "event.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(tr.Output)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n := 0
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for ; lines.Scan(); n++ {
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(lines.Bytes()))
		if err == nil {
			err = schema.Validate(v)
		}
		if err != nil {
			t.Fatalf("line %d, %s: %v", n+1, lines.Bytes(), err)
		}
	}
	if err := lines.Err(); err != nil || n == 0 {
		t.Fatalf("%d lines to validate: %v", n, err)
	}
}
