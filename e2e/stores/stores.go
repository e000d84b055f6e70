// Package stores builds the programs that exports and metrics are tested with: OpenTelemetry's collector, VictoriaLogs
// and Prometheus, each from a module of its own. They are built once and kept in the cache of the end-to-end tests.
package stores

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

// program is a program of a folder of this package.
type program struct{ name, folder, pkg, tags string }

// Programs.
var (
	Collector    = program{"otelcol", "otelcol", ".", ""}
	VictoriaLogs = program{"victorialogs", "victorialogs",
		"github.com/VictoriaMetrics/VictoriaLogs/app/victoria-logs", ""}
	Prometheus = program{"prometheus", "prometheus", "github.com/prometheus/prometheus/cmd/prometheus", prometheusTags}
	Promtool   = program{"promtool", "prometheus", "github.com/prometheus/prometheus/cmd/promtool", prometheusTags}
)

// loopback is where the programs of this package's tests listen.
const loopback = "127.0.0.1"

// prometheusTags leave all service discoveries out but that of Kubernetes.
const prometheusTags = "remove_all_sd,enable_kubernetes_sd"

// Build returns the path of a program, which it builds if the cache has none. root is the root of this repository. The
// first time takes some minutes.
func (p program) Build(ctx context.Context, root string) (string, error) {
	cache := os.Getenv("ORB8_CACHE")
	if cache == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return "", err
		}
		cache = filepath.Join(user, "orb8-e2e")
	}
	root, err := filepath.Abs(root) // go is started in the folder
	if err != nil {
		return "", err
	}
	folder := filepath.Join(root, "e2e", "stores", p.folder)
	key, err := hashFiles(folder)
	if err != nil {
		return "", err
	}
	path := filepath.Join(cache, p.name+"-"+key)
	if _, err := os.Stat(path); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return path, err
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	part, err := os.CreateTemp(cache, p.name+".part-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.Remove(part.Name()) }() // after the rename there is none
	if err := part.Close(); err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(root, "hack", "go"), "build", "-trimpath", "-tags", p.tags,
		"-ldflags", "-s -w", "-o", part.Name(), p.pkg)
	cmd.Dir, cmd.Env = folder, append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=readonly")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w: %s", p.name, err, out)
	}
	return path, errors.Join(os.Chmod(part.Name(), 0o755), os.Rename(part.Name(), path))
}

// hashFiles returns a hash of the files of a folder, tests aside.
func hashFiles(folder string) (string, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return "", err
	}
	hash := sha256.New()
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(folder, e.Name()))
		if err != nil {
			return "", err
		}
		fmt.Fprintf(hash, "%s %d\n%s", e.Name(), len(text), text)
	}
	return fmt.Sprintf("%x", hash.Sum(nil)[:6]), nil
}
