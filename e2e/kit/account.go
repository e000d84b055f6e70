package kit

import (
	"path/filepath"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// Account is a service account in a test's namespace.
type Account struct {
	env             *Env
	namespace, name string
}

// ServiceAccount creates a service account without rights.
func (e *Env) ServiceAccount(t testing.TB, namespace, name string) *Account {
	t.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if _, err := e.Client.CoreV1().ServiceAccounts(namespace).Create(t.Context(), account,
		metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	return &Account{env: e, namespace: namespace, name: name}
}

// Token returns a token for an audience; empty: for the API server.
func (a *Account) Token(t testing.TB, audience string) string {
	t.Helper()
	request := &authenticationv1.TokenRequest{}
	if audience != "" {
		request.Spec.Audiences = []string{audience}
	}
	answer, err := a.env.Client.CoreV1().ServiceAccounts(a.namespace).CreateToken(t.Context(), a.name, request,
		metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return answer.Status.Token
}

// Kubeconfig returns the path of a kubeconfig with a token of the account.
func (a *Account) Kubeconfig(t testing.TB) string {
	t.Helper()
	config := api.NewConfig()
	rest := a.env.REST
	config.Clusters["cluster"] = &api.Cluster{Server: rest.Host, CertificateAuthorityData: rest.CAData,
		CertificateAuthority: rest.CAFile}
	config.AuthInfos["account"] = &api.AuthInfo{Token: a.Token(t, "")}
	config.Contexts["account"] = &api.Context{Cluster: "cluster", AuthInfo: "account"}
	config.CurrentContext = "account"
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		t.Fatal(err)
	}
	return path
}
