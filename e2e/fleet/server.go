package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// server is a process of orb8-server, built with the tag bench.
type server struct {
	address, health, profile string
	cmd                      *exec.Cmd
	log                      tail
	ended                    chan error
}

// memoryLimit is GOMEMLIMIT of an installed server.
const memoryLimit = "350MiB"

// startServer runs a server that asks the API server at a URL. The caller stops it.
func startServer(ctx context.Context, program, apiURL, memory string) (*server, error) {
	s := &server{ended: make(chan error, 1)}
	for _, address := range []*string{&s.address, &s.health, &s.profile} {
		var err error
		if *address, err = freeAddress(ctx); err != nil {
			return nil, err
		}
	}
	s.cmd = exec.Command(program, "--listen", s.address, "--health", s.health, "--agents", agentService,
		"--metrics", "")
	s.cmd.Env = append(os.Environ(), "ORB8_NAMESPACE="+install, "GOMEMLIMIT="+memory, "ORB8_BENCH_API="+apiURL,
		"ORB8_BENCH_PROFILE="+s.profile)
	s.cmd.Stderr = &s.log
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { s.ended <- s.cmd.Wait() }()
	if err := s.awaitReady(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w: %s", program, err, s.log.text()), s.stop())
	}
	return s, nil
}

// freeAddress returns an address of a port that was free just now.
func freeAddress(ctx context.Context) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// readyTimeout is how long a server may take to read a cluster.
const readyTimeout = 2 * time.Minute

func (s *server) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	poll := time.NewTicker(50 * time.Millisecond)
	defer poll.Stop()
	for {
		select {
		case <-poll.C:
		case err := <-s.ended:
			s.ended <- err
			return errors.Join(errors.New("it has ended"), err)
		case <-ctx.Done():
			return fmt.Errorf("not ready after %v", readyTimeout)
		}
		if _, err := fetch(ctx, "http://"+s.health+"/readyz"); err == nil {
			return nil
		}
	}
}

// maxFetch limits an answer, bytes.
const maxFetch = 64 << 20

// fetch returns the answer of a URL.
func fetch(ctx context.Context, url string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }() // it was read
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxFetch))
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", url, answer.Status)
	}
	return body, err
}

// writeProfile writes a profile of the server to a file.
func (s *server) writeProfile(ctx context.Context, name, file string) error {
	profile, err := fetch(ctx, "http://"+s.profile+"/debug/pprof/"+name)
	if err != nil {
		return err
	}
	return os.WriteFile(file, profile, 0o644)
}

// stop ends the server.
func (s *server) stop() error {
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case err := <-s.ended:
		return err
	case <-time.After(30 * time.Second):
		return errors.Join(errors.New("the server does not end"), s.cmd.Process.Kill())
	}
}

// usage is what a process has taken.
type usage struct {
	cpu time.Duration
	// rss is its memory now, peak the most so far, bytes.
	rss, peak int64
}

// usageOf reads the usage of a process.
func usageOf(pid int) (u usage, err error) {
	dir := "/proc/" + strconv.Itoa(pid)
	stat, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return u, err
	}
	// The fields after the name in parentheses: utime and stime are the 14th and 15th of all.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 13 {
		return u, fmt.Errorf("%s/stat: %d fields", dir, len(fields))
	}
	const ticksPerSecond = 100 // USER_HZ
	for _, field := range fields[11:13] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return u, err
		}
		u.cpu += time.Duration(n) * time.Second / ticksPerSecond
	}
	text, err := os.ReadFile(dir + "/status")
	for line := range strings.Lines(string(text)) {
		for name, value := range map[string]*int64{"VmRSS:": &u.rss, "VmHWM:": &u.peak} {
			if rest, ok := strings.CutPrefix(line, name); ok {
				kib, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
				*value = kib << 10
			}
		}
	}
	return u, err
}

// tail keeps the end of what is written.
type tail struct {
	mu   sync.Mutex
	kept []byte
}

const maxTail = 16 << 10

// Write implements io.Writer.
func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = append(t.kept, b...)
	t.kept = t.kept[max(0, len(t.kept)-maxTail):]
	return len(b), nil
}

func (t *tail) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.kept)
}
