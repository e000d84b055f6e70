// Package kernels tries orb8's programs on the kernels of distributions, in virtual machines without any acceleration.
package kernels

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// Kernel is a kernel of Debian's.
type Kernel struct {
	// Series is its release without the last number, Arch is Go's word for the architecture.
	Series, Arch string
	// Supported says that every probe has to work there. Where not, each has to say why it does not.
	Supported bool
	// Whole are the folders of bpf all of whose chosen tests run, of the others only the sample does; nil: all of all.
	// What a kernel does not tell beyond the one before it, or beyond another architecture, costs CI minutes.
	Whole []string
	// Minutes is about how long it takes: the longest begin first, so that no CPU waits at the end.
	Minutes int
}

// Kernels are those that are tried, the oldest first.
var Kernels = []Kernel{
	{Series: "5.10", Arch: "amd64", Supported: true, Minutes: 10},
	// All of cuda runs on this kernel's other architecture and on this architecture's other kernel.
	{Series: "6.1", Arch: "amd64", Supported: true, Whole: []string{"dns", "drops", "exec", "flows", "tcp"},
		Minutes: 5},
	// 6.10 changed what the tracepoints of drops and of resets have.
	{Series: "6.12", Arch: "amd64", Supported: true, Whole: []string{"drops"}, Minutes: 5},
	// Registers, instructions and system calls are the architecture's.
	{Series: "6.1", Arch: "arm64", Supported: true, Whole: []string{"cuda", "syscalls"}, Minutes: 9},
}

// Name is how a kernel is called in tests and tables.
func (k Kernel) Name() string { return k.Series + "-" + k.Arch }

// suites hold the series.
var suites = map[string]string{"5.10": "bullseye", "6.1": "bookworm", "6.12": "trixie"}

// cacheDir is where packages are kept between runs, next to what else tests build once.
func cacheDir() (string, error) {
	if dir := os.Getenv("ORB8_CACHE"); dir != "" {
		return filepath.Join(dir, "kernels"), nil
	}
	dir, err := os.UserCacheDir()
	return filepath.Join(dir, "orb8-e2e", "kernels"), err
}

// Fetch gives the path of the kernel's image, from the cache or from Debian's archive, whose signature apt checks.
func Fetch(ctx context.Context, k Kernel) (string, error) {
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, k.Name())
	if image, err := image(dir); err == nil {
		return image, nil
	}
	if err := download(ctx, k, cache, dir); err != nil {
		return "", fmt.Errorf("fetch Linux %s for %s: %w", k.Series, k.Arch, err)
	}
	return image(dir)
}

func image(dir string) (string, error) {
	images, err := filepath.Glob(filepath.Join(dir, "boot", "vmlinu[xz]-*"))
	if err != nil {
		return "", err
	}
	if len(images) != 1 {
		return "", fmt.Errorf("%d kernel images in %s, want one", len(images), dir)
	}
	return images[0], nil
}

func download(ctx context.Context, k Kernel, cache, dir string) (err error) {
	work, err := os.MkdirTemp(cache, "apt-")
	if os.IsNotExist(err) {
		if err := os.MkdirAll(cache, 0o755); err != nil {
			return err
		}
		work, err = os.MkdirTemp(cache, "apt-")
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	for _, d := range []string{"lists/partial", "cache/archives/partial", "out"} {
		if err := os.MkdirAll(filepath.Join(work, d), 0o755); err != nil {
			return err
		}
	}
	mirror := cmp.Or(os.Getenv("ORB8_DEBIAN_MIRROR"), "http://deb.debian.org/debian")
	source := fmt.Sprintf("deb [arch=%s signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n", k.Arch,
		mirror, suites[k.Series])
	if err := os.WriteFile(filepath.Join(work, "sources.list"), []byte(source), 0o644); err != nil {
		return err
	}
	apt := func(name string, args ...string) (string, error) {
		options := []string{
			"-o", "Dir::Etc::SourceList=" + work + "/sources.list", "-o", "Dir::Etc::SourceParts=-", "-o",
			"Dir::State::Lists=" + work + "/lists",
			"-o", "Dir::Cache=" + work + "/cache", "-o", "APT::Architecture=" + k.Arch, "-o", "APT::Architectures::=" +
				k.Arch,
			// Old releases are no longer signed anew; and the packages are nobody's to install.
			"-o", "Acquire::Check-Valid-Until=false", "-o", "APT::Sandbox::User=root", "-o", "Acquire::Languages=none",
		}
		cmd := exec.CommandContext(ctx, name, append(options, args...)...)
		cmd.Dir = filepath.Join(work, "out")
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, stderr.String())
		}
		return string(out), nil
	}
	if _, err := apt("apt-get", "-q", "update"); err != nil {
		return err
	}
	meta, err := apt("apt-cache", "show", "linux-image-cloud-"+k.Arch)
	if err != nil {
		return err
	}
	name := regexp.MustCompile(`linux-image-` + regexp.QuoteMeta(k.Series) + `\.[0-9a-z.+-]*cloud-` +
		k.Arch).FindString(meta)
	if name == "" {
		name = regexp.MustCompile(`linux-image-[0-9][0-9a-z.+-]*cloud-` + k.Arch).FindString(meta)
	}
	if name == "" {
		return fmt.Errorf("linux-image-cloud-%s of %s depends on no image:\n%s", k.Arch, suites[k.Series], meta)
	}
	if _, err := apt("apt-get", "-q", "download", name); err != nil {
		return err
	}
	packages, err := filepath.Glob(filepath.Join(work, "out", "*.deb"))
	if err != nil || len(packages) != 1 {
		return fmt.Errorf("apt-get download left %q, %w", packages, err)
	}
	unpacked := filepath.Join(work, "unpacked")
	if out, err := exec.CommandContext(ctx, "dpkg-deb", "-x", packages[0], unpacked).CombinedOutput(); err != nil {
		return fmt.Errorf("unpack %s: %w: %s", packages[0], err, out)
	}
	// Modules are ten times the kernel, and nothing here needs one.
	if err := os.RemoveAll(filepath.Join(unpacked, "lib")); err != nil {
		return err
	}
	if err := os.RemoveAll(filepath.Join(unpacked, "usr")); err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return os.Rename(unpacked, dir)
}
