package plugin

import (
	"fmt"

	"github.com/spf13/cobra"
)

// fieldExample is a filter of events of a kind, and a field to sort them by.
type fieldExample struct{ filter, field string }

// fieldExamples are those in the help of commands that show one kind.
var fieldExamples = map[string]fieldExample{
	"flow":      {"dst.port == 443 && bytesSent > 1000", "bytesSent"},
	"tcp":       {`outcome == "refused" && dst.port == 5432`, "durationMicros"},
	"dns":       {`rcode != "NOERROR" || latencyMicros > 100000`, "latencyMicros"},
	"drop":      {`cause == "policy" && dst.port == 443`, "packets"},
	"exec":      {`phase == "exit" && exitCode != 0`, "lifetimeMicros"},
	"signal":    {`signal == "SIGKILL" && outcome != "ignored"`, "time"},
	"syscall":   {`name == "openat" && errno == "ENOENT"`, "durationNanos"},
	"resources": {"cpu.throttledPercent > 10", "memory.percent"},
	"gpu":       {`type == "device" && activity.gpuPercent == 0`, "memory.usedBytes"},
}

// describeFields makes the help of a command that shows one kind of events name fields of that kind.
func describeFields(cmd *cobra.Command) {
	filter, sort := cmd.Flags().Lookup("filter"), cmd.Flags().Lookup("sort-by")
	kinds := shownKinds(cmd, nil)
	if filter == nil || sort == nil || len(kinds) != 1 {
		return
	}
	example, known := fieldExamples[kinds[0].Name]
	if !known {
		return
	}
	filter.Usage = fmt.Sprintf("Show only events for which a CEL expression holds: '%s'", example.filter)
	sort.Usage = fmt.Sprintf("Sort by a field (%s, or -%[1]s for largest first)", example.field)
	if cmd.Flags().Lookup("duration") != nil {
		sort.Usage += ", and print when the trace ends: goes with --duration or ^C"
	}
}
