package kit

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// SlowReads limits the pod's container to perSecond reads a second from the disk of its root file system, for the life
// of the pod. A process that reads more waits for the device. The limit is in the container's cgroup:
// blkio.throttle.read_iops_device or, in cgroup v2, io.max.
func (p *Pod) SlowReads(t testing.TB, perSecond int) {
	t.Helper()
	device, err := diskOf(p.HostPID(t))
	if err != nil {
		t.Fatalf("the disk of pod %s: %v", p.Name, err)
	}
	file, v1 := p.CgroupFile(t, "blkio", "blkio.throttle.read_iops_device", "io.max")
	limit := fmt.Sprint(device, " riops=", perSecond)
	if v1 {
		limit = fmt.Sprint(device, " ", perSecond)
	}
	if err := os.WriteFile(file, []byte(limit), 0); err != nil {
		t.Fatalf("limit reads of pod %s (%s): %v", p.Name, limit, err)
	}
}

// diskOf returns "major:minor" of the disk that holds the writable layer of a container's root.
func diskOf(pid uint32) (string, error) {
	mounts, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", pid))
	if err != nil {
		return "", err
	}
	upper := ""
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); len(fields) > 4 && fields[4] == "/" {
			_, rest, _ := strings.Cut(line, "upperdir=")
			upper, _, _ = strings.Cut(strings.TrimSpace(rest), ",")
		}
	}
	if upper == "" {
		return "", fmt.Errorf("its root is no overlay: %s", mounts)
	}
	var st unix.Stat_t
	if err := unix.Stat(upper, &st); err != nil {
		return "", fmt.Errorf("%s: %w", upper, err)
	}
	number := fmt.Sprintf("%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev))
	if unix.Major(st.Dev) == 0 {
		return "", fmt.Errorf("%s is on no block device (%s)", upper, number)
	}
	// The kernel accepts limits for whole disks only.
	sys := filepath.Join("/sys/dev/block", number)
	if _, err := os.Stat(filepath.Join(sys, "partition")); err != nil {
		return number, nil
	}
	sys, err = filepath.EvalSymlinks(sys)
	if err != nil {
		return "", err
	}
	b, err := os.ReadFile(filepath.Join(filepath.Dir(sys), "dev"))
	if err != nil {
		return "", fmt.Errorf("the disk of partition %s: %w", number, err)
	}
	return strings.TrimSpace(string(b)), nil
}
