package main

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestPackageOf(t *testing.T) {
	for symbol, want := range map[string]string{
		"runtime.mallocgc":                                                           "runtime",
		"k8s.io/api/core/v1.(*Pod).Unmarshal":                                        "k8s.io/api/core/v1",
		"type:.eq.k8s.io/api/core/v1.EnvVar":                                         "k8s.io/api/core/v1",
		"type:*cel.dev/cel-go/cel.Env":                                               "cel.dev/cel-go/cel",
		"go:itab.*google.golang.org/grpc.ClientConn,io.Closer":                       "google.golang.org/grpc",
		"go.yaml.in/yaml/v3.yaml_parser_parse":                                       "go.yaml.in/yaml/v3",
		"gopkg.in/inf%2ev0.(*Dec).String":                                            "gopkg.in/inf.v0",
		"slices.SortFunc[go.shape.[]example.com/a.B,go.shape.int]":                   "slices",
		"example.com/kube.(*resource[go.shape.struct { k8s.io/api/core/v1.X }]).Get": "example.com/kube",
		"type:func(context.Context) error":                                           "",
		"go:func.*":                                                                  "",
	} {
		if got := packageOf(symbol); got != want {
			t.Errorf("%s: package %q, want %q", symbol, got, want)
		}
	}
}

func TestModuleOf(t *testing.T) {
	modules := []string{"k8s.io/api", "golang.org/x/net", "charm.land/bubbles/v2"}
	for path, want := range map[string]string{
		"example.com/main/plugin/tui": "example.com/main/plugin", "k8s.io/api/core/v1": "k8s.io/api",
		"k8s.io/apimachinery/pkg": "std", "golang.org/x/net": "golang.org/x/net", "net/http": "std", "": "std",
		"charm.land/bubbles/v2/table": "charm.land/bubbles/v2",
	} {
		if got := moduleOf(path, "example.com/main", modules); got != want {
			t.Errorf("%q: module %s, want %s", path, got, want)
		}
	}
}

func TestReflectCallers(t *testing.T) {
	deps := `main.main -> text/template.(*state).evalField
text/template.(*state).evalField <ReflectMethod> -> reflect.Value.MethodByName
text/template.(*state).evalField <ReflectMethod> -> runtime.panicindex
reflect.Value.MethodByName -> reflect.Value.Method
main.main <UsedInIface> -> type:main.T <UsedInIface>
`
	want := []string{"text/template.(*state).evalField"}
	if got := reflectCallers([]byte(deps)); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestBaseline_NamesWhatGrew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "modules.txt")
	if err := writeBaseline(path, map[string]int{"std": 9_000_000, "k8s.io/api": 3_000_000, "tiny": 12}); err != nil {
		t.Fatal(err)
	}
	before, err := readBaseline(path)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	writeGrowth(&out, before,
		map[string]int{"std": 9_000_000, "k8s.io/api": 3_500_000, "sigs.k8s.io/new": 7_000_000})
	lines := strings.Split(out.String(), "\n")
	if !strings.Contains(lines[0], "+7000.0 KB  sigs.k8s.io/new") ||
		!strings.Contains(lines[1], "+500.0 KB  k8s.io/api, 3000.0 KB before") ||
		strings.Contains(out.String(), "std") {
		t.Errorf("%s", out.String())
	}
}
