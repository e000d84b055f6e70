package plugin

import (
	"context"
	"path"
	"slices"

	"github.com/spf13/pflag"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/orb8-dev/kubectl-orb8/event/session"
	"github.com/orb8-dev/kubectl-orb8/plugin/launch"
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
	cudaLibrary  string
	runtimeClass string
	podResources string
}

func (o *gpuOptions) bind(flags *pflag.FlagSet) {
	flags.StringVar(&o.library, "nvml-library", "", "gpu: path of the driver's libnvidia-ml.so.1 on the nodes (default: looked for)")
	flags.StringVar(&o.cudaLibrary, "cuda-library", "", "gpu: path of the driver's libcuda.so.1 on the nodes, whose calls are counted (default: looked for)")
	flags.StringVar(&o.runtimeClass, "gpu-runtime-class", runtimeClassAuto,
		"gpu: RuntimeClass that gives tracers the GPUs' device files: a name, none, or auto (nvidia, where the cluster has it)")
	flags.StringVar(&o.podResources, "pod-resources", "",
		"gpu: path of the socket of the kubelet's pod-resources API on the nodes; {node} in it stands for the node's name (default: looked for)")
}

// gpuConfig is what is asked for of GPUs; nil: nothing.
type gpuConfig struct {
	library      string
	cudaLibrary  string
	runtimeClass string
	podResources string
}

// complete gives what is asked for of GPUs, nil where they are not among kinds.
func (o *gpuOptions) complete(kinds []string) (*gpuConfig, error) {
	if !slices.Contains(kinds, "gpu") {
		for flag, set := range map[string]bool{"nvml-library": o.library != "", "cuda-library": o.cudaLibrary != "", "pod-resources": o.podResources != "", "gpu-runtime-class": o.runtimeClass != "" && o.runtimeClass != runtimeClassAuto} {
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
	return &gpuConfig{library: o.library, cudaLibrary: o.cudaLibrary, runtimeClass: o.runtimeClass, podResources: o.podResources}, nil
}

// resolve asks the cluster for what auto stands for. Who may not ask goes without.
func (g *gpuConfig) resolve(ctx context.Context, client kubernetes.Interface) error {
	if g == nil {
		return nil
	}
	switch g.runtimeClass {
	case runtimeClassNone:
		g.runtimeClass = ""
	case runtimeClassAuto:
		_, err := client.NodeV1().RuntimeClasses().Get(ctx, nvidiaRuntimeClass, metav1.GetOptions{})
		switch {
		case err == nil:
			g.runtimeClass = nvidiaRuntimeClass
		case apierrors.IsNotFound(err), apierrors.IsForbidden(err):
			g.runtimeClass = ""
		default:
			return err
		}
	}
	return nil
}

// add gives a tracer what it needs to read GPUs, once that is resolved.
func (g *gpuConfig) add(spec *launch.Spec) {
	if g != nil {
		spec.GPU, spec.Library, spec.CUDALibrary, spec.RuntimeClass = true, g.library, g.cudaLibrary, g.runtimeClass
		spec.PodResources = g.podResources
	}
}

// session is what the tracers are told.
func (g *gpuConfig) session() *session.GpuConfig {
	if g == nil {
		return nil
	}
	return &session.GpuConfig{Library: g.library, CudaLibrary: g.cudaLibrary, PodResources: g.podResources}
}
