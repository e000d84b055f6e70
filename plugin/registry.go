package plugin

import (
	"cmp"
	"os"

	"github.com/spf13/pflag"

	"github.com/orb8-dev/kubectl-orb8/plugin/images"
)

// envRegistry names the registry of orb8's images where --image-registry does not.
const envRegistry = "ORB8_IMAGE_REGISTRY"

// registryOption is the flag for another registry of orb8's own images.
type registryOption struct{ registry string }

func (o *registryOption) bind(flags *pflag.FlagSet) {
	flags.StringVar(&o.registry, "image-registry", "", "Registry that has a copy of orb8's images, "+
		"HOST[:PORT][/PATH], in place of ghcr.io (default $"+envRegistry+")")
}

// resolve is the registry of the flag or of the environment; empty: the one in the images' names.
func (o *registryOption) resolve() string { return cmp.Or(o.registry, os.Getenv(envRegistry)) }

// image returns the image to use: the one that a flag names, else the one of the environment, else the default one, at
// the registry.
func (o *registryOption) image(flag, environment, byDefault string) (string, error) {
	switch {
	case flag != "" && o.registry != "":
		return "", usagef("--image-registry is for the default image: it does not go with --image")
	case flag != "":
		return flag, nil
	case o.registry == "" && environment != "":
		return environment, nil
	}
	image, err := images.Mirrored(byDefault, o.resolve())
	if err != nil {
		from := "$" + envRegistry
		if o.registry != "" {
			from = "--image-registry"
		}
		return "", usagef("%s %w", from, err)
	}
	return image, nil
}
