package access

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/orb8-dev/kubectl-orb8/event/orbit"
	"github.com/orb8-dev/kubectl-orb8/event/orbit/orbittest"
)

var alice = &orbit.User{Name: "alice", UID: "42", Groups: []string{"dev"}, Extra: map[string][]string{"scope": {"a"}}}

// call is the context of a call with a certificate and headers.
func call(t *testing.T, cert *tls.Certificate, headers ...string) context.Context {
	info := credentials.TLSInfo{}
	if cert != nil {
		info.State.PeerCertificates = []*x509.Certificate{cert.Leaf}
	}
	address := &net.TCPAddr{IP: net.IP{10, 0, 0, 1}, Port: 7}
	ctx := peer.NewContext(t.Context(), &peer.Peer{Addr: address, AuthInfo: info})
	return metadata.NewIncomingContext(ctx, metadata.Pairs(headers...))
}

func TestIdentify(t *testing.T) {
	ca := orbittest.New(t)
	viewer := ca.Issue(t, orbit.Peer{Role: orbit.RoleViewer, User: alice}, time.Hour)
	client := fake.NewClientset()
	client.PrependReactor("create", "tokenreviews", func(a clienttesting.Action) (bool, runtime.Object, error) {
		review := a.(clienttesting.CreateAction).GetObject().(*authenticationv1.TokenReview).DeepCopy()
		if review.Spec.Token == "good" {
			review.Status = authenticationv1.TokenReviewStatus{Authenticated: true,
				Audiences: []string{orbit.TokenAudience}, User: authenticationv1.UserInfo{
					Username: alice.Name, UID: alice.UID, Groups: alice.Groups,
					Extra: map[string]authenticationv1.ExtraValue{"scope": {"a"}},
				}}
		}
		return true, review, nil
	})
	bob := &orbit.User{Name: "bob"}
	for name, test := range map[string]struct {
		ctx  context.Context
		user *orbit.User
		code codes.Code
	}{
		"a viewer": {call(t, viewer), alice, codes.OK},
		"a token":  {call(t, nil, "authorization", "Bearer good"), alice, codes.OK},
		"a viewer with the token of another": {
			call(t, ca.Issue(t, orbit.Peer{Role: orbit.RoleViewer, User: bob}, time.Hour), "authorization",
				"Bearer good"), bob, codes.OK,
		},
		"an expired viewer": {
			call(t, ca.Issue(t, orbit.Peer{Role: orbit.RoleViewer, User: alice}, -time.Second)), nil,
			codes.Unauthenticated,
		},
		"an agent": {
			call(t, ca.Issue(t, orbit.Peer{Role: orbit.RoleAgent, Node: "n1"}, time.Hour)), nil, codes.Unauthenticated,
		},
		"a bad token": {call(t, nil, "authorization", "Bearer bad"), nil, codes.Unauthenticated},
		"two tokens": {
			call(t, nil, "authorization", "Bearer good", "authorization", "Bearer good"), nil, codes.Unauthenticated,
		},
		"another scheme": {call(t, nil, "authorization", "Basic good"), nil, codes.Unauthenticated},
		"forged headers": {
			call(t, nil, "x-remote-user", "admin", "x-remote-group", "system:masters"), nil, codes.Unauthenticated,
		},
		"nothing":       {call(t, nil), nil, codes.Unauthenticated},
		"no TLS":        {peer.NewContext(t.Context(), &peer.Peer{Addr: &net.TCPAddr{}}), nil, codes.Unauthenticated},
		"no connection": {t.Context(), nil, codes.Unauthenticated},
	} {
		var out bytes.Buffer
		a := New(client, Options{Log: slog.New(slog.NewTextHandler(&out, nil))})
		user, err := a.Identify(test.ctx)
		if status.Code(err) != test.code || !reflect.DeepEqual(user, test.user) {
			t.Errorf("%s: %+v, %v", name, user, err)
		}
		if refused := test.code != codes.OK; refused != (a.Refusals() == 1) || refused != (out.Len() > 0) {
			t.Errorf("%s: %d refusals, logged %q", name, a.Refusals(), out.String())
		}
		if strings.Contains(out.String(), "good") || strings.Contains(out.String(), "Bearer bad") {
			t.Errorf("%s: the token is logged: %s", name, out.String())
		}
	}
}

func TestOpen_AsksWithAllOfTheUser(t *testing.T) {
	api := newAPI("flows", "*")
	open(t, api, []string{"flow"}, []string{"demo"})
	spec := api.asked[0].Spec
	if spec.User != "alice" || spec.UID != "42" || spec.Groups[0] != "dev" || spec.Extra["scope"][0] != "a" {
		t.Errorf("asked for %+v", spec)
	}
	if r := spec.ResourceAttributes; r.Verb != "get" || r.Group != "orb8.dev" || r.Resource != "flows" ||
		r.Namespace != "" {
		t.Errorf("asked for %+v", r)
	}
	if len(api.asked) != 1 {
		t.Errorf("%d reviews, want 1 for the whole cluster", len(api.asked))
	}
}

