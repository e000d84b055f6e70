package capabilities

import (
	"fmt"
	"testing"
)

func TestFor(t *testing.T) {
	const base, gpu = "BPF PERFMON NET_ADMIN", " SYS_PTRACE SETUID SETGID"
	for kernel, want := range map[string][2]string{
		"5.10.0-32-cloud-amd64": {base + " SYS_RESOURCE", base + " SYS_RESOURCE" + gpu + " SYS_ADMIN"},
		"4.19.0":                {base + " SYS_RESOURCE", base + " SYS_RESOURCE" + gpu + " SYS_ADMIN"},
		"5.11.0":                {base, base + gpu + " SYS_ADMIN"},
		"6.5.0-1025-azure":      {base, base + gpu + " SYS_ADMIN"},
		"6.6.0":                 {base, base + gpu},
		"6.18.44-fc-v769":       {base, base + gpu},
		"":                      {base, base + gpu},
		"custom":                {base, base + gpu},
	} {
		for i, reads := range []bool{false, true} {
			if got := fmt.Sprint(For(kernel, reads)); got != "["+want[i]+"]" {
				t.Errorf("Linux %q, GPUs %v: %s, want %s", kernel, reads, got, want[i])
			}
		}
	}
}
