package plugin

import (
	"context"
	"path"
	"slices"

	"github.com/spf13/pflag"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/orb8-dev/kubectl-orb8/event/session"
)

const (
	// nvidiaRuntimeClass is what NVIDIA's device plugin and GPU operator call theirs.
	nvidiaRuntimeClass = "nvidia"
	// runtimeClassAuto takes that one where the cluster has it; runtimeClassNone takes none.
	runtimeClassAuto, runtimeClassNone = "auto", "none"
)

// gpuOptions are the flags of what reads GPUs.
type gpuOptions struct {
	library      string
	runtimeClass string
}

func (o *gpuOptions) bind(flags *pflag.FlagSet) {
	flags.StringVar(&o.library, "nvml-library", "", "gpu: path of the driver's libnvidia-ml.so.1 on the nodes (default: looked for)")
	flags.StringVar(&o.runtimeClass, "gpu-runtime-class", runtimeClassAuto,
		"gpu: RuntimeClass that gives tracers the GPUs' device files: a name, none, or auto (nvidia, where the cluster has it)")
}

// complete gives what to say of GPUs to the tracers, nil where they are not asked for.
func (o *gpuOptions) complete(kinds []string) (*session.GpuConfig, error) {
	if !slices.Contains(kinds, "gpu") {
		for flag, set := range map[string]bool{"nvml-library": o.library != "", "gpu-runtime-class": o.runtimeClass != "" && o.runtimeClass != runtimeClassAuto} {
			if set {
				return nil, usagef("--%s goes with trace gpu and doctor --gpu", flag)
			}
		}
		return nil, nil
	}
	switch {
	case o.library != "" && !path.IsAbs(o.library):
		return nil, usagef("--nvml-library %q: want an absolute path on the nodes, such as /usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1", o.library)
	case o.runtimeClass == "":
		return nil, usagef("--gpu-runtime-class: want a name, auto or none")
	}
	return &session.GpuConfig{Library: o.library}, nil
}

// findRuntimeClass asks the cluster for what auto stands for. Who may not ask goes without.
func (c *tracerConfig) findRuntimeClass(ctx context.Context, wanted string) (string, error) {
	switch wanted {
	case runtimeClassNone:
		return "", nil
	case runtimeClassAuto:
	default:
		return wanted, nil
	}
	_, err := c.client.NodeV1().RuntimeClasses().Get(ctx, nvidiaRuntimeClass, metav1.GetOptions{})
	switch {
	case err == nil:
		return nvidiaRuntimeClass, nil
	case apierrors.IsNotFound(err), apierrors.IsForbidden(err):
		return "", nil
	}
	return "", err
}
