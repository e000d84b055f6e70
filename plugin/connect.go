package plugin

import (
	"cmp"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// inClusterConfig returns the credentials of the pod that the plugin runs in; tests replace it.
var inClusterConfig = rest.InClusterConfig

// resolveCluster returns the API server's configuration and the namespace of the command: from the flags, else from the
// kubeconfig, else, in a pod without a kubeconfig, from the pod's service account. It sends no request.
//
// client-go uses the service account only without any flag, and else falls back to localhost:8080: with
// --request-timeout alone it would not use the pod's cluster.
func resolveCluster(kube *genericclioptions.ConfigFlags) (*rest.Config, string, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = *kube.KubeConfig
	file, err := rules.Load()
	if err != nil {
		return nil, "", err
	}
	namespace := ""
	if len(file.Clusters) == 0 && *kube.APIServer == "" {
		pod, err := inClusterConfig()
		if err != nil {
			return nil, "", clientcmd.ErrEmptyConfig
		}
		useServiceAccount(kube, pod)
		namespace = cmp.Or(*kube.Namespace, podNamespace(pod))
	}
	config, err := kube.ToRESTConfig()
	if err != nil {
		return nil, "", err
	}
	if namespace == "" {
		namespace, _, err = kube.ToRawKubeConfigLoader().Namespace()
	}
	return config, namespace, err
}

// useServiceAccount makes the pod's API server, its certificate authority and its token the defaults of the flags.
func useServiceAccount(kube *genericclioptions.ConfigFlags, pod *rest.Config) {
	*kube.APIServer = pod.Host
	if *kube.CAFile == "" && !*kube.Insecure {
		*kube.CAFile = pod.CAFile
	}
	wrapped := kube.WrapConfigFn
	kube.WithWrapConfigFn(func(c *rest.Config) *rest.Config {
		if c.BearerToken == "" && c.BearerTokenFile == "" && c.CertFile == "" && c.Username == "" {
			// By its file: the kubelet renews the token.
			c.BearerTokenFile = pod.BearerTokenFile
		}
		if wrapped != nil {
			return wrapped(c)
		}
		return c
	})
}

// podNamespace is the namespace of the pod that this runs in, which its service account's volume holds.
func podNamespace(pod *rest.Config) string {
	b, err := os.ReadFile(filepath.Join(filepath.Dir(pod.BearerTokenFile), "namespace"))
	if err != nil {
		return "default"
	}
	return cmp.Or(strings.TrimSpace(string(b)), "default")
}
