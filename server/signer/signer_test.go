package signer

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/orb8-dev/kubectl-orb8/event/orbit"
	"github.com/orb8-dev/kubectl-orb8/event/orbit/orbittest"
	"github.com/orb8-dev/kubectl-orb8/server/authority"
	"github.com/orb8-dev/kubectl-orb8/server/metrics"
)

// request is a request of alice as the API server stores it.
func request(t *testing.T, name string) *certificatesv1.CertificateSigningRequest {
	t.Helper()
	der := orbittest.Request(t, &x509.CertificateRequest{}, orbittest.NewKey(t))
	return &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.Now()},
		Spec: certificatesv1.CertificateSigningRequestSpec{
			Request:    pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}),
			SignerName: orbit.ViewerSigner, Usages: []certificatesv1.KeyUsage{certificatesv1.UsageClientAuth},
			Username: "alice", UID: "42", Groups: []string{"system:authenticated", "dev"},
			Extra: map[string]certificatesv1.ExtraValue{"scopes.example.com": {"a"}},
		},
	}
}

// start runs a signer in the bubble of a test.
func start(t *testing.T, client *fake.Clientset) *authority.Authority {
	t.Helper()
	a, err := authority.Open(t.Context(), client, authority.Options{Namespace: "orb8-system"})
	if err != nil {
		t.Fatal(err)
	}
	run(t, client, a)
	return a
}

func run(t *testing.T, client *fake.Clientset, a *authority.Authority) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- Run(ctx, client, a, slog.New(slog.DiscardHandler), func(metrics.Result) {}) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	synctest.Wait()
}

func create(t *testing.T, client *fake.Clientset, r *certificatesv1.CertificateSigningRequest) {
	t.Helper()
	_, err := client.CertificatesV1().CertificateSigningRequests().Create(t.Context(), r, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
}

func get(t *testing.T, client *fake.Clientset, name string) *certificatesv1.CertificateSigningRequest {
	t.Helper()
	r, err := client.CertificatesV1().CertificateSigningRequests().Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// verifySigned checks that a request has alice's certificate.
func verifySigned(t *testing.T, client *fake.Clientset, name string) *x509.Certificate {
	t.Helper()
	r := get(t, client, name)
	block, _ := pem.Decode(r.Status.Certificate)
	if block == nil || !has(r, certificatesv1.CertificateApproved) {
		t.Fatalf("%s is not signed: %+v", name, r.Status)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	p, err := orbit.PeerOf(cert)
	want := &orbit.User{Name: "alice", UID: "42", Groups: []string{"system:authenticated", "dev"},
		Extra: map[string][]string{"scopes.example.com": {"a"}}}
	if err != nil || p.Role != orbit.RoleViewer || !reflect.DeepEqual(p.User, want) {
		t.Errorf("%+v, %v", p, err)
	}
	return cert
}

func TestRun_SignsRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset()
		create(t, client, request(t, "before"))
		old := request(t, "old")
		old.CreationTimestamp = metav1.NewTime(time.Now().Add(-time.Hour))
		create(t, client, old)
		start(t, client)
		verifySigned(t, client, "before")

		short := request(t, "short")
		short.Spec.ExpirationSeconds = new(int32(600))
		short.Spec.Usages = append(short.Spec.Usages, certificatesv1.UsageDigitalSignature)
		create(t, client, short)
		cert := verifySigned(t, client, "short")
		if life := time.Until(cert.NotAfter); life > 10*time.Minute || life < 9*time.Minute {
			t.Errorf("life %v, want 10 min", life)
		}
		other := request(t, "other")
		other.Spec.SignerName = "kubernetes.io/kube-apiserver-client"
		create(t, client, other)
		for _, name := range []string{"other", "old"} {
			if r := get(t, client, name); len(r.Status.Conditions) > 0 || len(r.Status.Certificate) > 0 {
				t.Errorf("%s is touched: %+v", name, r.Status)
			}
		}
	})
}

