package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestKrew_InstallsTheRelease runs krew and its validator with the files that make release-snapshot has built:
// ORB8_RELEASE is their directory, and ORB8_KREW that of the two programs. `make test-krew` sets both.
func TestKrew_InstallsTheRelease(t *testing.T) {
	release, tools := os.Getenv("ORB8_RELEASE"), os.Getenv("ORB8_KREW")
	if release == "" || tools == "" {
		t.Skip("ORB8_RELEASE and ORB8_KREW are not set: run make test-krew")
	}
	kubectl, err := exec.LookPath("kubectl")
	if err != nil {
		t.Skip("no kubectl in PATH: krew and the plugin are run by it")
	}
	server := httptest.NewServer(http.FileServer(http.Dir(release)))
	defer server.Close()
	k := newKrew(t, kubectl, tools)
	manifest := k.addIndex(t, release, server.URL)

	t.Run("the validator installs all platforms", func(t *testing.T) {
		out := k.run(t, filepath.Join(tools, "validate-krew-manifest"), "-manifest", manifest)
		if !strings.Contains(out, "all 6 spec.platforms installed fine") {
			t.Error(out)
		}
	})
	t.Run("kubectl runs the installed plugin", func(t *testing.T) {
		out := k.run(t, kubectl, "krew", "install", "local/orb8")
		if !strings.Contains(out, "kubectl orb8 cleanup") {
			t.Errorf("no caveats: %s", out)
		}
		version := k.run(t, kubectl, "orb8", "version")
		if want := k.version(t); !strings.Contains(version, want) || !strings.Contains(version, "@sha256:") {
			t.Errorf("%q: want version %s, and the image by its digest", version, want)
		}
		script := filepath.Join(k.root, "bin", "kubectl_complete-orb8")
		if out := k.run(t, kubectl, "orb8", "completion", "install"); out != script+" written\n" {
			t.Error(out)
		}
		if out := k.run(t, kubectl, "__complete", "orb8", "tr"); !strings.Contains(out, "\ntrace\t") {
			t.Errorf("kubectl completes %q", out)
		}
		k.run(t, kubectl, "orb8", "completion", "uninstall")
		k.run(t, kubectl, "krew", "uninstall", "orb8")
		if _, err := os.Stat(filepath.Join(k.root, "bin", "kubectl-orb8")); !os.IsNotExist(err) {
			t.Errorf("after uninstall: %v", err)
		}
	})
}

// krew is an empty home with krew in its path.
type krew struct {
	home, root, manifest string
	env                  []string
}

func newKrew(t *testing.T, kubectl, tools string) *krew {
	t.Helper()
	k := &krew{home: t.TempDir()}
	k.root = filepath.Join(k.home, ".krew")
	programs := filepath.Join(k.home, "bin")
	if err := os.Mkdir(programs, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"kubectl-krew": filepath.Join(tools, "krew"), "kubectl": kubectl} {
		if err := os.Symlink(target, filepath.Join(programs, name)); err != nil {
			t.Fatal(err)
		}
	}
	k.env = []string{"HOME=" + k.home, "KREW_ROOT=" + k.root, "KREW_NO_UPGRADE_CHECK=1",
		"GIT_CONFIG_NOSYSTEM=1", "KUBECONFIG=" + filepath.Join(k.home, "none"),
		"PATH=" + strings.Join([]string{programs, filepath.Join(k.root, "bin"), "/usr/bin", "/bin"}, ":")}
	return k
}

// run returns what a program prints on both outputs.
func (k *krew) run(t *testing.T, program string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Env, cmd.Dir = k.env, k.home
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", filepath.Base(program), strings.Join(args, " "), err, out)
	}
	return string(out)
}

// addIndex makes an index with the release's manifest, which fetches from url, and returns the path of the manifest.
func (k *krew) addIndex(t *testing.T, release, url string) string {
	t.Helper()
	published := string(readFile(t, filepath.Join(release, "orb8.yaml")))
	_, rest, _ := strings.Cut(published, "releases/download/")
	version, _, _ := strings.Cut(rest, "/")
	local := strings.ReplaceAll(published, "https://github.com/orb8-dev/kubectl-orb8/releases/download/"+version, url)
	index := filepath.Join(k.home, "index")
	k.manifest = place(t, index, "plugins/orb8.yaml", local)
	git := func(args ...string) {
		t.Helper()
		k.run(t, "git", append([]string{"-C", index, "-c", "user.name=test", "-c", "user.email=test@example.org"},
			args...)...)
	}
	git("init", "-q")
	git("add", "-A")
	git("commit", "-q", "-m", "index")
	k.run(t, "kubectl", "krew", "index", "add", "local", "file://"+index)
	return k.manifest
}

// version is that of the manifest.
func (k *krew) version(t *testing.T) string {
	t.Helper()
	for line := range strings.Lines(string(readFile(t, k.manifest))) {
		if version, ok := strings.CutPrefix(strings.TrimSpace(line), "version: "); ok {
			return version
		}
	}
	t.Fatal("the manifest has no version")
	return ""
}
