package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestRelevant_LeavesOutWhatIsBuilt(t *testing.T) {
	for name, want := range map[string]bool{
		"bpf/dns/dns.bpf.c": true, "bpf/lib/fair.h": true, "bpf/dns/decode.go": true, "plugin/top.go": true,
		"bpf/dns/dns_bpfel.go": false, "event/event.pb.go": false, "plugin/top_test.go": false, "README.md": false,
		"hack/watch/main.go": false, "e2e/fakes/libraries/cuda.c": false,
	} {
		if relevant(name) != want {
			t.Errorf("%s: %v", name, !want)
		}
	}
}

func TestSteps_BuildWhatChanged(t *testing.T) {
	build := "make build image, bin/cluster load dist/orb8-tracer-arm64.tar"
	for changed, want := range map[string]string{
		"":                                    build,
		"plugin/top.go":                       build,
		"bpf/dns/dns.bpf.c bpf/dns/x.h":       "hack/go generate ./bpf/dns, " + build,
		"bpf/dns/dns.bpf.c bpf/tcp/tcp.bpf.c": "hack/go generate ./bpf/dns ./bpf/tcp, " + build,
		"bpf/dns/dns.bpf.c bpf/lib/fair.h":    "hack/go generate ./bpf/..., " + build,
	} {
		var got []string
		for _, c := range steps(strings.Fields(changed), "arm64", []string{"bin/cluster", "load"}) {
			got = append(got, strings.Join(c, " "))
		}
		if strings.Join(got, ", ") != want {
			t.Errorf("%q: %q, want %q", changed, got, want)
		}
	}
}

func TestFirstError_NamesThePlace(t *testing.T) {
	failed := errors.New("exit status 1")
	for output, want := range map[string]string{
		"# pkg\nplugin/top.go:3:2: undefined: x\nplugin/top.go:4:2: undefined: y\n": "plugin/top.go:3:2: undefined: x",
		"dns.bpf.c:9:1: warning: w\ndns.bpf.c:10:1: error: e\nmake: *** 1\n":        "dns.bpf.c:10:1: error: e",
		"a\nmake: *** no rule\n": "make: *** no rule",
		"":                       "exit status 1",
	} {
		if got := firstError(output, failed); got != want {
			t.Errorf("%q: %q, want %q", output, got, want)
		}
	}
}

// TestLoop_GoesOnAfterAFailure builds at the start, joins changes that come together, and survives a failed build.
func TestLoop_GoesOnAfterAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		changes := make(chan string)
		var built, logged []string
		restarts := 0
		l := loop{
			debounce: 300 * time.Millisecond,
			build: func(_ context.Context, changed []string) error {
				built = append(built, strings.Join(changed, "+"))
				if slices.Contains(changed, "bad.go") {
					return errors.New("bad.go:1:1: syntax error")
				}
				return nil
			},
			restart: func() error { restarts++; return nil },
			logf:    func(format string, args ...any) { logged = append(logged, fmt.Sprintf(format, args...)) },
		}
		ended := make(chan error)
		go func() { ended <- l.run(ctx, changes) }()
		for _, batch := range [][]string{{"b.go", "a.go", "b.go"}, {"bad.go"}, {"a.go"}} {
			for _, name := range batch {
				changes <- name
				time.Sleep(200 * time.Millisecond) // in the bubble's clock
			}
			time.Sleep(time.Second)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if want := []string{"", "a.go+b.go", "bad.go", "a.go"}; !slices.Equal(built, want) {
			t.Errorf("built %q, want %q", built, want)
		}
		if restarts != 3 {
			t.Errorf("%d restarts, want 3", restarts)
		}
		if n := len(slices.DeleteFunc(logged, func(s string) bool { return s != "bad.go:1:1: syntax error" })); n != 1 {
			t.Errorf("the error was printed %d times", n)
		}
	})
}

func TestWatch_ReportsNewFolders(t *testing.T) {
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "bpf", "dns"), 0o755); err != nil {
		t.Fatal(err)
	}
	changes, err := watch(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(root, name), []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	await := func(want string) {
		t.Helper()
		for deadline := time.After(10 * time.Second); ; {
			select {
			case got := <-changes:
				if got == want {
					return
				}
			case <-deadline:
				t.Fatalf("no change of %s", want)
			}
		}
	}
	write("README.md")
	write("bpf/dns/dns.bpf.c")
	await("bpf/dns/dns.bpf.c")
	if err := os.Mkdir(filepath.Join(root, "plugin"), 0o755); err != nil {
		t.Fatal(err)
	}
	// The folder is watched some time after it was made.
	stop := make(chan struct{})
	go func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
				_ = os.WriteFile(filepath.Join(root, "plugin", "new.go"), []byte{byte(n)}, 0o644) // until it is seen
			}
		}
	}()
	await("plugin/new.go")
	close(stop)
}
