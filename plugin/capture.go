package plugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/session"
	"github.com/orb8-dev/kubectl-orb8/internal/version"
	"github.com/orb8-dev/kubectl-orb8/plugin/capture"
	"github.com/orb8-dev/kubectl-orb8/plugin/capture/pcapfilter"
	"github.com/orb8-dev/kubectl-orb8/plugin/live"
)

// captureOptions are the flags of capture, as the user gave them.
type captureOptions struct {
	traceOptions
	write, expression string
	snapLength        uint32
	maxPackets        int64
	maxBytes, rotate  string
	files             int
	force             bool
}

func (o *captureOptions) bind(flags *pflag.FlagSet) {
	o.tracerOptions.bind(flags)
	o.bindTargets(flags)
	flags.StringVarP(&o.write, "write", "w", "", "Write the packets to this file, in pcapng format; - is standard "+
		"output")
	flags.StringVar(&o.expression, "filter", "", "Capture only packets that match a pcap filter: 'tcp port 443'")
	flags.Uint32Var(&o.snapLength, "snaplen", 0, "Capture only the first N bytes of each packet, from the IP header "+
		"on (0: the whole packet)")
	flags.Int64Var(&o.maxPackets, "max-packets", 0, "End after this many packets (0: until ^C)")
	flags.StringVar(&o.maxBytes, "max-bytes", "", "End when this much is written (100M, 1Gi)")
	flags.StringVar(&o.rotate, "rotate-bytes", "", "Start a new file at this size (100M): FILE-00001.pcapng, …")
	flags.IntVar(&o.files, "files", 0, "With --rotate-bytes: keep only the newest N files (0: all)")
	flags.BoolVar(&o.force, "force", false, "Overwrite an existing file")
	flags.BoolVar(&o.failOnLoss, "fail-on-loss", false, fmt.Sprintf("Exit with code %d if any packet was lost",
		ExitLost))
}

// captureConfig is what a capture runs on.
type captureConfig struct {
	*traceConfig
	capture.Config
}

func newCaptureCommand(streams genericiooptions.IOStreams) *cobra.Command {
	o := &captureOptions{traceOptions: traceOptions{
		outputOptions: outputOptions{streams: streams},
		tracerOptions: tracerOptions{kube: newKubeFlags()},
		modeOptions:   modeOptions{mode: modeEphemeral},
		interval:      time.Second, dnsPorts: []uint{53},
	}}
	cmd := &cobra.Command{
		Use:   "capture [POD | KIND/NAME ...] -w FILE",
		Short: "Capture the packets of pods, for Wireshark and tshark",
		Long: `Capture the packets that pods send and receive, on all of their nodes, in one pcapng file: an interface
for each pod, names for addresses, and comments that name pod, container, node and process of each flow. Packets are
filtered in the kernel. Packets without a socket, such as the kernel's answer to a ping, are not seen.`,
		Example: `  # Packets of a deployment on port 443, for a minute
  kubectl orb8 capture deploy/web -n demo --filter 'tcp port 443' --duration 1m -w web.pcapng

  # Live in Wireshark
  kubectl orb8 capture web-0 -n demo -w - | wireshark -k -i -

  # Only the headers, in the ten newest files of 100 MB
  kubectl orb8 capture -n demo --snaplen 96 --rotate-bytes 100M --files 10 -w demo.pcapng`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.names = args
			c, err := o.complete()
			if err != nil {
				return err
			}
			return c.run(cmd.Context())
		},
	}
	o.bind(cmd.Flags())
	return cmd
}

