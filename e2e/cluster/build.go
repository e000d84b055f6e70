package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const (
	pauseImage   = "orb8.dev/e2e/pause:1"
	corednsImage = "orb8.dev/e2e/coredns:1.15.0"
)

func (c *cluster) binaries() string {
	return filepath.Join(c.cache, c.release.module+"-"+c.release.version)
}
func (c *cluster) binary(name string) string { return filepath.Join(c.binaries(), name) }

// build builds the binaries and images that the cache lacks, and returns the directory of the images. A part appears
// under its name only when it is complete.
func (c *cluster) build(ctx context.Context) (images string, err error) {
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	// Use this module's go command, since PATH may have none.
	goCommand := filepath.Join(root, "hack", "go")
	here := filepath.Join(root, "e2e", "cluster")
	err = c.fillCache(c.binaries(), func(dir string) error {
		logf("building Kubernetes %s: some minutes the first time, then it is in %s", c.release.version, c.cache)
		flags := "-s -w"
		minor := strings.Split(c.release.version, ".")[1]
		for _, variable := range []string{"gitVersion=" + c.release.version, "gitMajor=1", "gitMinor=" + minor} {
			flags += " -X k8s.io/component-base/version." + variable
		}
		args := []string{"build", "-trimpath", "-ldflags", flags, "-o", dir + "/"}
		for _, name := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet",
			"kube-proxy", "kubectl"} {
			args = append(args, "k8s.io/kubernetes/cmd/"+name)
		}
		_, err := output(ctx, filepath.Join(here, c.release.module), goCommand, args...)
		return err
	})
	if err != nil {
		return "", err
	}
	key, err := hashFiles(filepath.Join(here, "pause"), filepath.Join(here, "coredns"),
		filepath.Join(root, "e2e", "image"))
	if err != nil {
		return "", err
	}
	images = filepath.Join(c.cache, "images-"+key)
	return images, c.fillCache(images, func(dir string) error {
		logf("building CoreDNS and the sandbox image")
		for _, image := range []struct{ ref, name, dir, pkg string }{
			{pauseImage, "pause", root, "./e2e/cluster/pause"},
			{corednsImage, "coredns", filepath.Join(here, "coredns"), "."},
		} {
			binary := filepath.Join(dir, image.name)
			if _, err := output(ctx, image.dir, goCommand, "build", "-trimpath", "-ldflags", "-s -w", "-o", binary,
				image.pkg); err != nil {
				return err
			}
			if _, err := output(ctx, root, goCommand, "run", "./e2e/image", "-ref", image.ref, "-o", binary+".tar",
				binary); err != nil {
				return err
			}
		}
		return nil
	})
}

// moduleRoot returns the root of this module: the directory of its go.mod, at or above the current directory.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		b, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(b), "module github.com/orb8-dev/kubectl-orb8\n") {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("run this from inside the module: it builds from its source")
		}
	}
}

// hashFiles returns a hash of all files below some directories, 12 hexadecimal digits.
func hashFiles(dirs ...string) (string, error) {
	hash := sha256.New()
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			b, err := os.ReadFile(path)
			fmt.Fprintf(hash, "%s %d\n%s", d.Name(), len(b), b)
			return err
		})
		if err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%x", hash.Sum(nil)[:6]), nil
}

// fillCache fills a directory of the cache, unless it exists, under a temporary name and renames it at the end.
func (c *cluster) fillCache(dir string, fill func(string) error) error {
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
	defer func() { _ = os.RemoveAll(part) }() // a leftover is harmless; after the rename there is none
	if err := fill(part); err != nil {
		return err
	}
	if err := os.Chmod(part, 0o755); err != nil {
		return err
	}
	// A concurrent build may have renamed its own first.
	if err := os.Rename(part, dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// output runs a command in a directory and returns its stdout. The error includes its stderr.
func output(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", filepath.Base(name), strings.Join(args, " "), err,
			tail(stderr.String(), 2000))
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
