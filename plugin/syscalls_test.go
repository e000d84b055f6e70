package plugin

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

func TestSyscallFlags(t *testing.T) {
	for _, c := range []struct {
		name, args string
		kinds      []string
		want       string
	}{
		{"a slip", "--syscall=opennat", []string{"syscall"},
			`--syscall: unknown system call "opennat", did you mean "openat"?`},
		{"a slip in a group", "--syscall=read,%fil", []string{"syscall"},
			`--syscall: unknown group "%fil", did you mean "%file"? groups: %file, %memory, %net, %process`},
		{"a number without a unit", "--min-duration=5", []string{"syscall"},
			`invalid argument "5" for "--min-duration" flag: time: missing unit in duration "5"`},
		{"less than no time", "--min-duration=-1s", []string{"syscall"}, "--min-duration -1s: want 0 or more"},
		{"totals of errors", "--summary --errors-only", []string{"syscall"},
			"does not go with --errors-only or --min-duration"},
		{"totals of what is slow", "--summary --min-duration=1ms", []string{"syscall"},
			"does not go with --errors-only or --min-duration"},
		{"another kind", "--errors-only", []string{"flow"}, "--errors-only goes with trace syscalls"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var o syscallOptions
			flags := pflag.NewFlagSet("", pflag.ContinueOnError)
			o.bind(flags)
			err := flags.Parse(strings.Fields(c.args))
			if err == nil {
				_, _, err = o.complete(c.kinds)
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestSyscalls_TracerConfig(t *testing.T) {
	o := syscallOptions{names: []string{"%memory", "read"}, errorsOnly: true, minDuration: time.Millisecond}
	kinds, config, err := o.complete([]string{"flow", "syscall"})
	if err != nil || !slices.Equal(kinds, []string{"flow", "syscall"}) {
		t.Fatal(kinds, err)
	}
	if !slices.Contains(config.GetNames(), "mmap") || !slices.Contains(config.GetNames(), "read") ||
		!config.GetErrorsOnly() || config.GetMinDuration() != int64(time.Millisecond) {
		t.Errorf("got %v", config)
	}
	asked := []string{"syscall"}
	kinds, _, err = (&syscallOptions{summary: true}).complete(asked)
	if err != nil || !slices.Equal(kinds, []string{"syscallSummary"}) || asked[0] != "syscall" {
		t.Errorf("got %v, %v", kinds, err)
	}
	if kinds, config, err := (&syscallOptions{}).complete([]string{"flow"}); err != nil || config != nil ||
		!slices.Equal(kinds, []string{"flow"}) {
		t.Errorf("got %v, %v, %v", kinds, config, err)
	}
}
