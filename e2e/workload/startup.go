package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/orb8-dev/kubectl-orb8/e2e/workload/report"
)

// startup is a program that needs a file and a dependency at its start. Without them it fails, as most programs do.
func startup(ctx context.Context, flags *flag.FlagSet, args []string) error {
	file := flags.String("file", "", "configuration to read")
	dependency := flags.String("connect", "", "address and port of a dependency")
	timeout := flags.Duration("timeout", 2*time.Second, "how long to wait for the dependency")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *file != "" {
		if _, err := os.ReadFile(*file); err != nil {
			return fmt.Errorf("read the configuration: %w", err)
		}
	}
	if *dependency != "" {
		c, err := net.DialTimeout("tcp", *dependency, *timeout)
		if err != nil {
			return fmt.Errorf("connect to the database: %w", err)
		}
		defer c.Close()
	}
	printReport(report.Report{Kind: report.Listening})
	<-ctx.Done()
	return nil
}
