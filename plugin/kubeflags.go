package plugin

import (
	"strings"

	"github.com/spf13/pflag"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// kubeFlags are kubectl's flags for the cluster and the user, and override the kubeconfig. cli-runtime has them too,
// together with kustomize and the types of all API groups.
type kubeFlags struct {
	path      string
	overrides clientcmd.ConfigOverrides
	userExtra []string
	// adapt, if not nil, changes the configuration of the API server.
	adapt func(*rest.Config)
}

func newKubeFlags() *kubeFlags {
	return &kubeFlags{overrides: clientcmd.ConfigOverrides{ClusterDefaults: clientcmd.ClusterDefaults}}
}

// AddFlags defines the flags.
func (f *kubeFlags) AddFlags(flags *pflag.FlagSet) {
	cluster, user, context := &f.overrides.ClusterInfo, &f.overrides.AuthInfo, &f.overrides.Context
	flags.StringVar(&f.path, "kubeconfig", "", "Path to the kubeconfig file")
	flags.StringVar(&f.overrides.CurrentContext, "context", "", "Name of the kubeconfig context")
	flags.StringVar(&context.Cluster, "cluster", "", "Name of the kubeconfig cluster")
	flags.StringVar(&context.AuthInfo, "user", "", "Name of the kubeconfig user")
	flags.StringVarP(&context.Namespace, "namespace", "n", "", "Namespace of the command (default: the context's)")
	flags.StringVar(&f.overrides.Timeout, "request-timeout", "0",
		"Time to wait for the answer to one request, such as 1s, 2m or 3h; 0: no limit")

	flags.StringVarP(&cluster.Server, "server", "s", "", "Address and port of the API server")
	flags.StringVar(&cluster.CertificateAuthority, "certificate-authority", "",
		"Path to the certificate of the API server's certificate authority")
	flags.StringVar(&cluster.TLSServerName, "tls-server-name", "",
		"Name that the API server's certificate has to have (default: the host of the address)")
	flags.BoolVar(&cluster.InsecureSkipTLSVerify, "insecure-skip-tls-verify", false,
		"Do not verify the API server's certificate: the connection is insecure")
	flags.StringVar(&cluster.ProxyURL, "proxy-url", "", "URL of the proxy for requests to the API server")
	flags.BoolVar(&cluster.DisableCompression, "disable-compression", false, "Request answers without compression")

	flags.StringVar(&user.ClientCertificate, "client-certificate", "", "Path to the user's certificate")
	flags.StringVar(&user.ClientKey, "client-key", "", "Path to the key of the user's certificate")
	flags.StringVar(&user.Token, "token", "", "Bearer token of the user")
	flags.StringVar(&user.Impersonate, "as", "", "User or service account to impersonate")
	flags.StringVar(&user.ImpersonateUID, "as-uid", "", "UID to impersonate")
	flags.StringArrayVar(&user.ImpersonateGroups, "as-group", nil, "Group to impersonate (may be repeated)")
	flags.StringArrayVar(&f.userExtra, "as-user-extra", nil,
		"Extra attribute of the user to impersonate, KEY=VALUE (may be repeated)")

	// Wrappers pass kubectl's flags to any of its commands. Nothing is cached here.
	flags.String("cache-dir", "", "Ignored: orb8 caches nothing")
	_ = flags.MarkHidden("cache-dir") // fails for a flag that was not defined
}

// server is the API server that a flag names; empty: none does.
func (f *kubeFlags) server() string { return f.overrides.ClusterInfo.Server }

// flagNamespace is the namespace that a flag names; empty: none does.
func (f *kubeFlags) flagNamespace() string { return f.overrides.Context.Namespace }

// rules finds the kubeconfig.
func (f *kubeFlags) rules() *clientcmd.ClientConfigLoadingRules {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	// Without a kubeconfig, --server and credentials from flags are enough.
	rules.DefaultClientConfig = &clientcmd.DefaultClientConfig
	rules.ExplicitPath = f.path
	return rules
}

// kubeconfig is the kubeconfig with the flags' values.
func (f *kubeFlags) kubeconfig() clientcmd.ClientConfig {
	overrides := f.overrides
	for _, extra := range f.userExtra {
		key, value, ok := strings.Cut(extra, "=")
		if !ok {
			continue // as kubectl does
		}
		if overrides.AuthInfo.ImpersonateUserExtra == nil {
			overrides.AuthInfo.ImpersonateUserExtra = map[string][]string{}
		}
		values := overrides.AuthInfo.ImpersonateUserExtra
		values[key] = append(values[key], value)
	}
	return clientcmd.NewNonInteractiveDeferredLoadingClientConfig(f.rules(), &overrides)
}

// restConfig returns the configuration of the API server.
func (f *kubeFlags) restConfig() (*rest.Config, error) {
	config, err := f.kubeconfig().ClientConfig()
	if err == nil && f.adapt != nil {
		f.adapt(config)
	}
	return config, err
}

// namespace returns the namespace of the flags, else of the context.
func (f *kubeFlags) namespace() (string, error) {
	namespace, _, err := f.kubeconfig().Namespace()
	return namespace, err
}
