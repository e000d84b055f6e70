package kit

import (
	"os/exec"
	"strings"
	"testing"
)

// Apply applies a manifest with kubectl and deletes its objects at the end of the test.
func (e *Env) Apply(t testing.TB, manifest string) {
	t.Helper()
	kubectl := func(args ...string) error {
		t.Helper()
		path, err := findKubectl(e.Path())
		if err != nil {
			return err
		}
		cmd := exec.Command(path, append(args, "-f", "-")...)
		cmd.Env, cmd.Stdin = e.Environ(e.Kubeconfig), strings.NewReader(manifest)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
			return err
		}
		return nil
	}
	t.Cleanup(func() { _ = kubectl("delete", "--ignore-not-found", "--wait=false") })
	if err := kubectl("apply"); err != nil {
		t.FailNow()
	}
}
