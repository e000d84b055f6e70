//go:build linux

package tracer

import (
	"math"
	"testing"
)

func TestMaxStored(t *testing.T) {
	for name, c := range map[string]struct {
		limit int64
		kinds []string
		want  uint32
	}{
		"no limit":          {0, []string{"flow"}, 0},
		"no sockets":        {256 << 20, []string{"exec"}, 0},
		"one kind":          {256 << 20, []string{"flow", "exec"}, 119_837},
		"kinds share":       {256 << 20, []string{"flow", "tcp"}, 59_918},
		"little memory":     {1 << 20, []string{"flow"}, minStored},
		"very much memory":  {math.MaxInt64, []string{"flow"}, maxMaxFlows},
		"threads":           {256 << 20, []string{"syscall"}, 44_150},
		"threads, summary":  {256 << 20, []string{"syscallSummary"}, 186_413},
		"twice the sockets": {512 << 20, []string{"tcp"}, 239_674},
	} {
		if n := maxStored(c.limit, c.kinds); n != c.want {
			t.Errorf("%s: %d objects, want %d", name, n, c.want)
		}
	}
}
