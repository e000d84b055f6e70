package pods

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// treeScan holds the notifications that arrive during a scan. They are newer than the scan's result.
type treeScan struct {
	made, removed map[uint64]bool
}

func (w *treeScan) overtaken(news Cgroup) {
	if news.Removed {
		w.removed[news.ID] = true
	} else {
		w.made[news.ID] = true
		delete(w.removed, news.ID)
	}
}

// Scan adds all cgroups under root, the mount point of cgroup v2, and removes known cgroups that no longer exist. To
// miss none, Observe the kernel's notifications before. Starting a scan while another runs is an error.
func (r *Resolver) Scan(ctx context.Context, root string, now time.Time) error {
	w := &treeScan{made: make(map[uint64]bool), removed: make(map[uint64]bool)}
	r.writing.Lock()
	if r.scanning != nil {
		r.writing.Unlock()
		return errors.New("the cgroup tree is being scanned already")
	}
	r.scanning = w
	r.writing.Unlock()

	found := make(map[uint64]string)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil && !d.IsDir() {
			return nil
		}
		var info fs.FileInfo
		if err == nil {
			info, err = d.Info()
		}
		switch {
		case err != nil && path == root:
			return err
		case errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENODEV):
			return nil // removed since its parent was read
		case err != nil:
			return fs.SkipDir // an unreadable cgroup stays unnamed
		}
		if id, ok := r.number(path, info); ok {
			found[id] = strings.TrimPrefix(path, root)
		}
		return nil
	})

	r.writing.Lock()
	defer r.writing.Unlock()
	r.scanning = nil
	if err != nil {
		return fmt.Errorf("scan the cgroup tree: %w", err)
	}
	var errs failures
	for id, path := range found {
		if !w.removed[id] {
			errs.add(r.add(Cgroup{ID: id, Path: path}, now))
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for id := range r.table.cgroups {
		if _, ok := found[id]; !ok && !w.made[id] {
			r.table.remove(id, now)
		}
	}
	return errs.err()
}
