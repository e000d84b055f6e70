//go:build linux

package tracer

import (
	"math"
	"testing"
)

func TestMaxSockets(t *testing.T) {
	for name, c := range map[string]struct {
		limit int64
		kinds []string
		want  uint32
	}{
		"no limit":          {0, []string{"flow"}, 0},
		"no sockets":        {256 << 20, []string{"exec"}, 0},
		"one kind":          {256 << 20, []string{"flow", "exec"}, 119_837},
		"kinds share":       {256 << 20, []string{"flow", "tcp"}, 59_918},
		"little memory":     {1 << 20, []string{"flow"}, minSockets},
		"very much memory":  {math.MaxInt64, []string{"flow"}, maxMaxFlows},
		"twice the sockets": {512 << 20, []string{"tcp"}, 239_674},
	} {
		if n := maxSockets(c.limit, c.kinds); n != c.want {
			t.Errorf("%s: %d sockets, want %d", name, n, c.want)
		}
	}
}
