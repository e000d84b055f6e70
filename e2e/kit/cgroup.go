package kit

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// CgroupFile is the path of a file of the container's cgroup: that of a controller of cgroup v1, where it has a hierarchy of its own, else that of cgroup v2.
func (p *Pod) CgroupFile(t testing.TB, controller, nameV1, nameV2 string) (path string, v1 bool) {
	t.Helper()
	cgroups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", p.HostPID(t)))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(cgroups)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		switch {
		case slices.Contains(strings.Split(fields[1], ","), controller):
			return "/sys/fs/cgroup/" + controller + fields[2] + "/" + nameV1, true
		case fields[0] == "0":
			path = "/sys/fs/cgroup" + fields[2] + "/" + nameV2
		}
	}
	return path, false
}
