package plugin

import (
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/orb8-dev/kubectl-orb8/event/session"
	"github.com/orb8-dev/kubectl-orb8/plugin/launch"
)

// runtimeClassNone is the value of --gpu-runtime-class for none.
const runtimeClassNone = "none"

// gpuOptions are the flags of the GPU probe.
type gpuOptions struct {
	library      string
	cudaLibrary  string
	runtimeClass string
	podResources string
}

func (o *gpuOptions) bind(flags *pflag.FlagSet) {
	flags.StringVar(
		&o.library,
		"nvml-library",
		"",
		"gpu: path of the driver's libnvidia-ml.so.1 on the nodes (default: looked for)",
	)
	flags.StringVar(
		&o.cudaLibrary,
		"cuda-library",
		"",
		"gpu: path of the driver's libcuda.so.1 on the nodes, whose calls are counted (default: looked for)",
	)
	flags.StringVar(
		&o.runtimeClass,
		"gpu-runtime-class",
		launch.RuntimeClassAuto,
		"gpu: RuntimeClass that gives tracers the GPUs' device files: a name, none, or auto (nvidia, where the "+
			"cluster has it)",
	)
	flags.StringVar(
		&o.podResources,
		"pod-resources",
		"",
		"gpu: path of the socket of the kubelet's pod-resources API on the nodes; {node} in it stands for the node's "+
			"name (default: looked for)",
	)
}

// complete returns the tracers' GPU configuration, or nil if gpu is not among kinds.
func (o *gpuOptions) complete(kinds []string) (*session.GpuConfig, error) {
	if !slices.Contains(kinds, "gpu") {
		for flag, set := range map[string]bool{"nvml-library": o.library != "", "cuda-library": o.cudaLibrary != "",
			"pod-resources": o.podResources != "", "gpu-runtime-class": o.runtimeClass != "" &&
				o.runtimeClass != launch.RuntimeClassAuto} {
			if set {
				return nil, usagef("--%s goes with trace gpu and doctor --gpu", flag)
			}
		}
		return nil, nil
	}
	if o.runtimeClass == "" {
		return nil, usagef("--gpu-runtime-class: want a name, auto or none")
	}
	c := &session.GpuConfig{Library: o.library, CudaLibrary: o.cudaLibrary, PodResources: o.podResources}
	return c, usage(c.Check())
}

// class is the RuntimeClass of tracers that read GPUs.
func (o *gpuOptions) class() string { return strings.TrimPrefix(o.runtimeClass, runtimeClassNone) }
