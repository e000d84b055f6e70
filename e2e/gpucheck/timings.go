//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// nobody is the uid of an unprivileged user.
const nobody = 65534

// timings prints the duration and the failures of each NVML function, as root and as nobody.
func (c *check) timings(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "gpucheck")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.Chmod(dir, 0o777); err != nil {
		return err
	}
	for _, user := range []struct {
		name string
		id   uint32
	}{{"root", 0}, {"nobody", nobody}} {
		fmt.Printf("== NVML's functions as %s (µs)\n", user.name)
		file := filepath.Join(dir, user.name)
		limited, cancel := context.WithTimeout(ctx, c.length)
		cmd := exec.CommandContext(limited, c.child, "-library", c.nvml, "-interval", "250ms", "-timings", file)
		cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
		cmd.WaitDelay = 5 * time.Second
		cmd.Stderr = os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user.id, Gid: user.id}}
		err := cmd.Run()
		cancel()
		if err != nil && limited.Err() == nil {
			fmt.Printf("orb8-nvml failed: %v\n", err)
			continue
		}
		b, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		var all []struct {
			Function                           string
			Calls, Failed                      int
			MedianMicros, P99Micros, MaxMicros float64
		}
		if err := json.Unmarshal(b, &all); err != nil {
			return err
		}
		for _, t := range all {
			fmt.Printf("%-44s %6d calls %6d failed  median %9.1f  p99 %9.1f  max %9.1f\n", t.Function, t.Calls,
				t.Failed, t.MedianMicros, t.P99Micros, t.MaxMicros)
		}
	}
	return nil
}
