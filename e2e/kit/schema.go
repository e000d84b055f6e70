package kit

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// schema returns the schema of a line of -o json.
func (e *Env) schema(t testing.TB) *jsonschema.Schema {
	t.Helper()
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	schema, err := compiler.Compile(filepath.Join(e.Root, "docs", "schema", "event.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func validate(schema *jsonschema.Schema, line []byte) error {
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(line))
	if err != nil {
		return err
	}
	return schema.Validate(v)
}

// CheckSchema validates each line on stdout against docs/schema/event.schema.json.
func (tr *Trace) CheckSchema(t testing.TB) {
	t.Helper()
	schema := tr.env.schema(t)
	f, err := os.Open(tr.Output)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n := 0
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for ; lines.Scan(); n++ {
		if err := validate(schema, lines.Bytes()); err != nil {
			t.Fatalf("line %d, %s: %v", n+1, lines.Bytes(), err)
		}
	}
	if err := lines.Err(); err != nil || n == 0 {
		t.Fatalf("%d lines to validate: %v", n, err)
	}
}
