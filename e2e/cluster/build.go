package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const (
	pauseImage   = "orb8.dev/e2e/pause:1"
	corednsImage = "orb8.dev/e2e/coredns:1.15.0"
)

func (c *cluster) binaries() string          { return filepath.Join(c.cache, "kubernetes-"+version) }
func (c *cluster) binary(name string) string { return filepath.Join(c.binaries(), name) }
func (c *cluster) images() string            { return filepath.Join(c.cache, "images-2") }

// build makes what the cache lacks. Each part appears under its name only when it is whole.
func (c *cluster) build(ctx context.Context) error {
	root, err := output(ctx, "", "go", "list", "-m", "-f", "{{.Dir}}", "github.com/orb8-dev/kubectl-orb8")
	if err != nil {
		return fmt.Errorf("find the module: run this from inside it: %w", err)
	}
	here := filepath.Join(root, "e2e", "cluster")
	err = c.whole(c.binaries(), func(dir string) error {
		say("building Kubernetes %s: some minutes the first time, then it is in %s", version, c.cache)
		flags := "-s -w"
		for name, value := range map[string]string{"gitVersion": version, "gitMajor": "1", "gitMinor": "37"} {
			flags += " -X k8s.io/component-base/version." + name + "=" + value
		}
		args := []string{"build", "-trimpath", "-ldflags", flags, "-o", dir + "/"}
		for _, name := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl"} {
			args = append(args, "k8s.io/kubernetes/cmd/"+name)
		}
		_, err := output(ctx, filepath.Join(here, "kubernetes"), "go", args...)
		return err
	})
	if err != nil {
		return err
	}
	return c.whole(c.images(), func(dir string) error {
		say("building CoreDNS and the sandbox image")
		for _, image := range []struct{ ref, dir, name string }{
			{pauseImage, root, "pause"}, {corednsImage, filepath.Join(here, "coredns"), "coredns"},
		} {
			source := "."
			if image.name == "pause" {
				source = "./e2e/cluster/pause"
			}
			binary := filepath.Join(dir, image.name)
			if _, err := output(ctx, image.dir, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, source); err != nil {
				return err
			}
			if _, err := output(ctx, root, "go", "run", "./e2e/image", "-ref", image.ref, "-o", binary+".tar", binary); err != nil {
				return err
			}
		}
		return nil
	})
}

// whole fills a directory under another name and renames it when it is done.
func (c *cluster) whole(dir string, fill func(string) error) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if err := os.MkdirAll(c.cache, 0o755); err != nil {
		return err
	}
	part, err := os.MkdirTemp(c.cache, filepath.Base(dir)+".part-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(part)
	if err := fill(part); err != nil {
		return err
	}
	if err := os.Chmod(part, 0o755); err != nil {
		return err
	}
	return os.Rename(part, dir)
}

// output runs a command and returns what it prints. Its error holds what it wrote to stderr.
func output(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", filepath.Base(name), strings.Join(args, " "), err, tail(stderr.String(), 2000))
	}
	return strings.TrimSpace(string(out)), nil
}

func tail(s string, n int) string {
	s = strings.TrimSpace(s)
	if len(s) > n {
		s = "…" + s[len(s)-n:]
	}
	return s
}
