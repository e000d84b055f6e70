//go:build linux && cgo

// Command orb8-nvml reads the GPUs of a machine for orb8-tracer, in a process of its own. It writes length-delimited
// events (protodelim) to stdout until SIGTERM or until stdout is closed.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"google.golang.org/protobuf/encoding/protodelim"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/tracer/gpu/nvml"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		// The tracer takes the last line.
		fmt.Fprintln(os.Stderr, strings.ReplaceAll(err.Error(), "\n", "; "))
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("orb8-nvml", flag.ContinueOnError)
	library := flags.String("library", "", "absolute path of the driver's libnvidia-ml.so.1")
	interval := flags.Duration("interval", time.Second, "time between two looks")
	timings := flags.String("timings", "",
		"write how long each function of the library took to this file, as JSON, at the end")
	switch err := flags.Parse(args); {
	case err != nil:
		return err
	case !filepath.IsAbs(*library):
		return fmt.Errorf("-library %q: want an absolute path", *library)
	case *interval <= 0:
		return fmt.Errorf("-interval %v: want more than 0", *interval)
	case flags.NArg() > 0:
		return errors.New("want no arguments")
	}
	var taken *nvml.Timings
	if *timings != "" {
		taken = new(nvml.Timings)
	}
	if err := confine(); err != nil {
		return err
	}
	w := bufio.NewWriter(stdout)
	// It does one thing after the other: CPUs that wait for each other would take a quarter more. What a call of
	// the library keeps is no CPU of Go's.
	runtime.GOMAXPROCS(1)
	err := nvml.Run(ctx, *library, *interval, taken, func(ev *event.Event) error {
		if ev == nil {
			return w.Flush()
		}
		_, err := protodelim.MarshalTo(w, ev)
		return err
	})
	if taken == nil {
		return err
	}
	b, jsonErr := json.Marshal(taken.All())
	if jsonErr == nil {
		jsonErr = os.WriteFile(*timings, append(b, '\n'), 0o644)
	}
	return errors.Join(err, jsonErr)
}