func TestRun_DeniesMalformedRequests(t *testing.T) {
	encoded := func(template *x509.CertificateRequest) []byte {
		der := orbittest.Request(t, template, orbittest.NewKey(t))
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
	}
	for name, test := range map[string]struct {
		change func(*certificatesv1.CertificateSigningRequestSpec)
		want   string
	}{
		"server usage": {func(s *certificatesv1.CertificateSigningRequestSpec) {
			s.Usages = append(s.Usages, certificatesv1.UsageServerAuth)
		}, `spec.usages: "server auth"`},
		"no client usage": {func(s *certificatesv1.CertificateSigningRequestSpec) {
			s.Usages = []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature}
		}, `want "client auth"`},
		"too long a life": {func(s *certificatesv1.CertificateSigningRequestSpec) {
			s.ExpirationSeconds = new(int32(3601))
		}, "spec.expirationSeconds 3601: want at most 3600"},
		"a name": {func(s *certificatesv1.CertificateSigningRequestSpec) {
			s.Request = encoded(&x509.CertificateRequest{DNSNames: []string{"orb8-server"}})
		}, "want no subject alternative names"},
		"a role": {func(s *certificatesv1.CertificateSigningRequestSpec) {
			s.Request = encoded(&x509.CertificateRequest{URIs: []*url.URL{orbit.Peer{Role: orbit.RoleServer}.URI()}})
		}, "want no subject alternative names"},
		"two requests": {func(s *certificatesv1.CertificateSigningRequestSpec) {
			s.Request = append(s.Request, s.Request...)
		}, "PEM of one certificate request"},
		"no PEM": {func(s *certificatesv1.CertificateSigningRequestSpec) {
			s.Request = []byte("x")
		}, "PEM of one certificate request"},
		"a huge request": {func(s *certificatesv1.CertificateSigningRequestSpec) {
			s.Request = make([]byte, 1<<20)
		}, "at most 8192"},
		"nobody": {func(s *certificatesv1.CertificateSigningRequestSpec) {
			s.Username = "system:anonymous"
		}, "want an authenticated user"},
		"too many groups": {func(s *certificatesv1.CertificateSigningRequestSpec) {
			s.Groups = make([]string, 2000)
		}, "2000 groups, at most 1024 fit"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := fake.NewClientset()
				start(t, client)
				r := request(t, "r")
				test.change(&r.Spec)
				create(t, client, r)
				got := get(t, client, "r")
				if !has(got, certificatesv1.CertificateDenied) || len(got.Status.Conditions) != 1 ||
					!strings.Contains(got.Status.Conditions[0].Message, test.want) || len(got.Status.Certificate) > 0 {
					t.Errorf("%+v, want %q", got.Status, test.want)
				}
				// One that somebody has approved fails.
				approved := request(t, "approved")
				test.change(&approved.Spec)
				addCondition(approved, certificatesv1.CertificateApproved, "by an administrator")
				create(t, client, approved)
				got = get(t, client, "approved")
				if !has(got, certificatesv1.CertificateFailed) || len(got.Status.Certificate) > 0 {
					t.Errorf("approved: %+v", got.Status)
				}
			})
		})
	}
}

func TestRun_TwoReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset()
		conflict := apierrors.NewConflict(schema.GroupResource{Resource: "certificatesigningrequests"}, "x",
			errors.New("changed"))
		updates := map[string]int{} // by resource version and name, as the API server would count them
		client.PrependReactor("update", "certificatesigningrequests",
			func(a clienttesting.Action) (bool, runtime.Object, error) {
				r := a.(clienttesting.UpdateAction).GetObject().(*certificatesv1.CertificateSigningRequest)
				key := r.Name + "/" + a.GetSubresource()
				if updates[key]++; updates[key] > 1 {
					return true, nil, conflict
				}
				return false, nil, nil
			})
		a := start(t, client)
		run(t, client, a)
		for i := range 5 {
			name := fmt.Sprint("r", i)
			create(t, client, request(t, name))
			verifySigned(t, client, name)
		}
	})
}

func TestRun_SignsWhatAnEndedReplicaApproved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset()
		r := request(t, "r")
		addCondition(r, certificatesv1.CertificateApproved, "by the other replica")
		create(t, client, r)
		start(t, client)
		verifySigned(t, client, "r")
		if n := len(get(t, client, "r").Status.Conditions); n != 1 {
			t.Errorf("%d conditions", n)
		}
	})
}

func TestRun_BoundsOneUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset()
		start(t, client)
		for i := range 500 {
			r := request(t, fmt.Sprint("flood", i))
			r.Spec.Username = "mallory"
			create(t, client, r)
		}
		signed := func() (n int) {
			list, err := client.CertificatesV1().CertificateSigningRequests().List(t.Context(), metav1.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			for i := range list.Items {
				if len(list.Items[i].Status.Certificate) > 0 {
					n++
				}
			}
			return n
		}
		if n := signed(); n != userBurst {
			t.Errorf("%d certificates for one user at once", n)
		}
		create(t, client, request(t, "r"))
		verifySigned(t, client, "r")
		time.Sleep(time.Minute)
		if n := signed() - 1; n < userBurst+50 || n > userBurst+60*userRate {
			t.Errorf("%d certificates for one user after a minute", n)
		}
	})
}

func TestRun_SurvivesTheAPIServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset()
		var down atomic.Bool
		client.PrependReactor("*", "certificatesigningrequests",
			func(clienttesting.Action) (bool, runtime.Object, error) {
				if down.Load() {
					return true, nil, errors.New("down")
				}
				return false, nil, nil
			})
		start(t, client)
		r := request(t, "r")
		if err := client.Tracker().Add(r); err != nil {
			t.Fatal(err)
		}
		down.Store(true)
		later := request(t, "later")
		if err := client.Tracker().Add(later); err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Second)
		down.Store(false)
		time.Sleep(time.Minute)
		verifySigned(t, client, "r")
		verifySigned(t, client, "later")
	})
}