func TestOpen_Scopes(t *testing.T) {
	for name, test := range map[string]struct {
		grants            []string // resource, namespace, …
		kinds, namespaces []string
		visible           []string // kind/namespace
		hidden            []string
		code              codes.Code
	}{
		"everything": {
			[]string{"flows", "*", "dns", "*"}, []string{"flow", "dns"}, nil,
			[]string{"flow/a", "dns/b", "flow/", "dns/"}, []string{"exec/a", "tcp/a", "flowTop/a"}, codes.OK,
		},
		"one namespace": {
			[]string{"flows", "a"}, []string{"flow"}, []string{"a", "b", "c"},
			[]string{"flow/a"}, []string{"flow/b", "flow/c", "flow/later", "flow/", "dns/a"}, codes.OK,
		},
		"a namespace that appears later": {
			[]string{"flows", "a", "flows", "later"}, []string{"flow"}, []string{"a"},
			[]string{"flow/a", "flow/later"}, []string{"flow/b", "flow/UPPER", "flow/a/b"}, codes.OK,
		},
		"one kind of two": {
			[]string{"flows", "*", "execs", "a"}, []string{"flow", "exec"}, []string{"a", "b"},
			[]string{"flow/a", "flow/b", "exec/a"}, []string{"exec/b", "exec/"}, codes.OK,
		},
		"both kinds of syscalls": {
			[]string{"syscalls", "a"}, []string{"syscall", "syscallSummary"}, []string{"a"},
			[]string{"syscall/a", "syscallSummary/a"}, nil, codes.OK,
		},
		"nothing":      {nil, []string{"flow"}, []string{"a"}, nil, nil, codes.PermissionDenied},
		"other kinds":  {[]string{"flows", "*"}, []string{"exec"}, []string{"a"}, nil, nil, codes.PermissionDenied},
		"no namespace": {[]string{"flows", "a"}, []string{"flow"}, nil, nil, nil, codes.PermissionDenied},
		"a bad name": {
			[]string{"flows", "a"}, []string{"flow"}, []string{"../a"}, nil, nil, codes.PermissionDenied,
		},
		"a bad kind":     {[]string{"flows", "*"}, []string{"flows"}, nil, nil, nil, codes.InvalidArgument},
		"rows of viewer": {[]string{"flows", "*"}, []string{"networkTop"}, nil, nil, nil, codes.InvalidArgument},
		"all kinds":      {[]string{"gpus", "a"}, nil, []string{"a"}, []string{"gpu/a"}, []string{"flow/a"}, codes.OK},
	} {
		t.Run(name, func(t *testing.T) {
			api := newAPI(test.grants...)
			v, err := New(api.client, Options{}).Open(t.Context(), alice, test.kinds, test.namespaces)
			if status.Code(err) != test.code {
				t.Fatalf("error %v, want %v", err, test.code)
			}
			for i, names := range [][]string{test.hidden, test.visible} {
				for _, name := range names {
					kind, ns, _ := strings.Cut(name, "/")
					if v.MaySee(kind, ns) != (i == 1) {
						t.Errorf("MaySee(%s, %s) is %v", kind, ns, i == 0)
					}
				}
			}
		})
	}
}

func TestOpen_ForbiddenAndMissingAnswerAlike(t *testing.T) {
	var errs []string
	var reviews []int
	// To the API server, a namespace that does not exist is one without RoleBindings.
	for _, ns := range []string{"forbidden", "missing12"} {
		api := newAPI("flows", "mine")
		_, err := New(api.client, Options{}).Open(t.Context(), alice, []string{"flow"}, []string{ns})
		errs = append(errs, strings.ReplaceAll(fmt.Sprint(err), ns, "NS"))
		reviews = append(reviews, len(api.asked))
	}
	if errs[0] != errs[1] || reviews[0] != reviews[1] || !strings.Contains(errs[0], `user "alice" may not get `+
		`flows.orb8.dev in namespace "NS": kubectl orb8 rbac --viewer`) {
		t.Errorf("%q after %d reviews, %q after %d", errs[0], reviews[0], errs[1], reviews[1])
	}
}

func TestOpen_FailsClosed(t *testing.T) {
	api := newAPI("flows", "*")
	api.set(func() { api.fail = errors.New("down") })
	_, err := New(api.client, Options{}).Open(t.Context(), alice, []string{"flow"}, []string{"a"})
	if status.Code(err) != codes.Unavailable {
		t.Errorf("error %v", err)
	}
}

