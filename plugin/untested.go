package plugin

import (
	"context"
	"sync"

	"github.com/orb8-dev/kubectl-orb8/internal/kube"
)

// noteVersion reports an API server that orb8 is not tested with, beside what the command does. The caller calls stop,
// which waits. An API server that does not tell its version is no error: others will show it.
func noteVersion(ctx context.Context, client kube.Interface, logf func(format string, args ...any)) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var asking sync.WaitGroup
	asking.Go(func() {
		v, err := client.ServerVersion(ctx)
		if err != nil {
			return
		}
		if untested := kube.Untested(v); untested != "" {
			logf("note: %s", untested)
		}
	})
	return func() {
		cancel()
		asking.Wait()
	}
}
