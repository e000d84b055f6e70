package kit

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// CgroupFile returns the path of a file in the container's cgroup: nameV1 where the controller has a cgroup v1
// hierarchy, else nameV2.
func (p *Pod) CgroupFile(t testing.TB, controller, nameV1, nameV2 string) (path string, v1 bool) {
	t.Helper()
	dir, v1, err := cgroupDir(p.HostPID(t), controller)
	if err != nil {
		t.Fatal(err)
	}
	if v1 {
		return dir + "/" + nameV1, true
	}
	return dir + "/" + nameV2, false
}

// cgroupDir returns the directory of a process's cgroup: in the controller's cgroup v1 hierarchy if there is one, else
// in the cgroup v2 hierarchy.
func cgroupDir(pid uint32, controller string) (dir string, v1 bool, err error) {
	cgroups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return "", false, err
	}
	for line := range strings.Lines(string(cgroups)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		switch {
		case slices.Contains(strings.Split(fields[1], ","), controller):
			return "/sys/fs/cgroup/" + controller + fields[2], true, nil
		case fields[0] == "0":
			dir = "/sys/fs/cgroup" + fields[2]
		}
	}
	return dir, false, nil
}
