// Command kubectl-orb8 is the kubectl plugin: `kubectl orb8`.
package main

import (
	"os"

	"github.com/orb8-dev/kubectl-orb8/plugin"
)

func main() {
	os.Exit(plugin.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
