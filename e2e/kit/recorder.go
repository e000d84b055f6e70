package kit

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Recorder is an HTTP proxy that forwards a user's requests to the API server and records the rights that they need.
type Recorder struct {
	// Kubeconfig is the path of the user's kubeconfig, with the recorder as the server.
	Kubeconfig string

	mu   sync.Mutex
	used map[string]bool
}

// Recorder starts a recorder for a user's kubeconfig.
func (e *Env) Recorder(t testing.TB, kubeconfig string) *Recorder {
	t.Helper()
	r := &Recorder{used: map[string]bool{}, Kubeconfig: filepath.Join(t.TempDir(), "kubeconfig")}
	proxy := reverseProxy(t, kubeconfig)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		r.record(request)
		proxy.ServeHTTP(w, request)
	}))
	t.Cleanup(server.CloseClientConnections)
	writeKubeconfig(t, r.Kubeconfig, &clientcmdapi.Cluster{Server: server.URL}, &clientcmdapi.AuthInfo{})
	return r
}

// reverseProxy forwards requests, upgrades among them, to the API server as the user of a kubeconfig.
func reverseProxy(t testing.TB, kubeconfig string) *httputil.ReverseProxy {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	config.NextProtos = []string{"http/1.1"} // port-forwards upgrade the connection
	transport, err := rest.TransportFor(config)
	if err != nil {
		t.Fatal(err)
	}
	target, err := url.Parse(config.Host)
	if err != nil {
		t.Fatal(err)
	}
	return &httputil.ReverseProxy{
		Rewrite:       func(p *httputil.ProxyRequest) { p.SetURL(target) },
		Transport:     transport,
		FlushInterval: -1, // watches
		ErrorLog:      log.New(io.Discard, "", 0),
	}
}

// writeKubeconfig writes a kubeconfig of one user of one cluster.
func writeKubeconfig(t testing.TB, path string, cluster *clientcmdapi.Cluster, user *clientcmdapi.AuthInfo) {
	t.Helper()
	config := clientcmdapi.NewConfig()
	config.Clusters["c"], config.AuthInfos["u"] = cluster, user
	config.Contexts["c"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "u"}
	config.CurrentContext = "c"
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		t.Fatal(err)
	}
}

// Used reports whether a request needed this right. If the API server streams lists, client-go watches without a list
// before: then a watch counts as a list.
func (r *Recorder) Used(namespace, group, resource, verb string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	right := func(verb string) string { return strings.Join([]string{namespace, group, resource, verb}, " ") }
	return r.used[right(verb)] || verb == "list" && r.used[right("watch")]
}

// record records the right that a request in a namespace needs:
// /api/v1/namespaces/NS/RESOURCE[/NAME[/SUBRESOURCE]] or /apis/GROUP/VERSION/namespaces/….
func (r *Recorder) record(request *http.Request) {
	parts := strings.Split(strings.Trim(request.URL.Path, "/"), "/")
	at := slices.Index(parts, "namespaces")
	if at < 0 || len(parts) < at+3 {
		return
	}
	group := ""
	if parts[0] == "apis" {
		group = parts[1]
	}
	namespace, resource, named := parts[at+1], parts[at+2], len(parts) > at+3
	if len(parts) > at+4 {
		resource += "/" + parts[at+4]
	}
	verbs := map[string][]string{
		http.MethodPost: {"create"}, http.MethodPatch: {"patch"}, http.MethodPut: {"update"},
		http.MethodDelete: {"delete"},
	}[request.Method]
	if request.Method == http.MethodGet {
		switch {
		case request.URL.Query().Get("watch") != "":
			verbs = []string{"watch"}
		case !named:
			verbs = []string{"list"}
		case resource == "pods/portforward": // by WebSocket; Kubernetes 1.35 and later check both verbs
			verbs = []string{"get", "create"}
		default:
			verbs = []string{"get"}
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, verb := range verbs {
		r.used[strings.Join([]string{namespace, group, resource, verb}, " ")] = true
	}
}