func TestOpen_Caches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := newAPI("flows", "a")
		a := New(api.client, Options{})
		open := func() {
			if _, err := a.Open(t.Context(), alice, []string{"flow"}, []string{"a", "b"}); err != nil {
				t.Error(err)
			}
		}
		open()
		first := api.reviews()
		open()
		if n := api.reviews(); first != 3 || n != first {
			t.Errorf("%d reviews, then %d", first, n)
		}
		time.Sleep(deniedLife + time.Second)
		open() // for the cluster and for b, which were denied
		if n := api.reviews(); n != first+2 {
			t.Errorf("%d reviews after 6 s", n-first)
		}
		time.Sleep(allowedLife)
		open()
		if n := api.reviews(); n != first+5 {
			t.Errorf("%d reviews after 36 s", n-first)
		}
		other := &orbit.User{Name: "alice", Groups: []string{"ops"}}
		if _, err := a.Open(t.Context(), other, []string{"flow"}, []string{"a"}); err != nil {
			t.Error(err)
		}
		if n := api.reviews(); n != first+7 {
			t.Error("another user shares the verdicts")
		}
	})
}

func TestWatch_EndsWithinAMinuteOfRevocation(t *testing.T) {
	for name, grants := range map[string][]string{"a namespace": {"flows", "a"}, "the cluster": {"flows", "*"}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api := newAPI(grants...)
				v := open(t, api, []string{"flow"}, []string{"a", "b"})
				done := make(chan error, 1)
				go func() { done <- v.Watch(t.Context()) }()
				time.Sleep(10 * time.Minute)
				if !v.MaySee("flow", "a") {
					t.Error("not visible")
				}
				revoked := time.Now()
				api.set(func() { clear(api.grants) })
				err := <-done
				if took := time.Since(revoked); took > time.Minute || status.Code(err) != codes.PermissionDenied {
					t.Errorf("ended after %v with %v", took, err)
				}
				if v.MaySee("flow", "a") || v.All("flow") {
					t.Error("still visible")
				}
			})
		})
	}
}

func TestWatch_NoticesGrants(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := newAPI("flows", "a")
		v := open(t, api, []string{"flow"}, []string{"a", "b"})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- v.Watch(ctx) }()
		api.set(func() { api.grants["flows/b"] = true })
		time.Sleep(time.Minute)
		if !v.MaySee("flow", "b") {
			t.Error("a new grant is not noticed in a minute")
		}
		// The right to all goes away, one of a namespace stays.
		api.set(func() { api.grants["flows/*"] = true })
		time.Sleep(time.Minute)
		all := v.All("flow")
		api.set(func() { delete(api.grants, "flows/*"); delete(api.grants, "flows/b") })
		time.Sleep(time.Minute)
		if !all || v.All("flow") || !v.MaySee("flow", "a") || v.MaySee("flow", "b") {
			t.Error("a change of the right to all is not noticed")
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestWatch_WithoutTheAPIServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := newAPI("flows", "a")
		v := open(t, api, []string{"flow"}, []string{"a"})
		done := make(chan error, 1)
		go func() { done <- v.Watch(t.Context()) }()
		api.set(func() { api.fail = errors.New("down") })
		time.Sleep(4 * time.Minute) // an outage that ends in time
		if !v.MaySee("flow", "a") || v.MaySee("flow", "new") {
			t.Error("the last verdict does not hold, or a namespace without one is visible")
		}
		api.set(func() { api.fail = nil })
		time.Sleep(time.Minute)
		began := time.Now()
		api.set(func() { api.fail = errors.New("down") })
		err := <-done
		if took := time.Since(began); took < 4*time.Minute || took > 6*time.Minute ||
			status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "could not be reviewed for 5m") {
			t.Errorf("ended after %v with %v", took, err)
		}
	})
}

func TestMaySee_BoundsReviews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := newAPI("flows", "a")
		v := open(t, api, []string{"flow"}, []string{"a"})
		before := api.reviews()
		for range 1000 {
			v.MaySee("flow", "b")
			time.Sleep(10 * time.Millisecond)
		}
		if n := api.reviews() - before; n != 1 {
			t.Errorf("%d reviews of one namespace in 10 s", n)
		}
		for i := range 2 * maxNamespaces {
			v.MaySee("flow", fmt.Sprint("n", i))
		}
		if n := api.reviews() - before; n > maxNamespaces || len(v.namespaces) > maxNamespaces {
			t.Errorf("%d reviews, %d namespaces", n, len(v.namespaces))
		}
	})
}
