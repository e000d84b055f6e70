package plugin

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// traceCommand is what one subcommand of trace shows.
type traceCommand struct {
	// name is that of the subcommand, kind that of its events.
	name, kind string
	// summary is the kind of its events with --summary; empty where there is none.
	summary        string
	aliases        []string
	short, example string
}

// traceCommands lists what can be traced: one entry a kind.
var traceCommands = []traceCommand{
	{
		name: "network", kind: "flow", aliases: []string{"net", "flows"},
		short: "Show who talks to whom: each flow with both ends, bytes, packets, retransmits, round-trip time " +
			"and process",
		example: `  # All pods of a namespace
  kubectl orb8 trace network -n demo

  # One deployment and one pod, for a minute, largest senders first
  kubectl orb8 trace network deploy/web db-0 -n demo --duration 1m --sort-by=-bytesSent

  # Retransmitting flows of the whole cluster, as JSON
  kubectl orb8 trace network -A --filter 'retransmits > 0' -o json |
    jq -c '{src: .src.pod, dst: .dst.pod, retransmits}'`,
	},
	{
		name: "tcp", kind: "tcp", aliases: []string{"connections"},
		short: "Show what becomes of TCP connections: made, refused, timed out, reset or closed, by whom and why, " +
			"and what was retransmitted",
		example: `  # Every connection of a namespace: made or not, ended how
  kubectl orb8 trace tcp -n demo

  # Attempts that came to nothing, with the reason
  kubectl orb8 trace tcp deploy/web -n demo --filter 'outcome in ["refused", "timeout", "unreachable", "abandoned"]'

  # Who resets connections, as JSON
  kubectl orb8 trace tcp -A --filter 'outcome == "reset"' -o json | jq -r '"\(.pod) \(.resetBy) \(.reason)"'`,
	},
	{
		name: "dns", kind: "dns",
		short: "Show DNS queries with their answers: who asked whom for what, what came back, how long it took, what " +
			"was never answered",
		example: `  # All lookups of a namespace
  kubectl orb8 trace dns -n demo

  # Names that do not resolve, and servers that fail or do not answer
  kubectl orb8 trace dns -n demo --filter 'rcode != "NOERROR"'

  # Slow ones, with the process that waits
  kubectl orb8 trace dns -A --filter 'latencyMicros > 100000' -o json |
    jq -c '{pod, name, ms: (.latencyMicros / 1000), comm: .src.comm}'`,
	},
	{
		name: "drops", kind: "drop", aliases: []string{"drop"},
		short: "Show the packets that the kernel drops: why, where, how many, from whom and for whom",
		example: `  # What is dropped of a deployment's traffic, and why
  kubectl orb8 trace drops deploy/web -n demo

  # What a firewall or a NetworkPolicy drops
  kubectl orb8 trace drops -n demo --filter 'cause == "policy"'

  # Packets by reason, for a minute
  kubectl orb8 trace drops -A --duration 1m -o json | jq -s 'group_by(.id) | map(last) |
    group_by(.reason) | map({reason: .[0].reason, packets: (map(.packets) | add)})'`,
	},
	{
		name: "exec", kind: "exec", aliases: []string{"processes"},
		short: "Show the programs that processes execute, with their arguments, and how processes end: exit code, " +
			"signal, OOM kill",
		example: `  # What runs in a pod, from its containers' first program on
  kubectl orb8 trace exec web-0 -n demo

  # Processes that fail, with the code or the signal that ended them
  kubectl orb8 trace exec deploy/web -n demo --filter 'phase == "exit" && exitCode != 0'

  # Processes that the kernel killed because they ran out of memory
  kubectl orb8 trace exec -A --filter 'outcome == "oom-killed"' -o json |
    jq -r '"\(.pod) \(.comm) \(.memoryLimitBytes)"'`,
	},
	{
		name: "signals", kind: "signal", aliases: []string{"signal"},
		short: "Show the signals that processes get: which, from whom (a process, the kernel, a timer), and whether " +
			"they are ignored",
		example: `  # Who ends a deployment's processes
  kubectl orb8 trace signals deploy/web -n demo --filter 'signal in ["SIGTERM", "SIGKILL", "SIGQUIT"]'

  # Faults, aborts and OOM kills in the whole cluster
  kubectl orb8 trace signals -A --filter 'signal in ["SIGSEGV", "SIGBUS", "SIGABRT", "SIGKILL"]'

  # Signals that a process ignores, as JSON
  kubectl orb8 trace signals web-0 -n demo -o json |
    jq -c 'select(.outcome == "ignored") | {signal, comm, senderComm}'`,
	},
	{
		name: "syscalls", kind: "syscall", summary: "syscallSummary", aliases: []string{"syscall"},
		short: "Show the system calls that processes make, with arguments, results and durations; or how many of " +
			"each, with --summary",
		example: `  # Files that a pod looks for and does not find
  kubectl orb8 trace syscalls web-0 -n demo --syscall %file --errors-only

  # What takes long, also what has not returned yet
  kubectl orb8 trace syscalls deploy/web -n demo --min-duration 100ms

  # What a busy pod spends its time on: counted in the kernel
  kubectl orb8 trace syscalls web-0 -n demo --summary --duration 10s --sort-by=-totalNanos`,
	},
	{
		name: "resources", kind: "resources", aliases: []string{"resource"},
		short: "Show what containers use and wait for: CPU and throttling, waits for a CPU, memory, pressure, block " +
			"I/O, against their limits",
		example: `  # The containers of a deployment, each second
  kubectl orb8 trace resources deploy/web -n demo

  # Who is held back by a CPU limit, in the whole cluster
  kubectl orb8 trace resources -A --filter 'cpu.throttledPercent > 10'

  # Who comes near a memory limit, as JSON
  kubectl orb8 trace resources -A --filter 'memory.percent > 90' -o json |
    jq -c '{namespace, pod, container, percent: .memory.percent}'`,
	},
	{
		name: "gpu", kind: "gpu", aliases: []string{"gpus"},
		short: "Show the GPUs of the pods' nodes: activity, memory, power and errors of each, which pod's processes " +
			"are on it, and what they hold and do",
		example: `  # The GPUs of a training job's nodes, and its processes on them
  kubectl orb8 trace gpu job/train -n ml

  # Errors (XID) with the pod they hit, GPUs that are slowed down or lost, in the whole cluster
  kubectl orb8 trace gpu -A --filter 'type in ["xid", "throttle", "lost"]'

  # Who holds memory of a GPU on which nothing runs, as JSON
  kubectl orb8 trace gpu -A -o json |
    jq -c 'select(.type == "device" and .activity.gpuPercent == 0) |
      select(.ownProcesses > 0) | {node, index: .gpu.index, usedBy}'`,
	},
}

