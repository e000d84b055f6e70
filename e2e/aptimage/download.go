package aptimage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
)

// download downloads packages with all that they depend on, and unpacks each into a directory of its own: one may have
// /lib as a directory, another as a link. apt has its state in dir, as if nothing were installed, and its configuration
// and sources from the machine.
func download(ctx context.Context, dir string, packages []string) (unpacked []string, err error) {
	for _, program := range []string{"apt-get", "dpkg-deb"} {
		if _, err := exec.LookPath(program); err != nil {
			return nil, fmt.Errorf("%w: the packages come from the mirrors of a Debian or Ubuntu machine", err)
		}
	}
	state, cache, status := filepath.Join(dir, "state"), filepath.Join(dir, "cache"), filepath.Join(dir, "status")
	archives := filepath.Join(cache, "archives")
	if err := errors.Join(
		os.MkdirAll(filepath.Join(state, "lists", "partial"), 0o755),
		os.MkdirAll(filepath.Join(archives, "partial"), 0o755),
		os.WriteFile(status, nil, 0o644),
	); err != nil {
		return nil, err
	}
	apt := func(args ...string) *exec.Cmd {
		// The directory may be one that only its owner enters, so apt's own user does not download.
		options := []string{"-q", "-y", "-o", "Dir::State=" + state, "-o", "Dir::State::status=" + status,
			"-o", "Dir::Cache=" + cache, "-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=3",
			"-o", "Acquire::http::Timeout=20", "-o", "Acquire::https::Timeout=20"}
		cmd := exec.CommandContext(ctx, "apt-get", append(options, args...)...)
		cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
		return cmd
	}
	// An update may fail for one source of many, or succeed without any. So it is judged by what can be installed.
	listed, err := apt("update").CombinedOutput()
	if ctx.Err() != nil {
		return nil, fmt.Errorf("apt-get update: %w", errors.Join(err, ctx.Err()))
	}
	install := append([]string{"install", "--download-only", "--no-install-recommends"}, packages...)
	if err := run(apt(install...)); err != nil {
		return nil, fmt.Errorf("are the mirrors of /etc/apt reachable? %w\napt-get update had printed:\n%s", err,
			lastLines(string(listed)))
	}
	debs, err := filepath.Glob(filepath.Join(archives, "*.deb"))
	if err != nil {
		return nil, err
	}
	slices.Sort(debs)
	for _, deb := range debs {
		to := filepath.Join(dir, "packages", filepath.Base(deb))
		if err := os.MkdirAll(to, 0o755); err != nil {
			return nil, err
		}
		if err := run(exec.CommandContext(ctx, "dpkg-deb", "-x", deb, to)); err != nil {
			return nil, err
		}
		unpacked = append(unpacked, to)
	}
	return unpacked, nil
}
