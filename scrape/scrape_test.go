package scrape

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/client-go/rest"
)

// api is an API server that knows the tokens good (allowed) and poor (not allowed).
type api struct {
	reviews atomic.Int64
	down    atomic.Bool
	// asked is the last SubjectAccessReview.
	mu    sync.Mutex
	asked authorizationv1.SubjectAccessReviewSpec
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.reviews.Add(1)
	if a.down.Load() {
		http.Error(w, "no", http.StatusInternalServerError)
		return
	}
	w.WriteHeader(http.StatusCreated)
	switch r.URL.Path {
	case "/apis/authentication.k8s.io/v1/tokenreviews":
		var review authenticationv1.TokenReview
		_ = json.NewDecoder(r.Body).Decode(&review)
		if t := review.Spec.Token; t == "good" || t == "poor" {
			review.Status.Authenticated = true
			review.Status.User = authenticationv1.UserInfo{Username: t, UID: "u", Groups: []string{"g"},
				Extra: map[string]authenticationv1.ExtraValue{"scopes": {"x"}}}
		}
		_ = json.NewEncoder(w).Encode(review)
	case "/apis/authorization.k8s.io/v1/subjectaccessreviews":
		var review authorizationv1.SubjectAccessReview
		_ = json.NewDecoder(r.Body).Decode(&review)
		a.mu.Lock()
		a.asked = review.Spec
		a.mu.Unlock()
		review.Status.Allowed = review.Spec.User == "good"
		_ = json.NewEncoder(w).Encode(review)
	}
}

// kit is a Server with a fake API server and one metric.
type kit struct {
	*api
	*Server
	handler http.Handler
}

func newKit(t *testing.T) *kit {
	t.Helper()
	k := &kit{api: &api{}}
	server := httptest.NewServer(k.api)
	t.Cleanup(server.Close)
	auth, err := NewAuth(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	k.Server = New(Options{Auth: auth, Log: slog.New(slog.DiscardHandler)})
	k.handler = k.Handler(gatherer())
	return k
}

func gatherer() prometheus.Gatherer {
	r := prometheus.NewRegistry()
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: "x_total"})
	c.Add(7)
	r.MustRegister(c)
	return r
}

// get scrapes from an address with the value of the header Authorization.
func (k *kit) get(path, from, authorization string) (int, string) {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.RemoteAddr = from
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	w := httptest.NewRecorder()
	k.handler.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func TestServer_Authorizes(t *testing.T) {
	k := newKit(t)
	for i, c := range []struct {
		path, authorization string
		code                int
	}{
		{"/metrics", "", http.StatusUnauthorized},
		{"/metrics", "Basic good", http.StatusUnauthorized},
		{"/metrics", "Bearer", http.StatusUnauthorized},
		{"/metrics", "Bearer bad", http.StatusUnauthorized},
		{"/metrics", "Bearer " + strings.Repeat("x", maxTokenBytes+1), http.StatusUnauthorized},
		{"/metrics", "Bearer poor", http.StatusForbidden},
		{"/metrics", "bearer good", http.StatusOK},
		{"/", "Bearer good", http.StatusNotFound},
		{"/debug/pprof", "Bearer good", http.StatusNotFound},
	} {
		code, text := k.get(c.path, "10.0.0.1:1", c.authorization)
		if code != c.code || (code == http.StatusOK) != strings.Contains(text, "x_total 7") {
			t.Errorf("%d: %s with %.20s: %d, want %d: %s", i, c.path, c.authorization, code, c.code, text)
		}
	}
	asked := k.asked
	a := asked.NonResourceAttributes
	if a == nil || a.Path != "/metrics" || a.Verb != "get" || asked.Groups[0] != "g" ||
		asked.Extra["scopes"][0] != "x" {
		t.Errorf("asked %+v", asked)
	}
	codes := k.Requests()
	if codes[401] != 5 || codes[403] != 1 || codes[200] != 1 || codes[404] != 2 {
		t.Errorf("counted %v", codes)
	}
}

func TestServer_ReusesVerdicts(t *testing.T) {
	k := newKit(t)
	for range 10 {
		k.get("/metrics", "10.0.0.1:1", "Bearer good")
		k.get("/metrics", "10.0.0.2:1", "Bearer bad")
	}
	if n := k.reviews.Load(); n != 3 {
		t.Errorf("%d reviews, want 3", n)
	}
}

// While the API server is down, those that it allowed shortly before still scrape.
func TestServer_APIServerDown(t *testing.T) {
	k := newKit(t)
	k.get("/metrics", "10.0.0.1:1", "Bearer good")
	k.down.Store(true)
	if code, _ := k.get("/metrics", "10.0.0.1:1", "Bearer good"); code != http.StatusOK {
		t.Errorf("%d for a bearer who was allowed", code)
	}
	if code, _ := k.get("/metrics", "10.0.0.1:1", "Bearer other"); code != http.StatusServiceUnavailable {
		t.Errorf("%d for another, want 503", code)
	}
	k.down.Store(false)
	if code, _ := k.get("/metrics", "10.0.0.1:1", "Bearer other"); code != http.StatusUnauthorized {
		t.Errorf("%d after it, want 401: an error is no verdict", code)
	}
}

// A flood of bad tokens causes few reviews, and does not keep a good one out that is known.
func TestServer_Flood(t *testing.T) {
	k := newKit(t)
	k.get("/metrics", "10.0.0.1:1", "Bearer good")
	for i := range 2000 {
		from := net.JoinHostPort(net.IPv4(10, 1, byte(i>>8), byte(i)).String(), "1")
		k.get("/metrics", from, "Bearer "+strings.Repeat("y", i+1))
		if i < 200 {
			k.get("/metrics", "10.0.0.9:1", "Bearer z")
		}
	}
	if n := k.reviews.Load(); n > 200 {
		t.Errorf("%d reviews", n)
	}
	if code, _ := k.get("/metrics", "10.0.0.1:1", "Bearer good"); code != http.StatusOK {
		t.Errorf("%d for a bearer who is known", code)
	}
	if k.Requests()[429] == 0 || k.peers.Len() > maxPeers {
		t.Errorf("counted %v, %d peers", k.Requests(), k.peers.Len())
	}
}

func TestServer_ScrapesAtOnce(t *testing.T) {
	k := newKit(t)
	ctx, stop := context.WithCancel(t.Context())
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- k.Serve(ctx, l, gatherer()) }()
	var scrapes sync.WaitGroup
	for range maxScrapes {
		scrapes.Go(func() {
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+l.Addr().String()+"/metrics", nil)
			if err != nil {
				t.Error(err)
				return
			}
			r.Header.Set("Authorization", "Bearer good")
			answer, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Error(err)
				return
			}
			defer answer.Body.Close()
			if text, err := io.ReadAll(answer.Body); err != nil || answer.StatusCode != http.StatusOK ||
				!strings.Contains(string(text), "x_total 7") {
				t.Errorf("%v, %d: %s", err, answer.StatusCode, text)
			}
		})
	}
	scrapes.Wait()
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestListener_BoundsConnections(t *testing.T) {
	l := newListener(nil)
	for range maxPeerConnections {
		if !l.admit("a") {
			t.Fatal("refused")
		}
	}
	if l.admit("a") {
		t.Error("one peer has more connections than it may")
	}
	for l.total < maxConnections {
		l.admit(strings.Repeat("b", l.total))
	}
	if l.admit("c") {
		t.Error("there are more connections than there may be")
	}
	for range maxPeerConnections {
		l.leave("a")
	}
	if !l.admit("c") || l.peers["a"] != 0 {
		t.Errorf("%v after connections were closed", l.peers)
	}
}
