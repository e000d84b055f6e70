package plugin

import (
	"slices"
	"time"

	"github.com/spf13/pflag"

	"github.com/orb8-dev/kubectl-orb8/event/calls"
	"github.com/orb8-dev/kubectl-orb8/event/session"
)

// syscallOptions are the flags of trace syscalls.
type syscallOptions struct {
	names       []string
	errorsOnly  bool
	minDuration time.Duration
	summary     bool
}

func (o *syscallOptions) bind(flags *pflag.FlagSet) {
	flags.StringSliceVar(&o.names, "syscall", nil,
		"syscalls: only these calls or groups: %file (with a path), %net, %process, %memory")
	flags.BoolVar(&o.errorsOnly, "errors-only", false, "syscalls: only calls that fail")
	flags.DurationVar(&o.minDuration, "min-duration", 0, "syscalls: only calls that take as long (1ms)")
	flags.BoolVar(&o.summary, "summary", false,
		"syscalls: not each call, but how many of each by container, with errors and durations, each --interval")
}

// complete returns the kinds of events of the command's kinds, and the tracers' syscall configuration.
func (o *syscallOptions) complete(kinds []string) ([]string, *session.SyscallConfig, error) {
	at := slices.Index(kinds, "syscall")
	for flag, set := range map[string]bool{
		"syscall": len(o.names) > 0, "errors-only": o.errorsOnly, "min-duration": o.minDuration != 0,
		"summary": o.summary,
	} {
		if set && at < 0 {
			return nil, nil, usagef("--%s goes with trace syscalls", flag)
		}
	}
	if at < 0 {
		return kinds, nil, nil
	}
	switch {
	case o.minDuration < 0:
		return nil, nil, usagef("--min-duration %v: want 0 or more", o.minDuration)
	case o.summary && (o.errorsOnly || o.minDuration > 0):
		return nil, nil,
			usagef("--summary counts all calls, errors by themselves: it does not go with --errors-only or " +
				"--min-duration")
	}
	names, err := calls.Expand(o.names)
	if err != nil {
		return nil, nil, usagef("--syscall: %w", err)
	}
	if o.summary {
		kinds = slices.Clone(kinds)
		kinds[at] = traceCommands[slices.IndexFunc(traceCommands,
			func(t traceCommand) bool { return t.kind == "syscall" })].summary
	}
	return kinds, &session.SyscallConfig{Names: names, ErrorsOnly: o.errorsOnly, MinDuration: int64(o.minDuration)}, nil
}
