package plugin

import (
	"cmp"
	"os"
	"path/filepath"
	"strings"

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
func resolveCluster(flags *kubeFlags) (*rest.Config, string, error) {
	file, err := flags.rules().Load()
	if err != nil {
		return nil, "", err
	}
	namespace := ""
	if len(file.Clusters) == 0 && flags.server() == "" {
		pod, err := inClusterConfig()
		if err != nil {
			return nil, "", clientcmd.ErrEmptyConfig
		}
		useServiceAccount(flags, pod)
		namespace = cmp.Or(flags.flagNamespace(), podNamespace(pod))
	}
	config, err := flags.restConfig()
	if err != nil {
		return nil, "", err
	}
	if namespace == "" {
		namespace, err = flags.namespace()
	}
	return config, namespace, err
}

// useServiceAccount makes the pod's API server, its certificate authority and its token the defaults of the flags.
func useServiceAccount(flags *kubeFlags, pod *rest.Config) {
	cluster := &flags.overrides.ClusterInfo
	cluster.Server = pod.Host
	if cluster.CertificateAuthority == "" && !cluster.InsecureSkipTLSVerify {
		cluster.CertificateAuthority = pod.CAFile
	}
	flags.adapt = func(c *rest.Config) {
		if c.BearerToken == "" && c.BearerTokenFile == "" && c.CertFile == "" && c.Username == "" {
			// By its file: the kubelet renews the token.
			c.BearerTokenFile = pod.BearerTokenFile
		}
	}
}

// podNamespace is the namespace of the pod that this runs in, which its service account's volume holds.
func podNamespace(pod *rest.Config) string {
	b, err := os.ReadFile(filepath.Join(filepath.Dir(pod.BearerTokenFile), "namespace"))
	if err != nil {
		return "default"
	}
	return cmp.Or(strings.TrimSpace(string(b)), "default")
}
