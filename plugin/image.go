package plugin

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"syscall"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/orb8-dev/kubectl-orb8/internal/version"
	"github.com/orb8-dev/kubectl-orb8/internal/wholefile"
	"github.com/orb8-dev/kubectl-orb8/plugin/images"
)

func newImageCommand(streams genericiooptions.IOStreams) *cobra.Command {
	cmd := &cobra.Command{
		Use: "image", Short: "List and save the images that orb8 starts, for clusters without access to ghcr.io",
		Args: noArgs, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		Example: `  kubectl orb8 image list
  kubectl orb8 image save --all -o orb8.tar`,
	}
	cmd.AddCommand(newImageListCommand(streams), newImageSaveCommand(streams))
	return cmd
}

func newImageListCommand(streams genericiooptions.IOStreams) *cobra.Command {
	var registry registryOption
	var output string
	cmd := &cobra.Command{
		Use: "list", Short: "List the images of this version", Args: noArgs,
		Example: `  # What to copy to a registry of your own
  kubectl orb8 image list -o name`,
		RunE: func(*cobra.Command, []string) error {
			if output != "" && output != "name" {
				return usagef("--output %q: want name, or nothing", output)
			}
			if output == "" {
				if _, err := fmt.Fprintf(streams.Out, "%-11s  %s\n", "USED-BY", "IMAGE"); err != nil {
					return err
				}
			}
			for _, i := range []struct{ usedBy, ref string }{
				{"trace, top", version.TracerImage()}, {"install", version.Image()},
			} {
				ref, err := registry.image("", "", i.ref)
				if err != nil {
					return err
				}
				if output == "" {
					ref = fmt.Sprintf("%-11s  %s", i.usedBy, ref)
				}
				if _, err := fmt.Fprintln(streams.Out, ref); err != nil {
					return err
				}
			}
			return nil
		},
	}
	registry.bind(cmd.Flags())
	cmd.Flags().StringVarP(&output, "output", "o", "", "Output format: name, or nothing")
	return cmd
}

// imageSaveOptions are the flags of image save.
type imageSaveOptions struct {
	streams   genericiooptions.IOStreams
	registry  registryOption
	output    string
	all       bool
	platforms []string
	ca        string
}

func newImageSaveCommand(streams genericiooptions.IOStreams) *cobra.Command {
	o := &imageSaveOptions{streams: streams}
	cmd := &cobra.Command{
		Use: "save", Short: "Save images as an archive that ctr and docker load", Args: noArgs,
		Long: `Pull the image of the tracer, and with --all that of agents and servers, and save them as one archive, an
OCI image layout. Load it on each node, or push it to a registry that the nodes reach. The names in the archive are
those that orb8 uses by default, so that trace needs no flag where the nodes have loaded it.

The credentials for the registry are those of docker login (DOCKER_CONFIG, else ~/.docker/config.json).`,
		Example: `  # The tracer's image, for all platforms
  kubectl orb8 image save -o orb8.tar
  ctr -n k8s.io images import orb8.tar                      # on each node

  # All images for one platform, which docker loads, too
  kubectl orb8 image save --all --platform linux/amd64 -o orb8.tar
  docker load -i orb8.tar`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			err := o.run(ctx)
			if err != nil && ctx.Err() != nil {
				return &exitError{ExitInterrupted, nil}
			}
			return err
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&o.output, "output", "o", "", "File to write, or - for standard output (required)")
	flags.BoolVar(&o.all, "all", false, "Also save the image of agents and servers, which install uses")
	flags.StringSliceVar(&o.platforms, "platform", nil, "Platforms to save, OS/ARCH (default: all)")
	o.registry.bind(flags)
	flags.StringVar(&o.ca, "registry-ca", "",
		"File with PEM certificates of authorities to trust for the registry, in addition to the system's")
	return cmd
}

// platformPattern is OS/ARCH.
var platformPattern = regexp.MustCompile(`^[a-z0-9]+/[a-z0-9]+$`)

func (o *imageSaveOptions) run(ctx context.Context) error {
	if o.output == "" {
		return usagef("name the file to write with --output FILE, or - for standard output")
	}
	for _, p := range o.platforms {
		if !platformPattern.MatchString(p) {
			return usagef("--platform %q: want OS/ARCH, such as linux/amd64", p)
		}
	}
	refs := []string{version.TracerImage()}
	if o.all {
		refs = append(refs, version.Image())
	}
	if _, err := o.registry.image("", "", refs[0]); err != nil {
		return err
	}
	r := newReporter(o.streams.ErrOut)
	options := &images.Options{Registry: o.registry.resolve(), Platforms: o.platforms,
		Progress: func(line string) { r.Logf("%s", line) }}
	if o.ca != "" {
		var err error
		if options.CA, err = os.ReadFile(o.ca); err != nil {
			return fmt.Errorf("--registry-ca: %w", err)
		}
	}
	if o.output == "-" {
		return images.Save(ctx, o.streams.Out, refs, options)
	}
	return wholefile.Write(o.output, 0o644, func(w io.Writer) error { return images.Save(ctx, w, refs, options) })
}