func newTraceCommand(streams genericiooptions.IOStreams) *cobra.Command {
	o := &traceOptions{outputOptions: outputOptions{streams: streams},
		tracerOptions: tracerOptions{kube: newKubeFlags()}}
	run := func(cmd *cobra.Command, kinds, names []string) error {
		o.names = names
		c, err := o.complete(kinds...)
		if err != nil {
			return err
		}
		return runTrace(cmd.Context(), c)
	}
	trace := &cobra.Command{
		Use:   "trace KIND[,KIND...] [POD | KIND/NAME ...]",
		Short: "Show events as they happen",
		Long: "Show events as they happen. Several kinds, with commas between them, come from one tracer a node in " +
			"one stream in the order of time.",
		Example: `  # Who resolves what and connects to whom, in one stream
  kubectl orb8 trace dns,tcp -n demo

  # All of a pod's connections, programs and signals for a minute, kept in a file
  kubectl orb8 trace tcp,exec,signals web-0 -n demo --duration 1m --record web-0.orb8`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			kinds, err := parseKinds(cmd, args[0])
			if err != nil {
				return err
			}
			return run(cmd, kinds, args[1:])
		},
	}
	o.bind(trace.Flags())
	o.syscalls.bind(trace.Flags())
	o.gpu.bind(trace.Flags())
	for _, t := range traceCommands {
		sub := &cobra.Command{
			Use: t.name + " [POD | KIND/NAME ...]", Aliases: t.aliases, Short: t.short, Example: t.example,
			RunE: func(cmd *cobra.Command, args []string) error { return run(cmd, []string{t.kind}, args) },
		}
		o.bind(sub.Flags())
		if t.name == "syscalls" {
			o.syscalls.bind(sub.Flags())
		}
		if t.name == "gpu" {
			o.gpu.bind(sub.Flags())
		}
		trace.AddCommand(sub)
	}
	return trace
}

// parseKinds reads "network,dns": the kinds of the events, each once, in the order given.
func parseKinds(cmd *cobra.Command, list string) ([]string, error) {
	var kinds []string
	for name := range strings.SplitSeq(list, ",") {
		i := slices.IndexFunc(traceCommands, func(t traceCommand) bool {
			return t.name == name ||
				slices.Contains(t.aliases, name)
		})
		if i < 0 {
			return nil, unknownKind(cmd, name)
		}
		if !slices.Contains(kinds, traceCommands[i].kind) {
			kinds = append(kinds, traceCommands[i].kind)
		}
	}
	return kinds, nil
}

func unknownKind(cmd *cobra.Command, name string) error {
	if name != "" {
		return noArgs(cmd, []string{name})
	}
	known := make([]string, len(traceCommands))
	for i := range traceCommands {
		known[i] = traceCommands[i].name
	}
	return usagef("trace: a kind is empty: want one or more of %s, with commas between them", strings.Join(known, ", "))
}
