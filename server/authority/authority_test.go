package authority

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/orb8-dev/kubectl-orb8/event/orbit"
	"github.com/orb8-dev/kubectl-orb8/event/orbit/orbittest"
)

const namespace = "orb8-system"

func open(t testing.TB, client *fake.Clientset, o Options) *Authority {
	t.Helper()
	o.Namespace = namespace
	a, err := Open(t.Context(), client, o)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// published returns the bundle of the ConfigMap.
func published(t testing.TB, client *fake.Clientset) *orbit.Bundle {
	t.Helper()
	config, err := client.CoreV1().ConfigMaps(namespace).Get(t.Context(), orbit.AuthorityName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := orbit.ParseBundle([]byte(config.Data[orbit.AuthorityKey]))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func secret(t testing.TB, client *fake.Clientset) *corev1.Secret {
	t.Helper()
	s, err := client.CoreV1().Secrets(namespace).Get(t.Context(), orbit.AuthorityName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func annotate(t testing.TB, client *fake.Clientset) {
	t.Helper()
	s := secret(t, client)
	s.Annotations = map[string]string{AnnotationRotate: "now"}
	if _, err := client.CoreV1().Secrets(namespace).Update(t.Context(), s, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

var agent1 = orbit.Peer{Role: orbit.RoleAgent, Node: "n1"}

// issue returns a new certificate of an agent.
func issue(t testing.TB, a *Authority, key crypto.Signer) []*x509.Certificate {
	t.Helper()
	chain, err := a.Sign(agent1, key.Public(), orbit.AgentLife)
	if err != nil {
		t.Fatal(err)
	}
	return chain
}

func TestSign_LimitsTheLife(t *testing.T) {
	a, err := Open(t.Context(), fake.NewClientset(), Options{Namespace: "orb8-system", LeafLife: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, asked := range []time.Duration{30 * time.Second, time.Hour} {
		chain, err := a.Sign(agent1, key.Public(), asked)
		if err != nil {
			t.Fatal(err)
		}
		if life := chain[0].NotAfter.Sub(chain[0].NotBefore) - orbit.Backdate; life != min(asked, time.Minute) {
			t.Errorf("of %v: %v", asked, life)
		}
	}
}

func TestOpen_ReplicasShareOneAuthority(t *testing.T) {
	client := fake.NewClientset()
	one, two := open(t, client, Options{}), open(t, client, Options{})
	b := published(t, client)
	if n := len(b.Certificates()); n != 1 {
		t.Errorf("%d authorities are published", n)
	}
	key := orbittest.NewKey(t)
	for _, a := range []*Authority{one, two} {
		p, err := b.Verify(issue(t, a, key), x509.ExtKeyUsageServerAuth)
		if err != nil || p.Node != "n1" {
			t.Errorf("%+v, %v", p, err)
		}
		for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
			if p, err := b.Verify([]*x509.Certificate{a.leaf.Leaf}, usage); err != nil || p.Role != orbit.RoleServer {
				t.Errorf("server: %+v, %v", p, err)
			}
		}
		if got := strings.Join(a.leaf.Leaf.DNSNames, " "); got !=
			"orb8-server orb8-server.orb8-system orb8-server.orb8-system.svc" {
			t.Errorf("names %s", got)
		}
		own, authority := a.Expiry()
		if until := time.Until(own); until < 23*time.Hour || until > 24*time.Hour {
			t.Errorf("the certificate expires in %v", until)
		}
		if until := time.Until(authority); until < 364*24*time.Hour {
			t.Errorf("the authority expires in %v", until)
		}
	}
	if s := secret(t, client); s.Labels["app.kubernetes.io/managed-by"] != "orb8" {
		t.Errorf("labels %v", s.Labels)
	}
}

func TestOpen_AnotherReplicaIsFirst(t *testing.T) {
	for _, resource := range []string{"secrets", "configmaps"} {
		other, client := fake.NewClientset(), fake.NewClientset()
		open(t, other, Options{})
		theirs := runtime.Object(secret(t, other))
		if resource == "configmaps" {
			theirs = &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: orbit.AuthorityName, Namespace: namespace}}
		}
		done := false
		client.PrependReactor("create", resource, func(clienttesting.Action) (bool, runtime.Object, error) {
			if done {
				return false, nil, nil
			}
			done = true
			err := client.Tracker().Add(theirs)
			return true, nil, cmp.Or(err, error(apierrors.NewAlreadyExists(schema.GroupResource{Resource: resource},
				orbit.AuthorityName)))
		})
		a := open(t, client, Options{})
		all, err := parseIssuers(secret(t, client).Data[stateKey])
		if err != nil || !done || !all[0].cert.Equal(a.issuers[0].cert) {
			t.Errorf("%s: this replica has another authority, %v", resource, err)
		}
		verify(t, []*x509.Certificate{a.leaf.Leaf}, published(t, client))
	}
}

// TestRotation runs two replicas for 14 days with authorities of 3 days, and forces rotations. Every certificate that
// has not expired is accepted by the bundle at any time, also by one that was read two minutes ago.
func TestRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset()
		o := Options{Life: 3 * 24 * time.Hour, Overlap: 15 * time.Minute}
		replicas := []*Authority{open(t, client, o), open(t, client, o)}
		key := orbittest.NewKey(t)
		var leaves []*x509.Certificate
		authorities := map[string]bool{}
		const step = 30 * time.Minute
		end := time.Now().AddDate(0, 0, 14)
		forced := 0
		for i := 0; time.Now().Before(end); i++ {
			time.Sleep(step - 2*time.Minute)
			stale := published(t, client)
			time.Sleep(2 * time.Minute)
			if i%300 == 150 {
				annotate(t, client)
				forced++
			}
			for _, a := range replicas {
				if err := a.refresh(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if i%4 == 0 {
				leaves = append(leaves, issue(t, replicas[i/4%2], key)...)
			}
			leaves = unexpired(leaves)
			current := published(t, client)
			for _, a := range replicas {
				verify(t, append(leaves, a.leaf.Leaf), stale, current, a.bundle)
			}
			for _, c := range current.Certificates() {
				authorities[c.Subject.CommonName] = true
			}
			if n := len(current.Certificates()); n > 3 {
				t.Fatalf("%d authorities at once", n)
			}
		}
		// One each 2 days, or since one was forced.
		if n := len(authorities); n < 7 || n > 8+forced {
			t.Errorf("%d authorities, %d forced", n, forced)
		}
		if secret(t, client).Annotations[AnnotationRotate] != "" {
			t.Error("the annotation stays")
		}
	})
}

func unexpired(all []*x509.Certificate) (left []*x509.Certificate) {
	for _, c := range all {
		if time.Now().Before(c.NotAfter) {
			left = append(left, c)
		}
	}
	return left
}

func verify(t *testing.T, leaves []*x509.Certificate, bundles ...*orbit.Bundle) {
	t.Helper()
	for i, b := range bundles {
		if i > 0 && bytes.Equal(b.PEM(), bundles[0].PEM()) {
			continue
		}
		for _, c := range leaves {
			if _, err := b.Verify([]*x509.Certificate{c}, x509.ExtKeyUsageServerAuth); err != nil {
				t.Fatalf("%v: bundle %d, certificate of %v: %v", time.Now(), i, c.NotBefore, err)
			}
		}
	}
}

func TestRotation_WaitsUntilEveryoneHasReadIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset()
		a := open(t, client, Options{Overlap: 15 * time.Minute, Interval: time.Minute})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- a.Run(ctx) }()
		defer cancel()
		old := a.leaf.Leaf.Issuer.CommonName
		time.Sleep(90 * time.Second) // between two readings
		annotate(t, client)
		key := orbittest.NewKey(t)
		time.Sleep(time.Minute + time.Second)
		for range 14 {
			time.Sleep(time.Minute)
			if n := len(published(t, client).Certificates()); n != 2 {
				t.Fatalf("%d authorities are published", n)
			}
			if by := issue(t, a, key)[0].Issuer.CommonName; by != old {
				t.Fatalf("the new authority signs at once: %s", by)
			}
		}
		time.Sleep(3 * time.Minute)
		if by := issue(t, a, key)[0].Issuer.CommonName; by == old {
			t.Error("the old authority still signs")
		}
		time.Sleep(24*time.Hour + orbit.Backdate)
		if n := len(published(t, client).Certificates()); n != 1 {
			t.Errorf("%d authorities are published a day later", n)
		}
		if by := a.leaf.Leaf.Issuer.CommonName; by == old {
			t.Error("the server's own certificate is of the old one")
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestRefresh_DeletedSecretMakesANewAuthority(t *testing.T) {
	client := fake.NewClientset()
	a := open(t, client, Options{})
	old := a.leaf.Leaf
	err := client.CoreV1().Secrets(namespace).Delete(t.Context(), orbit.AuthorityName, metav1.DeleteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := published(t, client).Verify([]*x509.Certificate{old}, x509.ExtKeyUsageServerAuth); err == nil {
		t.Error("the old certificate is still accepted")
	}
	verify(t, []*x509.Certificate{a.leaf.Leaf}, published(t, client))
}

func TestRefresh_WithoutTheAPIServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset()
		a := open(t, client, Options{})
		first := a.leaf.Leaf
		client.PrependReactor("*", "*", func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, nil, errors.New("down")
		})
		time.Sleep(20 * time.Hour)
		err := a.refresh(t.Context())
		if err == nil || !strings.Contains(err.Error(), "get Secret orb8-system/orb8-authority: down") {
			t.Errorf("error %v", err)
		}
		if a.leaf.Leaf.Equal(first) {
			t.Error("the server's own certificate is not renewed")
		}
	})
}

func TestRefresh_ChangedBundleIsFixed(t *testing.T) {
	client := fake.NewClientset()
	a := open(t, client, Options{})
	configs := client.CoreV1().ConfigMaps(namespace)
	empty := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: orbit.AuthorityName, Namespace: namespace}}
	if _, err := configs.Update(t.Context(), empty, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := a.refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	verify(t, []*x509.Certificate{a.leaf.Leaf}, published(t, client))
}

// TestRotation_OfAnotherProgram replaces the authority in a Secret of cert-manager, which makes keys of RSA.
func TestRotation_OfAnotherProgram(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		made := func() map[string][]byte {
			key, err := rsa.GenerateKey(rand.Reader, 2048)
			if err != nil {
				t.Fatal(err)
			}
			ca := orbittest.New(t)
			template := *ca.Cert
			template.PublicKey = nil
			cert := ca.Sign(t, &template, key.Public()) // one of a root
			return map[string][]byte{corev1.TLSCertKey: orbit.NewBundle(cert, ca.Cert).PEM(),
				corev1.TLSPrivateKeyKey: pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY",
					Bytes: x509.MarshalPKCS1PrivateKey(key)})}
		}
		theirs := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "ca", Namespace: namespace}, Data: made()}
		client := fake.NewClientset(theirs)
		a := open(t, client, Options{Secret: "ca"})
		first := a.leaf.Leaf
		verify(t, []*x509.Certificate{first}, published(t, client))
		theirs.Data = made()
		_, err := client.CoreV1().Secrets(namespace).Update(t.Context(), theirs, metav1.UpdateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		annotate(t, client) // means nothing here
		for range 3 {
			if err := a.refresh(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		key := orbittest.NewKey(t)
		before := issue(t, a, key)[0]
		time.Sleep(defaultOverlap + time.Second)
		after := issue(t, a, key)[0]
		if n := len(published(t, client).Certificates()); n != 2 ||
			before.CheckSignatureFrom(a.issuers[0].cert) != nil ||
			after.CheckSignatureFrom(a.issuers[1].cert) != nil {
			t.Errorf("%d authorities, or the wrong one signs", n)
		}
		verify(t, []*x509.Certificate{first, before, after}, published(t, client))
		writes := 0
		for _, a := range client.Actions() {
			if write, ok := a.(clienttesting.UpdateAction); ok && write.GetObject().(metav1.Object).GetName() == "ca" {
				writes++
			}
		}
		if writes != 1 {
			t.Errorf("%d writes of the Secret, want the test's own", writes)
		}
	})
}

