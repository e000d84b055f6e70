// Command coredns is CoreDNS with the few plugins that a test cluster needs. It has a go.mod of its own: CoreDNS brings
// the clients of every cloud along.
package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"

	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/file"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/ready"
)

func main() {
	// The order in which plugins see a query.
	dnsserver.Directives = []string{"ready", "errors", "kubernetes", "file"}
	coremain.Run()
}
