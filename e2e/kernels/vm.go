package kernels

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/orb8-dev/kubectl-orb8/e2e/kernels/console"
)

// emulator is how a machine of an architecture is started. cx16: QEMU 7.2 without acceleration makes 6.12 double-fault
// with it. erms, fsrm: with them kernels clear and copy memory by string instructions, which an emulator does byte by
// byte.
var emulator = map[string][]string{
	"amd64": {"qemu-system-x86_64", "-cpu", "max,cx16=off,erms=off,fsrm=off"},
	"arm64": {"qemu-system-aarch64", "-M", "virt", "-cpu", "max,pauth-impdef=on"},
}

var serial = map[string]string{"amd64": "ttyS0", "arm64": "ttyAMA0"}

// options of the kernels. Waits for a grace period of RCU, of which attaching and detaching programs are full, end
// early. Guards against speculation are left out, which an emulator does not do, but for those that the verifier goes
// by.
const options = "quiet panic=-1 rcupdate.rcu_expedited=1 nopti spectre_v2=off retbleed=off"

// Boot starts a kernel with the files of root as its only file system and returns what its init said. It ends with ctx.
func Boot(ctx context.Context, k Kernel, image, root string) (steps []console.Step, log []byte, err error) {
	initrd := root + ".cpio"
	if err := pack(ctx, root, initrd); err != nil {
		return nil, nil, err
	}
	defer func() { _ = os.Remove(initrd) }() // it lies in the test's temporary directory
	// With a thread for each of its CPUs, one may run code that the other is just changing: kernels change theirs
	// as tracepoints come into use, and panicked on an int3 of their own.
	args := append(slices.Clone(emulator[k.Arch]),
		"-accel", "tcg,thread=single", "-smp", "2", "-m", "3G", "-display", "none", "-serial", "stdio", "-monitor",
		"none", "-no-reboot", "-nodefaults",
		"-kernel", image, "-initrd", initrd, "-append", "console="+serial[k.Arch]+" "+options)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return nil, out.Bytes(), fmt.Errorf("%s: %w", args[0], err)
	}
	steps, _, err = console.Parse(bytes.NewReader(out.Bytes()))
	return steps, out.Bytes(), err
}

// pack makes an initramfs: a cpio archive in the "newc" format.
func pack(ctx context.Context, root, to string) error {
	var names strings.Builder
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		names.WriteString(name + "\n")
		return err
	})
	if err != nil {
		return err
	}
	f, err := os.Create(to)
	if err != nil {
		return err
	}
	defer f.Close()
	cmd := exec.CommandContext(ctx, "cpio", "-o", "-H", "newc", "--quiet", "-R", "0:0")
	cmd.Dir = root
	cmd.Stdin, cmd.Stdout = strings.NewReader(names.String()), f
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("cpio: %w: %s", err, stderr.String())
	}
	return f.Close()
}