func TestCheckUsages(t *testing.T) {
	both := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	for _, test := range []struct {
		usage    x509.KeyUsage
		extended []x509.ExtKeyUsage
		want     string
	}{
		{0, nil, ""}, {x509.KeyUsageCertSign, nil, ""}, {x509.KeyUsageCertSign, both, ""},
		{0, []x509.ExtKeyUsage{x509.ExtKeyUsageAny}, ""},
		{x509.KeyUsageDigitalSignature, nil, `lack "cert sign"`}, {0, both[:1], `for "client auth"`},
		{0, both[1:], `for "server auth"`},
	} {
		err := checkUsages(&x509.Certificate{KeyUsage: test.usage, ExtKeyUsage: test.extended})
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v %v: %v", test.usage, test.extended, err)
		}
	}
}

func TestOpen_NamesABadSecret(t *testing.T) {
	client := fake.NewClientset(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "ca", Namespace: namespace}})
	for name, want := range map[string]string{"ca": "read Secret orb8-system/ca: ", "b": "get Secret orb8-system/b: "} {
		_, err := Open(t.Context(), client, Options{Namespace: namespace, Secret: name})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestNext_BoundsRotations(t *testing.T) {
	o := &Options{Life: time.Hour * 1000, Overlap: time.Minute}
	all, _, err := issuers(nil).next(time.Now(), o, false, nil)
	for err == nil {
		var changed bool
		all, changed, err = all.next(time.Now(), o, true, nil)
		if len(all) > maxIssuers || err == nil && !changed {
			t.Fatalf("%d authorities, changed %v", len(all), changed)
		}
	}
	if !strings.Contains(err.Error(), "there are 8 already") {
		t.Error(err)
	}
	text, err := all.encode()
	if err != nil {
		t.Fatal(err)
	}
	if back, err := parseIssuers(text); err != nil || len(back) != len(all) || !back[7].signs.Equal(all[7].signs) {
		t.Errorf("read back %d, %v", len(back), err)
	}
}

func TestParseIssuers_RefusesBadState(t *testing.T) {
	o := &Options{Life: time.Hour * 1000, Overlap: time.Minute}
	one, _, err := issuers(nil).next(time.Now(), o, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	two, _, err := one.next(time.Now(), o, true, nil)
	if err != nil {
		t.Fatal(err)
	}
	change := func(of issuers, f func(*stored)) []byte {
		text, err := of.encode()
		if err != nil {
			t.Fatal(err)
		}
		var s stored
		if err := json.Unmarshal(text, &s); err != nil {
			t.Fatal(err)
		}
		f(&s)
		if text, err = json.Marshal(s); err != nil {
			t.Fatal(err)
		}
		return text
	}
	for name, test := range map[string]struct {
		text []byte
		want string
	}{
		"nothing":   {nil, "unexpected end"},
		"none":      {[]byte(`{}`), "0 authorities"},
		"too long":  {[]byte(strings.Repeat(" ", maxStateBytes+1)), "at most"},
		"no key":    {change(one, func(s *stored) { s.Authorities[0].Key = "" }), "key: "},
		"other key": {change(two, func(s *stored) { s.Authorities[0].Key = s.Authorities[1].Key }), "does not match"},
		"order": {change(two, func(s *stored) {
			s.Authorities[0], s.Authorities[1] = s.Authorities[1], s.Authorities[0]
		}), "signsFrom is before"},
		"no certificate": {change(one, func(s *stored) { s.Authorities[0].Certificate = "x" }), "not PEM of cert"},
	} {
		if _, err := parseIssuers(test.text); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
	client := fake.NewClientset(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: orbit.AuthorityName,
		Namespace: namespace}})
	_, err = Open(t.Context(), client, Options{Namespace: namespace})
	if err == nil || !strings.Contains(err.Error(), "Secret orb8-system/orb8-authority: authorities.json") {
		t.Errorf("error %v", err)
	}
}
