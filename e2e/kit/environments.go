package kit

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Environment is a way in which a user reaches the cluster.
type Environment struct {
	Name string
	Env  *Env
	// Kubeconfig is the value of KUBECONFIG.
	Kubeconfig string
	// Flags are those that every command needs.
	Flags []string
	// Check, after a command, fails the test if the command went another way.
	Check func(testing.TB)
}

// user is the kubeconfig of a user, taken apart.
type user struct {
	path    string
	cluster *clientcmdapi.Cluster
	auth    *clientcmdapi.AuthInfo
	// server is the address of the API server.
	server string
}

// Environments returns the ways of a user, who has rights already, to the cluster.
func (e *Env) Environments(t testing.TB, name string) []Environment {
	t.Helper()
	u := e.userOf(t, name)
	return []Environment{
		e.httpsProxy(t, u), e.proxyURL(t, u), e.noProxy(u), e.pathPrefix(t, u, false), e.pathPrefix(t, u, true),
		e.execPlugin(t, u), e.impersonation(t, name),
	}
}

func (e *Env) userOf(t testing.TB, name string) *user {
	t.Helper()
	u := &user{path: e.User(t, name)}
	config, err := clientcmd.LoadFromFile(u.path)
	if err != nil {
		t.Fatal(err)
	}
	current := config.Contexts[config.CurrentContext]
	u.cluster, u.auth = config.Clusters[current.Cluster], config.AuthInfos[current.AuthInfo]
	server, err := url.Parse(u.cluster.Server)
	if err != nil {
		t.Fatal(err)
	}
	u.server = server.Host
	return u
}

// hidden writes a kubeconfig with the name of the API server that only a ConnectProxy resolves.
func (u *user) hidden(t testing.TB, proxy string) (path string) {
	t.Helper()
	cluster := u.cluster.DeepCopy()
	cluster.TLSServerName = strings.Split(u.server, ":")[0]
	cluster.Server, cluster.ProxyURL = "https://"+hiddenHost, proxy
	path = filepath.Join(t.TempDir(), "kubeconfig")
	writeKubeconfig(t, path, cluster, u.auth)
	return path
}

// tunnelled checks that a proxy was used.
func (p *ConnectProxy) tunnelled(t testing.TB) {
	t.Helper()
	if p.Tunnels.Load() == 0 {
		t.Error("nothing went through the proxy")
	}
}

func (e *Env) httpsProxy(t testing.TB, u *user) Environment {
	t.Helper()
	proxy := e.ConnectProxy(t, u.server, url.UserPassword("alice", "s3cret"))
	return Environment{Name: "HTTPS_PROXY", Env: e.WithVariables("HTTPS_PROXY=" + proxy.URL),
		Kubeconfig: u.hidden(t, ""), Check: proxy.tunnelled}
}

func (e *Env) proxyURL(t testing.TB, u *user) Environment {
	t.Helper()
	proxy := e.ConnectProxy(t, u.server, nil)
	return Environment{Name: "proxy-url", Env: e, Kubeconfig: u.hidden(t, proxy.URL), Check: proxy.tunnelled}
}

// noProxy has a proxy that does not answer, and the API server's network as an exception.
func (e *Env) noProxy(u *user) Environment {
	host := strings.Split(u.server, ":")[0]
	return Environment{Name: "NO_PROXY", Env: e.WithVariables("HTTPS_PROXY=http://127.0.0.1:1", "NO_PROXY="+host+"/32"),
		Kubeconfig: u.path, Check: func(testing.TB) {}}
}

