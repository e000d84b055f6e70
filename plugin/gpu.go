package plugin

import (
	"path"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/orb8-dev/kubectl-orb8/event/session"
	"github.com/orb8-dev/kubectl-orb8/plugin/launch"
)

// runtimeClassNone is the value of --gpu-runtime-class for none.
const runtimeClassNone = "none"

// gpuOptions are the flags of what reads GPUs.
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
		"gpu: RuntimeClass that gives tracers the GPUs' device files: a name, none, or auto (nvidia, where the cluster has it)",
	)
	flags.StringVar(
		&o.podResources,
		"pod-resources",
		"",
		"gpu: path of the socket of the kubelet's pod-resources API on the nodes; {node} in it stands for the node's name (default: looked for)",
	)
}

// complete gives what is asked for of GPUs, nil where they are not among kinds.
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
	switch {
	case o.library != "" && !path.IsAbs(o.library):
		return nil, usagef("--nvml-library %q: want an absolute path on the nodes, such as /usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1", o.library)
	case o.cudaLibrary != "" && !path.IsAbs(o.cudaLibrary):
		return nil, usagef("--cuda-library %q: want an absolute path on the nodes, such as /usr/lib/x86_64-linux-gnu/libcuda.so.1", o.cudaLibrary)
	case o.podResources != "" && !path.IsAbs(o.podResources):
		return nil, usagef("--pod-resources %q: want an absolute path on the nodes, such as /var/lib/kubelet/pod-resources/kubelet.sock", o.podResources)
	case o.runtimeClass == "":
		return nil, usagef("--gpu-runtime-class: want a name, auto or none")
	}
	return &session.GpuConfig{Library: o.library, CudaLibrary: o.cudaLibrary, PodResources: o.podResources}, nil
}

// class is the RuntimeClass of tracers that read GPUs.
func (o *gpuOptions) class() string { return strings.TrimPrefix(o.runtimeClass, runtimeClassNone) }
