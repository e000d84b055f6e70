package plugin

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/yaml"

	"github.com/orb8-dev/kubectl-orb8/deploy"
	"github.com/orb8-dev/kubectl-orb8/internal/version"
	"github.com/orb8-dev/kubectl-orb8/plugin/launch"
	"github.com/orb8-dev/kubectl-orb8/plugin/rights"
)

// rbacOptions are the flags of rbac.
type rbacOptions struct {
	kube            *kubeFlags
	user, group     string
	tracerNamespace string

	viewer        string
	sensitive     bool
	allNamespaces bool
	orb8Namespace string

	policy       bool
	image        string
	registry     registryOption
	gpu          bool
	runtimeClass string
	kernel       string
	labels       map[string]string
	annotations  map[string]string
}

func newRBACCommand(streams genericiooptions.IOStreams) *cobra.Command {
	o := &rbacOptions{kube: newKubeFlags()}
	cmd := &cobra.Command{
		Use:   "rbac (--user NAME | --group NAME | --viewer SUBJECT)",
		Short: "Print the minimum rights that trace, or a viewer of installed agents, needs in a namespace",
		Args:  noArgs,
		Long: `Print the minimal Role and RoleBinding to trace the pods of a namespace with tracers in the same
namespace.

With --tracer-namespace, print two Roles: one reads the pods and workloads of the namespace, the other creates
tracers in the tracers' namespace. A user who may create Jobs can run any pod there, and is thus root on the nodes.
--admission-policy also prints ValidatingAdmissionPolicies (Kubernetes 1.30 and later): the tracers' namespace then
admits only tracers of one image.

--viewer prints the bindings of someone who sees what installed agents record, without any right to create pods: the
events of the namespace, or of all with -A. --sensitive adds programs, signals and system calls, whose arguments
may hold secrets.`,
		Example: `  # Let alice trace namespace demo
  kubectl orb8 rbac -n demo --user alice | kubectl apply -f -

  # The same without any right to run other pods: tracers have a namespace of their own
  kubectl create namespace tracers
  kubectl label namespace tracers pod-security.kubernetes.io/enforce=privileged
  kubectl orb8 rbac -n demo --user alice --tracer-namespace tracers --admission-policy | kubectl apply -f -

  # Let alice see what installed agents record of namespace demo
  kubectl orb8 rbac -n demo --viewer user:alice | kubectl apply -f -

  # Let everyone in group sre, and a program in the cluster, see everything
  kubectl orb8 rbac -A --viewer group:sre --sensitive | kubectl apply -f -
  kubectl orb8 rbac -A --viewer sa:monitoring:reporter --sensitive | kubectl apply -f -`,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd, streams) },
	}
	// Only these of kubectl's flags: --user here is the subject of the Role, not a user of the kubeconfig.
	flags := cmd.Flags()
	flags.StringVar(&o.kube.path, "kubeconfig", "", "Path to the kubeconfig file")
	flags.StringVar(&o.kube.overrides.CurrentContext, "context", "", "The kubeconfig context, for its namespace")
	flags.StringVarP(&o.kube.overrides.Context.Namespace, "namespace", "n", "", "The namespace to grant")
	flags.StringVar(&o.user, "user", "", "The user to grant it to")
	flags.StringVar(&o.group, "group", "", "The group to grant it to")
	flags.StringVar(&o.viewer, "viewer", "",
		"The viewer to grant it to: user:NAME, group:NAME or sa:NAMESPACE:NAME, of a service account")
	flags.BoolVar(&o.sensitive, "sensitive", false,
		"With --viewer: also events of programs, signals and system calls")
	flags.BoolVarP(&o.allNamespaces, "all-namespaces", "A", false, "With --viewer: the events of all namespaces")
	flags.StringVar(&o.orb8Namespace, "orb8-namespace", deploy.DefaultNamespace,
		"With --viewer: the namespace of the installation")
	flags.StringVar(&o.tracerNamespace, "tracer-namespace", "",
		"Namespace the tracer pods run in (default: the namespace to grant)")
	flags.BoolVar(&o.policy, "admission-policy", false,
		"Also print admission policies by which the tracers' namespace admits only tracers")
	flags.StringVar(&o.image, "image", "",
		"With --admission-policy: the only image to admit, preferably by digest (default $"+envImage+", else "+
			version.TracerImage()+
			")")
	o.registry.bind(flags)
	flags.BoolVar(&o.gpu, "gpu", false, "With --admission-policy: also admit tracers that read GPUs")
	flags.StringVar(&o.runtimeClass, "gpu-runtime-class", launch.NvidiaRuntimeClass,
		"With --gpu: the RuntimeClass that tracers may have, or none")
	flags.StringVar(&o.kernel, "oldest-kernel", "", "With --admission-policy: the nodes' oldest kernel, such as 5.10; "+
		"tracers need more capabilities before 5.11, and with --gpu before 6.6")
	flags.StringToStringVar(&o.labels, "tracer-labels", nil,
		"With --admission-policy: labels that tracers may have, KEY=VALUE")
	flags.StringToStringVar(&o.annotations, "tracer-annotations", nil,
		"With --admission-policy: annotations that tracers may have, KEY=VALUE")
	return cmd
}

// viewerFlags mean nothing without --viewer, and traceFlags nothing with it.
var (
	viewerFlags = []string{"sensitive", "all-namespaces", "orb8-namespace"}
	traceFlags  = []string{"user", "group", "tracer-namespace", "admission-policy"}
)

