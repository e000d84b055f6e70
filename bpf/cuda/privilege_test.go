package cuda

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/orb8-dev/kubectl-orb8/bpf/bpftest"
	"github.com/orb8-dev/kubectl-orb8/bpf/scope"
	"github.com/orb8-dev/kubectl-orb8/e2e/fakes"
)

func TestMain(m *testing.M) {
	bpftest.Children(map[string]func() error{"count-a-child": countAChild})
	os.Exit(bpftest.Main(m))
}

// capabilities are those that the plugin gives a tracer of GPUs, by the kernel's release, but for SYS_PTRACE: these
// files anybody may read.
func capabilities(single bool) []uint {
	all := []uint{unix.CAP_BPF, unix.CAP_PERFMON, unix.CAP_NET_ADMIN}
	if kernelBefore(5, 11) {
		all = append(all, unix.CAP_SYS_RESOURCE)
	}
	if single {
		all = append(all, unix.CAP_SYS_ADMIN)
	}
	return all
}

func kernelBefore(major, minor int) bool {
	var u unix.Utsname
	var have [2]int
	if err := unix.Uname(&u); err != nil {
		panic(err) // it has no other argument than that
	}
	_, err := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &have[0], &have[1])
	return err == nil && (have[0] < major || have[0] == major && have[1] < minor)
}

func TestATracersCapabilitiesAreEnough(t *testing.T) {
	ways(t, func(t *testing.T, o Options) {
		if out, err := countWith(t, o, capabilities(o.Single)); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if !o.Single {
			return
		}
		if out, err := countWith(t, o, capabilities(false)); err == nil || !strings.Contains(out, "permission denied") {
			t.Errorf("SYS_ADMIN, which a tracer gets on such kernels, is not needed: %v: %s", err, out)
		}
	})
}

func countWith(t *testing.T, o Options, capabilities []uint) (string, error) {
	t.Helper()
	bpftest.Root(t)
	fake := fakes.BuildCUDA(t)
	c := bpftest.NewCgroup(t, "orb8-cuda-test/unprivileged")
	cmd := bpftest.Child(t, "count-a-child", c)
	cmd.Env = append(cmd.Env, "ORB8_CUDA_CGROUP="+c.Dir, "ORB8_CUDA_ROOT="+bpftest.CgroupRoot(t), "ORB8_CUDA_LIBRARY="+
		fake.Library, "ORB8_CUDA_PROGRAM="+fake.Program)
	if o.Single {
		cmd.Env = append(cmd.Env, "ORB8_CUDA_SINGLE=1")
	}
	cmd.SysProcAttr.Credential = &syscall.Credential{Uid: 65534, Gid: 65534}
	for _, c := range capabilities {
		cmd.SysProcAttr.AmbientCaps = append(cmd.SysProcAttr.AmbientCaps, uintptr(c))
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// countAChild counts what a program does that it starts, and fails unless that is what the program says.
func countAChild() (err error) {
	// As in a container, whatever limit the tests have.
	const small = 64 << 10
	if err := unix.Prlimit(0, unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: small, Max: small}, nil); err != nil {
		return err
	}
	s, err := scope.Open(scope.Options{CgroupRoot: os.Getenv("ORB8_CUDA_ROOT")})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	info, err := os.Stat(os.Getenv("ORB8_CUDA_CGROUP"))
	if err != nil {
		return err
	}
	if err := s.SetCgroup(info.Sys().(*syscall.Stat_t).Ino, true); err != nil {
		return err
	}
	p, err := Open(context.Background(), Options{Scope: s, Single: os.Getenv("ORB8_CUDA_SINGLE") != ""})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	f, err := os.Open(os.Getenv("ORB8_CUDA_LIBRARY"))
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := p.Attach(f); err != nil {
		return err
	}
	out, err := exec.Command(os.Getenv("ORB8_CUDA_PROGRAM"), os.Getenv("ORB8_CUDA_LIBRARY"), "round 3").CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	all, err := p.ReadCounters()
	if err != nil {
		return err
	}
	if len(all) != 1 || all[0].Calls.GetLaunches() != 24 || !strings.Contains(string(out), `"launches":24,`) ||
		all[0].Calls.GetSyncs() != 21 {
		return fmt.Errorf("%v, want what %s says", all, out)
	}
	return nil
}
