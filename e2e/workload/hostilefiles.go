package main

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/orb8-dev/kubectl-orb8/e2e/workload/report"
)

// hostileFiles maps files with the names of the driver's library, and changes its root directory so that their paths
// lead to other files there: one to a FIFO, one to a sparse file that claims 4 GiB of section names. With -kubelet ROOT
// it runs itself as a kubelet of -node with that root directory, and fails when anybody connects to it.
func hostileFiles(ctx context.Context, flags *flag.FlagSet, args []string) error {
	dir := flags.String("dir", "/tmp/hostile", "where to create the files")
	kubelet := flags.String("kubelet", "", "the kubelet's root directory")
	node := flags.String("node", "", "the node's name")
	flags.String("root-dir", "", "ignored: tracers read it from the command line")
	flags.String("hostname-override", "", "ignored: tracers read it from the command line")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *kubelet != "" {
		if os.Args[0] != "kubelet" {
			cmd := exec.CommandContext(ctx, "/proc/self/exe")
			cmd.Args = []string{"kubelet", "hostilefiles", "-kubelet=" + *kubelet, "--root-dir=" + *kubelet,
				"--hostname-override=" + *node}
			cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
			return cmd.Run()
		}
		return poseAsKubelet(ctx, *kubelet)
	}
	jail := filepath.Join(*dir, "jail")
	for _, name := range []string{"libcuda.so.1", "libcuda.so.2"} {
		outside, inside := filepath.Join(*dir, name), filepath.Join(jail, *dir, name)
		if err := os.MkdirAll(filepath.Dir(inside), 0o755); err != nil {
			return err
		}
		if err := mapFile(outside); err != nil {
			return err
		}
		if name == "libcuda.so.1" {
			if err := syscall.Mkfifo(inside, 0o666); err != nil {
				return fmt.Errorf("make the FIFO %s: %w", inside, err)
			}
			continue
		}
		if err := writeHugeELF(inside); err != nil {
			return err
		}
	}
	if err := syscall.Chroot(jail); err != nil {
		return fmt.Errorf("change the root directory: %w", err)
	}
	printReport(report.Report{Kind: report.Listening})
	<-ctx.Done()
	return nil
}

// mapFile creates a file of one page, and maps it for the lifetime of the process.
func mapFile(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(4096); err != nil {
		return err
	}
	if _, err := syscall.Mmap(int(f.Fd()), 0, 4096, syscall.PROT_READ, syscall.MAP_PRIVATE); err != nil {
		return fmt.Errorf("map %s: %w", path, err)
	}
	return nil
}

// writeHugeELF creates a sparse library with 4 GiB of section names.
func writeHugeELF(path string) error {
	const header, section = 64, 64
	h := elf.Header64{Type: uint16(elf.ET_DYN), Machine: uint16(elf.EM_X86_64), Version: 1, Ehsize: header,
		Phoff: header, Phnum: 1,
		Phentsize: 56, Shoff: 256, Shentsize: section, Shnum: 2, Shstrndx: 1}
	copy(h.Ident[:], elf.ELFMAG)
	h.Ident[elf.EI_CLASS], h.Ident[elf.EI_DATA], h.Ident[elf.EI_VERSION] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB),
		1
	var b bytes.Buffer
	_ = binary.Write(&b, binary.LittleEndian, h)
	b.Write(make([]byte, 256-b.Len()+section)) // an empty segment, and section 0
	_ = binary.Write(&b, binary.LittleEndian, elf.Section64{Type: uint32(elf.SHT_STRTAB), Off: 4096, Size: 4 << 30})
	if err := os.WriteFile(path, b.Bytes(), 0o755); err != nil {
		return err
	}
	return os.Truncate(path, 8<<30)
}

// poseAsKubelet listens at the path of a kubelet's socket, and fails when anybody connects.
func poseAsKubelet(ctx context.Context, root string) error {
	path := filepath.Join(root, "pod-resources/kubelet.sock")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	closeOnDone(ctx, l)
	printReport(report.Report{Kind: report.Listening})
	if _, err := l.Accept(); err == nil {
		return fmt.Errorf("a connection was made to %s", path)
	}
	return nil
}