// complete resolves the options. What is wrong with them is a usage error.
func (o *captureOptions) complete() (*captureConfig, error) {
	c := &captureConfig{Config: capture.Config{
		Application: "kubectl orb8 " + version.Version(), Filter: o.expression, SnapLength: o.snapLength,
		MaxPackets: o.maxPackets,
	}}
	files, err := o.output()
	if err != nil {
		return nil, err
	}
	c.Files = files
	switch {
	case o.maxPackets < 0:
		return nil, usagef("--max-packets %d: want 1 or more, or 0 for no limit", o.maxPackets)
	case o.snapLength > event.MaxPacketBytes:
		return nil, usagef("--snaplen %d: want at most %d, or 0 for whole packets", o.snapLength, event.MaxPacketBytes)
	}
	if c.MaxBytes, err = parseSize("max-bytes", o.maxBytes); err != nil {
		return nil, err
	}
	filter, err := pcapfilter.Compile(o.expression)
	if err != nil {
		return nil, usagef("--filter %q: %w", o.expression, err)
	}
	if c.traceConfig, err = o.traceOptions.complete("packet"); err != nil {
		return nil, err
	}
	c.capture = &session.CaptureConfig{SnapLength: o.snapLength}
	for _, i := range filter {
		c.capture.Filter = append(c.capture.Filter, session.Instruction(i).Pack())
	}
	c.Comment = "packets of " + c.query.String()
	return c, nil
}

// output validates where packets are written to.
func (o *captureOptions) output() (*capture.Files, error) {
	f := &capture.Files{Name: o.write, Keep: o.files, Force: o.force, Stdout: o.streams.Out}
	var err error
	if f.RotateBytes, err = parseSize("rotate-bytes", o.rotate); err != nil {
		return nil, err
	}
	switch file, isFile := o.streams.Out.(*os.File); {
	case o.write == "":
		return nil, usagef("-w is missing: want a file for the packets, or - for standard output, as in: " +
			"kubectl orb8 capture -w - | wireshark -k -i -")
	case o.files < 0:
		return nil, usagef("--files %d: want 1 or more, or 0 for all", o.files)
	case o.files > 0 && f.RotateBytes == 0:
		return nil, usagef("--files goes with --rotate-bytes")
	case o.write == capture.Stdout && f.RotateBytes > 0:
		return nil, usagef("--rotate-bytes goes with a file, not with -w -")
	case o.write == capture.Stdout && isFile && term.IsTerminal(int(file.Fd())):
		return nil, usagef("-w -: standard output is a terminal, and packets are binary: " +
			"pipe them into a program (| wireshark -k -i -), or name a file")
	}
	return f, f.Check()
}

// minSize is the least of a size that a flag takes: a file needs a head.
const minSize = 1000

// parseSize reads a size in bytes; 0: none is given.
func parseSize(flag, text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	q, err := resource.ParseQuantity(text)
	if err != nil || q.Value() < minSize {
		return 0, usagef("--%s %q: want a size in bytes of %d or more, such as 500k, 100M or 1Gi", flag, text, minSize)
	}
	return q.Value(), nil
}

// run captures until the session ends.
func (c *captureConfig) run(parent context.Context) error {
	r := newReporter(c.streams.ErrOut)
	defer noteVersion(parent, c.client, r.Logf)()
	deps := c.dependencies(r)
	open := deps.Open
	deps.Open = func(ctx context.Context, note func(string)) (live.View, error) {
		view, err := open(ctx, note)
		c.Namer = view
		return view, err
	}
	s := live.New(parent, c.session(), deps)
	c.End = func() { s.End(live.ErrDone) }
	out := io.Discard
	if c.Files.Name == capture.Stdout {
		out = c.streams.Out
	}
	var w *capture.Writer
	err := c.runEngine(parent, r, s, out, func() (_ live.Consumer, err error) {
		w, err = capture.New(c.Config)
		return w, err
	})
	if w != nil {
		if errors.Is(err, live.ErrAllFailed) {
			err = errors.Join(err, w.Discard())
		}
		bytes, files := w.Written()
		r.Logf("wrote %d packets, %s%s", w.Shown(), event.AppendBytes(nil, uint64(bytes)), to(files))
	}
	return err
}

// to names the files of a capture.
func to(files []string) string {
	switch n := len(files); {
	case n == 0:
		return ""
	case n > 3:
		return fmt.Sprintf(", to %d files, %s to %s", n, files[0], files[n-1])
	}
	return ", to " + strings.Join(files, ", ")
}
