package pods

import (
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ErrNoCgroup2 reports a node without a cgroup v2 mount, which every probe needs.
var ErrNoCgroup2 = errors.New("no cgroup v2 mount")

// FindCgroup2 returns the mount point of the cgroup v2 hierarchy under root, the node's /sys/fs/cgroup: root itself on
// a unified host, root/unified on a hybrid one. The error wraps ErrNoCgroup2.
func FindCgroup2(root string) (string, error) {
	for _, dir := range []string{root, filepath.Join(root, "unified")} {
		var fs unix.Statfs_t
		if err := unix.Statfs(dir, &fs); err == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC {
			return dir, nil
		}
	}
	return "", fmt.Errorf("%w at %s or %s: orb8 needs a node with cgroup v2, unified or hybrid",
		ErrNoCgroup2, root, filepath.Join(root, "unified"))
}
