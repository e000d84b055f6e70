package plugin

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/orb8-dev/kubectl-orb8/internal/version"
)

func TestImage_ListNamesTheMirror(t *testing.T) {
	path := strings.TrimPrefix(version.TracerImage(), "ghcr.io/")
	t.Setenv(envRegistry, "registry.corp:5000/mirror")
	code, out, _ := orb8(t, nil, "image", "list", "-o", "name")
	if lines := strings.Fields(out); code != ExitOK || len(lines) != 2 ||
		lines[0] != "registry.corp:5000/mirror/"+path {
		t.Errorf("exit code %d: %q", code, out)
	}
	if _, out, _ = orb8(t, nil, "image", "list", "--image-registry", "other.corp"); !strings.Contains(out,
		"other.corp/"+path) {
		t.Errorf("the flag does not win: %q", out)
	}
	code, _, errOut := orb8(t, nil, "image", "list", "--image-registry", "nohost")
	if code != ExitUsage || !strings.Contains(errOut, `--image-registry "nohost": want HOST[:PORT][/PATH]`) {
		t.Errorf("exit code %d: %s", code, errOut)
	}
}

func TestImage_ChoosesTheImage(t *testing.T) {
	const byDefault = "ghcr.io/orb8-dev/orb8-tracer:v1"
	for _, test := range []struct{ flag, environment, registry, envRegistry, want string }{
		{want: byDefault},
		{flag: "a:1", environment: "b:1", envRegistry: "r.corp", want: "a:1"},
		{environment: "b:1", envRegistry: "r.corp", want: "b:1"},
		{environment: "b:1", registry: "s.corp", envRegistry: "r.corp", want: "s.corp/orb8-dev/orb8-tracer:v1"},
		{envRegistry: "r.corp", want: "r.corp/orb8-dev/orb8-tracer:v1"},
		{flag: "a:1", registry: "s.corp"},
	} {
		t.Setenv(envRegistry, test.envRegistry)
		o := registryOption{registry: test.registry}
		got, err := o.image(test.flag, test.environment, byDefault)
		if got != test.want || (err != nil) != (test.want == "") {
			t.Errorf("%+v: %q, %v", test, got, err)
		}
	}
}

func TestImage_InstallFromTheMirror(t *testing.T) {
	code, out, errOut := orb8(t, nil, "install", "--dry-run=client", "-o", "yaml", "--image-registry", "registry.corp")
	if want := "image: registry.corp/" + strings.TrimPrefix(version.Image(), "ghcr.io/"); code != ExitOK ||
		strings.Count(out, want) < 2 || strings.Contains(out, "image: ghcr.io") {
		t.Errorf("exit code %d: no %q: %s", code, want, errOut)
	}
}

func TestImage_SaveRefusesWrongFlags(t *testing.T) {
	for args, want := range map[string]string{
		"":                                   "--output FILE",
		"-o x --platform linux":              `--platform "linux": want OS/ARCH`,
		"-o x --image-registry nohost":       `--image-registry "nohost"`,
		"-o x --registry-ca /no/such/ca.crt": "--registry-ca: open /no/such/ca.crt",
	} {
		code, _, errOut := orb8(t, nil, append([]string{"image", "save"}, strings.Fields(args)...)...)
		if code == ExitOK || !strings.Contains(errOut, want) {
			t.Errorf("%q: exit code %d: %s", args, code, errOut)
		}
	}
}

func TestImage_SaveLeavesNoHalfFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "orb8.tar")
	if err := os.WriteFile(path, []byte("of yesterday"), 0o600); err != nil {
		t.Fatal(err)
	}
	// Nobody listens there.
	code, _, errOut := orb8(t, nil, "image", "save", "-o", path, "--image-registry", "127.0.0.1:1")
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(path); code != ExitError || len(files) != 1 || string(b) != "of yesterday" {
		t.Errorf("exit code %d: %d files, %q: %s", code, len(files), b, errOut)
	}
}
