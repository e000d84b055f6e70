package plugin

// The auth-providers of kubeconfigs. Only oidc is left of them; the errors of gcp and azure name their replacement.
import _ "k8s.io/client-go/plugin/pkg/client/auth"
