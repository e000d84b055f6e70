package main

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
)

// external is a cluster that was not started by this program.
type external struct{ kubeconfig string }

func (x *external) run(ctx context.Context, args []string) error {
	switch args[0] {
	case "up", "status":
		if out, err := x.kubectl(ctx, "version"); err != nil {
			return fmt.Errorf("ORB8_E2E_KUBECONFIG=%s: %s", x.kubeconfig, out)
		}
		fmt.Println(x.kubeconfig)
		return nil
	case "kubeconfig":
		fmt.Println(x.kubeconfig)
		return nil
	case "down", "build":
		return nil
	case "load":
		return x.load(ctx, args[1:])
	}
	return fmt.Errorf("%s: not for the cluster that ORB8_E2E_KUBECONFIG names, which is not ours", args[0])
}

func (x *external) kubectl(ctx context.Context, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, "kubectl", append([]string{"--kubeconfig", x.kubeconfig},
		args...)...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// load imports archives with kind. For other clusters, it fails: their owner has to load the images.
func (x *external) load(ctx context.Context, archives []string) error {
	current, err := x.kubectl(ctx, "config", "current-context")
	if err != nil {
		return fmt.Errorf("current context: %s", current)
	}
	name, ok := strings.CutPrefix(current, "kind-")
	if !ok {
		return fmt.Errorf("context %s is no kind cluster: load these by its own means, or push them and set "+
			"ORB8_IMAGE: %s", current, strings.Join(archives, " "))
	}
	for _, a := range archives {
		if out, err := exec.CommandContext(ctx, "kind", "load", "image-archive", a, "--name",
			name).CombinedOutput(); err != nil {
			return fmt.Errorf("kind load %s: %s", a, out)
		}
	}
	return nil
}
