package helm

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/template"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/yaml"

	"github.com/orb8-dev/kubectl-orb8/deploy"
)

const folder = "../chart"

func TestChart_IsGenerated(t *testing.T) {
	files, err := Files()
	if err != nil {
		t.Fatal(err)
	}
	var there []string
	for _, pattern := range []string{"*.yaml", "templates/*"} {
		found, err := filepath.Glob(filepath.Join(folder, pattern))
		if err != nil {
			t.Fatal(err)
		}
		there = append(there, found...)
	}
	if len(there) != len(files) {
		t.Errorf("%d files in %s, want %d: run make generate", len(there), folder, len(files))
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		got, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil || string(got) != files[name] {
			t.Errorf("%s differs: run make generate (%v)", name, err)
		}
	}
}

// functions are those of Helm's that the templates use, with Helm's meaning.
var functions = template.FuncMap{
	"toJson": func(v any) (string, error) {
		raw, err := json.Marshal(v)
		return string(raw), err
	},
	"default": func(fallback, v any) any {
		if v == nil || v == "" {
			return fallback
		}
		return v
	},
	"join": func(separator string, list []any) string {
		var parts []string
		for _, v := range list {
			parts = append(parts, v.(string))
		}
		return strings.Join(parts, separator)
	},
}

// render does what helm template does with the chart.
func render(t *testing.T, namespace, version string, values *Values) map[string]map[string]any {
	t.Helper()
	raw, err := json.Marshal(values)
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(raw, &fields); err != nil {
		t.Fatal(err)
	}
	data := map[string]any{
		"Values": fields, "Release": map[string]any{"Namespace": namespace},
		"Chart": map[string]any{"AppVersion": version},
	}
	files, err := filepath.Glob(filepath.Join(folder, "templates/*.yaml"))
	if err != nil || len(files) < 15 {
		t.Fatalf("%d templates, %v", len(files), err)
	}
	objects := map[string]map[string]any{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := template.New(file).Funcs(functions).Parse(string(text))
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := parsed.Execute(&out, data); err != nil {
			t.Fatal(err)
		}
		var object map[string]any
		if err := yaml.UnmarshalStrict(out.Bytes(), &object); err != nil {
			t.Fatalf("%s: %v\n%s", file, err, out.String())
		}
		dropNull(object)
		objects[filepath.Base(file)] = object
	}
	return objects
}

// dropNull removes fields that are null, which is how they are when they are not set.
func dropNull(v any) {
	switch v := v.(type) {
	case map[string]any:
		maps.DeleteFunc(v, func(_ string, field any) bool { return field == nil })
		for _, field := range v {
			dropNull(field)
		}
	case []any:
		for _, element := range v {
			dropNull(element)
		}
	}
}

// TestChart_GivesTheObjects holds the chart against the objects that install applies. It renders the templates itself:
// Helm as a Go module would bring dozens of modules.
func TestChart_GivesTheObjects(t *testing.T) {
	custom := deploy.Default("monitoring", "v1.2.3", "registry.example.com/orb8@sha256:0123")
	custom.ImagePullPolicy, custom.ImagePullSecrets = corev1.PullAlways, []string{"registry"}
	custom.Replicas, custom.HistoryMemory = 3, resource.MustParse("128Mi")
	custom.Kinds, custom.AggregateToView = []string{"gpu", "exec"}, true
	custom.AuthoritySecret = "ca"
	custom.NodeSelector, custom.GPURuntimeClass = map[string]string{"pool": "apps"}, "nvidia"
	custom.Tolerations = []corev1.Toleration{{Key: "dedicated", Operator: corev1.TolerationOpExists}}
	custom.OldestKernel, custom.ServiceMonitor, custom.MetricsAuth = "5.10", true, deploy.MetricsAuthNone
	custom.OTLP = &deploy.OTLP{Endpoint: "collector.monitoring:4317", HeadersSecret: "token", CASecret: "ca",
		Kinds: []string{"exec"}}
	custom.History = &deploy.History{URL: "https://victorialogs.monitoring:9428", Resource: "k8s.cluster.name=prod"}
	for name, v := range map[string]*deploy.Values{
		"default": deploy.Default(deploy.DefaultNamespace, "v1.2.3", repository+":v1.2.3"), "custom": custom,
	} {
		t.Run(name, func(t *testing.T) {
			values := ValuesOf(v)
			if name == "default" {
				values.Image = nil
			}
			got := render(t, v.Namespace, v.Version, values)
			maps.DeleteFunc(got, func(_ string, o map[string]any) bool { return o == nil }) // off
			want := map[string]map[string]any{}
			for _, o := range v.Objects() {
				u, err := deploy.Unstructured(o)
				if err != nil {
					t.Fatal(err)
				}
				if u.GetKind() == "Namespace" {
					continue
				}
				raw, err := json.Marshal(u.Object)
				if err != nil {
					t.Fatal(err)
				}
				var object map[string]any
				if err := json.Unmarshal(raw, &object); err != nil {
					t.Fatal(err)
				}
				want[strings.ToLower(u.GetKind())+"-"+u.GetName()+".yaml"] = object
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("the chart differs from the objects (- objects, + chart):\n%s", diff)
			}
		})
	}
}
