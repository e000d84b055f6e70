package main

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/fsnotify/fsnotify"
)

// watch reports the files below a directory that change and need a build, relative to it, until ctx ends.
func watch(ctx context.Context, root string) (<-chan string, error) {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	if err := addFolders(watcher, root); err != nil {
		return nil, err
	}
	changes := make(chan string, 64)
	go func() {
		defer func() { _ = watcher.Close() }()
		defer close(changes)
		for {
			select {
			case <-ctx.Done():
				return
			case e, ok := <-watcher.Events:
				if !ok {
					return
				}
				if info, err := os.Stat(e.Name); err == nil && info.IsDir() && e.Has(fsnotify.Create) {
					if err := addFolders(watcher, e.Name); err != nil {
						logf("%v", err)
					}
				}
				name, err := filepath.Rel(root, e.Name)
				if err != nil || e.Op == fsnotify.Chmod || !relevant(filepath.ToSlash(name)) {
					continue
				}
				select {
				case changes <- filepath.ToSlash(name):
				case <-ctx.Done():
					return
				}
			case err := <-watcher.Errors:
				logf("%v", err)
			}
		}
	}()
	return changes, nil
}

// addFolders watches a folder and those below. It leaves out hidden ones and what is built.
func addFolders(watcher *fsnotify.Watcher, root string) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		name := d.Name()
		if path != root && (strings.HasPrefix(name, ".") || name == "bin" || name == "dist" || name == "testdata") {
			return filepath.SkipDir
		}
		return watcher.Add(path)
	})
}