// runViewer prints the bindings of a viewer.
func (o *rbacOptions) runViewer(cmd *cobra.Command, out io.Writer, namespace string) error {
	for _, flag := range traceFlags {
		if cmd.Flags().Changed(flag) {
			return usagef("--%s does not go with --viewer", flag)
		}
	}
	viewer, err := deploy.ParseViewer(o.viewer)
	if err != nil {
		return usagef("--viewer %w", err)
	}
	viewer.Sensitive, viewer.In = o.sensitive, namespace
	name := viewer.Name
	if viewer.Namespace != "" {
		name = viewer.Namespace + ":" + name
	}
	viewer.Binding = strings.TrimPrefix(bindingName(viewer.Kind, name), "orb8:")
	if o.allNamespaces {
		viewer.In = ""
	}
	var objects []any
	for _, object := range viewer.Bindings(o.orb8Namespace) {
		objects = append(objects, object)
	}
	return writeObjects(out, objects)
}

// policyFlags mean nothing without --admission-policy.
var policyFlags = []string{"image", "gpu", "gpu-runtime-class", "oldest-kernel", "tracer-labels", "tracer-annotations"}

// kernelRelease is a release as uname prints it.
var kernelRelease = regexp.MustCompile(`^[0-9]+\.[0-9]+`)

func (o *rbacOptions) validate(cmd *cobra.Command, namespace string) error {
	if (o.user == "") == (o.group == "") {
		return usagef("want one of --user, --group and --viewer")
	}
	for _, flag := range viewerFlags {
		if cmd.Flags().Changed(flag) {
			return usagef("--%s goes with --viewer", flag)
		}
	}
	for _, flag := range policyFlags {
		if !o.policy && cmd.Flags().Changed(flag) {
			return usagef("--%s goes with --admission-policy", flag)
		}
	}
	switch {
	case !o.policy:
		return nil
	case o.tracerNamespace == "" || o.tracerNamespace == namespace:
		return usagef("--admission-policy: want --tracer-namespace, other than %s: it admits nothing but tracers",
			namespace)
	case o.kernel != "" && !kernelRelease.MatchString(o.kernel):
		return usagef("--oldest-kernel %q: want a release such as 5.10", o.kernel)
	case cmd.Flags().Changed("gpu-runtime-class") && !o.gpu:
		return usagef("--gpu-runtime-class goes with --gpu")
	}
	return new(tracerConfig).completeMetadata(&tracerOptions{labels: o.labels, annotations: o.annotations})
}

func (o *rbacOptions) run(cmd *cobra.Command, streams genericiooptions.IOStreams) error {
	namespace, err := o.kube.namespace()
	if err != nil {
		return err
	}
	if o.viewer != "" {
		return o.runViewer(cmd, streams.Out, namespace)
	}
	if err := o.validate(cmd, namespace); err != nil {
		return err
	}
	var out bytes.Buffer
	o.writeRoles(&out, namespace)
	if o.policy {
		policy, err := o.admissionPolicy()
		if err != nil {
			return err
		}
		if !strings.Contains(policy.Image, "@") {
			fmt.Fprintf(streams.ErrOut,
				"note: whoever may push %s decides what runs on the nodes: name the image by its "+
					"digest, --image NAME@sha256:…, here and for trace\n", policy.Image)
		}
		if err := writeObjects(&out, policy.Objects()); err != nil {
			return err
		}
	}
	_, err = streams.Out.Write(out.Bytes())
	return err
}

// writeRoles writes the Roles and RoleBindings: one of each, or one for the targets and one for the tracers.
func (o *rbacOptions) writeRoles(out *bytes.Buffer, namespace string) {
	kind, name := "User", o.user
	if o.group != "" {
		kind, name = "Group", o.group
	}
	manifests := deploy.RBAC
	if o.tracerNamespace != "" && o.tracerNamespace != namespace {
		manifests = deploy.RBACTargets + "---\n" + deploy.RBACTracers
	}
	quote := func(s string) string {
		b, _ := json.Marshal(s) // a JSON string is a YAML string; a Go string always marshals
		return string(b)
	}
	values := strings.NewReplacer(`"{{NAMESPACE}}"`, quote(namespace), `"{{TRACERS}}"`, quote(o.tracerNamespace),
		`"{{BINDING}}"`, quote(bindingName(kind, name)), `"{{KIND}}"`, quote(kind), `"{{NAME}}"`, quote(name))
	out.WriteString(values.Replace(manifests))
}

// bindingName is a name for each subject, so that granting a second one does not replace the first.
func bindingName(kind, name string) string {
	if rights.ShellSafe(name) {
		return "orb8:" + strings.ToLower(kind) + ":" + name
	}
	sum := sha256.Sum256([]byte(name))
	return "orb8:" + strings.ToLower(kind) + ":" + hex.EncodeToString(sum[:8])
}

func (o *rbacOptions) admissionPolicy() (*launch.Policy, error) {
	image, err := o.registry.image(o.image, os.Getenv(envImage), version.TracerImage())
	if err != nil {
		return nil, err
	}
	p := &launch.Policy{
		Namespace: o.tracerNamespace, Image: image,
		GPU: o.gpu, RuntimeClass: o.runtimeClass, Kernel: o.kernel, Labels: o.labels, Annotations: o.annotations,
	}
	if o.runtimeClass == runtimeClassNone {
		p.RuntimeClass = ""
	}
	return p, nil
}

func writeObjects(out io.Writer, objects []any) error {
	for _, object := range objects {
		b, err := yaml.Marshal(object)
		if err != nil {
			return err
		}
		// The API server keeps a status of policies; a manifest has none.
		text := strings.TrimSuffix(string(b), "status: {}\n")
		if _, err := io.WriteString(out, "---\n"+text); err != nil {
			return err
		}
	}
	return nil
}