// pathPrefix is a server in front of several clusters, each below a path, which has users with tokens of its own. Some
// do not pass WebSockets, but SPDY.
func (e *Env) pathPrefix(t testing.TB, u *user, spdyOnly bool) Environment {
	t.Helper()
	const prefix, token = "/k8s/clusters/c-m-abc123", "kubeconfig-u-42:s3cret"
	proxy := reverseProxy(t, u.path)
	var upgrades sync.Map
	server := httptest.NewUnstartedServer(http.StripPrefix(prefix, http.HandlerFunc(func(
		w http.ResponseWriter, r *http.Request,
	) {
		upgrade := strings.ToLower(r.Header.Get("Upgrade"))
		switch {
		case r.Header.Get("Authorization") != "Bearer "+token:
			http.Error(w, "unauthorized", http.StatusUnauthorized)
			return
		case upgrade == "websocket" && spdyOnly:
			http.Error(w, "no WebSockets", http.StatusBadRequest)
			return
		case upgrade != "":
			upgrades.Store(upgrade, true)
		}
		r.Header.Del("Authorization")
		proxy.ServeHTTP(w, r)
	})))
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.CloseClientConnections)
	path := filepath.Join(t.TempDir(), "kubeconfig")
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	writeKubeconfig(t, path,
		&clientcmdapi.Cluster{Server: server.URL + prefix, CertificateAuthorityData: ca},
		&clientcmdapi.AuthInfo{Token: token})
	name, want := "path prefix", "websocket"
	if spdyOnly {
		name, want = "path prefix without WebSockets", "spdy/3.1"
	}
	return Environment{Name: name, Env: e, Kubeconfig: path, Check: func(t testing.TB) {
		t.Helper()
		var passed []any
		upgrades.Range(func(upgrade, _ any) bool {
			passed = append(passed, upgrade)
			return true
		})
		// Before Kubernetes 1.31, the API server itself refuses WebSockets.
		if !slices.Contains(passed, any(want)) || spdyOnly && len(passed) > 1 {
			t.Errorf("upgrades to %v, want %s", passed, want)
		}
	}}
}

// execPlugin has a kubeconfig in three files, whose user is what a program beside them prints, and a home directory
// that nothing can be written to.
func (e *Env) execPlugin(t testing.TB, u *user) Environment {
	t.Helper()
	dir := t.TempDir()
	status := map[string]string{"clientCertificateData": string(u.auth.ClientCertificateData),
		"clientKeyData": string(u.auth.ClientKeyData)}
	credential, err := json.Marshal(map[string]any{"apiVersion": "client.authentication.k8s.io/v1",
		"kind": "ExecCredential", "status": status})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "ca.crt"), u.cluster.CertificateAuthorityData, 0o600); err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf("#!/bin/sh\ncat <<'END'\n%s\nEND\n", credential)
	if err := os.WriteFile(filepath.Join(dir, "log-in"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	var files []string
	for name, text := range map[string]string{
		"cluster": fmt.Sprintf(`clusters: [{name: c, cluster: {server: "%s", certificate-authority: ca.crt}}]`,
			u.cluster.Server),
		"user": `users: [{name: u, user: {exec: {apiVersion: client.authentication.k8s.io/v1, command: ./log-in,
  interactiveMode: IfAvailable}}}]`,
		"context": "contexts: [{name: c, context: {cluster: c, user: u}}]\ncurrent-context: c",
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("apiVersion: v1\nkind: Config\n"+text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, path)
	}
	return Environment{Name: "exec plugin", Env: e.WithVariables("HOME=/proc/none"),
		Kubeconfig: strings.Join(files, string(os.PathListSeparator)), Check: func(testing.TB) {}}
}

// impersonation has a user whose only right is to act as another one.
func (e *Env) impersonation(t testing.TB, name string) Environment {
	t.Helper()
	admin := name + "-admin"
	e.Apply(t, fmt.Sprintf(`
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: %[1]s}
rules:
- {apiGroups: [""], resources: [users], verbs: [impersonate], resourceNames: [%[2]s]}
- {apiGroups: [""], resources: [groups], verbs: [impersonate], resourceNames: [%[2]s-group]}
- {apiGroups: [authentication.k8s.io], resources: [uids], verbs: [impersonate], resourceNames: ["42"]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: %[1]s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: %[1]s}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: %[1]s}]
`, admin, name))
	return Environment{Name: "impersonation", Env: e, Kubeconfig: e.User(t, admin),
		Flags: []string{"--as", name, "--as-group", name + "-group", "--as-uid", "42"}, Check: func(testing.TB) {}}
}
