package orbit_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"net"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event/orbit"
	"github.com/orb8-dev/kubectl-orb8/event/orbit/orbittest"
)

var alice = &orbit.User{
	Name: "alice@example.com", UID: "42", Groups: []string{"system:authenticated", "équipe"},
	Extra: map[string][]string{"scopes.example.com": {"a", "b"}, "authentication.kubernetes.io/credential-id": {"x"}},
}

func template(t testing.TB, p orbit.Peer) *x509.Certificate {
	t.Helper()
	c, err := p.Template(time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestPeerOf_ReadsWhatTemplateWrites(t *testing.T) {
	ca := orbittest.New(t)
	for _, want := range []orbit.Peer{
		{Role: orbit.RoleServer},
		{Role: orbit.RoleAgent, Node: "ip-10-0-0-1.eu.internal"},
		{Role: orbit.RoleViewer, User: alice},
		{Role: orbit.RoleViewer, User: &orbit.User{Name: "x"}},
	} {
		got, err := orbit.PeerOf(ca.Issue(t, want, time.Hour).Leaf)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", want.URI(), got, err)
		}
	}
}

func TestPeerOf_RefusesOtherCertificates(t *testing.T) {
	ca := orbittest.New(t)
	extension, err := alice.Extension()
	if err != nil {
		t.Fatal(err)
	}
	uri := func(s string) *url.URL {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	server, agent := orbit.Peer{Role: orbit.RoleServer}, orbit.Peer{Role: orbit.RoleAgent, Node: "n1"}
	viewer := orbit.Peer{Role: orbit.RoleViewer, User: alice}
	for name, test := range map[string]struct {
		of     orbit.Peer
		change func(*x509.Certificate)
	}{
		"no URI": {server, func(c *x509.Certificate) {
			c.URIs, c.DNSNames = nil, []string{"orb8-server"}
		}},
		"two URIs":               {agent, func(c *x509.Certificate) { c.URIs = append(c.URIs, server.URI()) }},
		"another scheme":         {server, func(c *x509.Certificate) { c.URIs[0] = uri("spiffe://server") }},
		"another role":           {server, func(c *x509.Certificate) { c.URIs[0] = uri("orb8://admin") }},
		"a server with a path":   {server, func(c *x509.Certificate) { c.URIs[0] = uri("orb8://server/x") }},
		"a server with a user":   {server, func(c *x509.Certificate) { c.URIs[0] = uri("orb8://x@server") }},
		"a server with a query":  {server, func(c *x509.Certificate) { c.URIs[0] = uri("orb8://server?x") }},
		"an agent with no node":  {agent, func(c *x509.Certificate) { c.URIs[0] = uri("orb8://agent/") }},
		"an agent without slash": {agent, func(c *x509.Certificate) { c.URIs[0] = uri("orb8://agent") }},
		"a node with a slash":    {agent, func(c *x509.Certificate) { c.URIs[0] = uri("orb8://agent/a/b") }},
		"a node in capitals":     {agent, func(c *x509.Certificate) { c.URIs[0] = uri("orb8://agent/N1") }},
		"a node that is escaped": {agent, func(c *x509.Certificate) { c.URIs[0] = uri("orb8://agent/n%31%00") }},
		"an agent with a name":   {agent, func(c *x509.Certificate) { c.DNSNames = []string{"orb8-server"} }},
		"an agent with an IP":    {agent, func(c *x509.Certificate) { c.IPAddresses = []net.IP{{10, 0, 0, 1}} }},
		"a viewer with a name":   {viewer, func(c *x509.Certificate) { c.EmailAddresses = []string{"a@b"} }},
		"a viewer of nobody":     {viewer, func(c *x509.Certificate) { c.ExtraExtensions = nil }},
		"an agent with a user": {agent, func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{extension}
		}},
		"an authority": {server, func(c *x509.Certificate) { c.IsCA = true }},
		"no user": {viewer, func(c *x509.Certificate) {
			c.ExtraExtensions[0].Value = []byte{0x30, 0}
		}},
	} {
		cert := template(t, test.of)
		test.change(cert)
		if p, err := orbit.PeerOf(ca.Sign(t, cert, orbittest.NewKey(t).Public())); err == nil {
			t.Errorf("%s: accepted as %+v", name, p)
		}
	}
	cert := ca.Issue(t, viewer, time.Hour).Leaf
	for _, e := range cert.Extensions {
		if e.Id.Equal(extension.Id) {
			cert.Extensions = append(cert.Extensions, e)
			break
		}
	}
	if _, err := orbit.PeerOf(cert); err == nil {
		t.Error("accepted with two users")
	}
}

func TestUser_Bounds(t *testing.T) {
	many := func(n int) (all []string) {
		for i := range n {
			all = append(all, fmt.Sprint(i))
		}
		return all
	}
	keys := map[string][]string{}
	for _, k := range many(65) {
		keys[k] = nil
	}
	for name, test := range map[string]struct {
		user orbit.User
		want string
	}{
		"no name":       {orbit.User{}, "without a name"},
		"as many":       {orbit.User{Name: "x", Groups: many(1024), Extra: map[string][]string{"k": many(256)}}, ""},
		"groups":        {orbit.User{Name: "x", Groups: many(1025)}, "1025 groups, at most 1024"},
		"extra values":  {orbit.User{Name: "x", Extra: map[string][]string{"k": many(257)}}, "257 values"},
		"extra keys":    {orbit.User{Name: "x", Extra: keys}, "65 keys"},
		"bytes":         {orbit.User{Name: strings.Repeat("x", 32<<10)}, "at most 32768 fit"},
		"invalid UTF-8": {orbit.User{Name: "x\xff"}, "UTF-8"},
	} {
		_, err := (&test.user).Extension()
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}

func TestParseRequest(t *testing.T) {
	ecdsaKey := orbittest.NewKey(t)
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	check(t, err)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	check(t, err)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	check(t, err)
	empty, named := &x509.CertificateRequest{}, &x509.CertificateRequest{DNSNames: []string{"x"}}
	subject := &x509.CertificateRequest{Subject: pkix.Name{CommonName: "x"}}
	good := orbittest.Request(t, empty, ecdsaKey)
	forged := append([]byte(nil), good...)
	forged[len(forged)-1] ^= 1
	long := &x509.CertificateRequest{Subject: pkix.Name{CommonName: strings.Repeat("x", orbit.MaxRequestBytes)}}
	for name, test := range map[string]struct {
		der  []byte
		want string
	}{
		"ECDSA P-256":   {good, ""},
		"Ed25519":       {orbittest.Request(t, empty, edKey), ""},
		"a subject":     {orbittest.Request(t, subject, edKey), ""},
		"ECDSA P-384":   {orbittest.Request(t, empty, p384), "want a key"},
		"RSA":           {orbittest.Request(t, empty, rsaKey), "want a key"},
		"forged":        {forged, "certificate request"},
		"nothing":       {nil, "certificate request"},
		"trailing data": {append(good[:len(good):len(good)], 0), "trailing"},
		"too long":      {orbittest.Request(t, long, ecdsaKey), "at most 4096"},
		"a DNS name":    {orbittest.Request(t, named, edKey), "want no subject"},
		"a URI": {orbittest.Request(t, &x509.CertificateRequest{
			URIs: []*url.URL{orbit.Peer{Role: orbit.RoleServer}.URI()},
		}, edKey), "want no subject"},
	} {
		_, err := orbit.ParseRequest(test.der)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// FuzzPeerOf reads extensions of any bytes: what is accepted is what Extension writes of it.
func FuzzPeerOf(f *testing.F) {
	extension, err := alice.Extension()
	check(f, err)
	f.Add(extension.Value)
	bare, err := (&orbit.User{Name: "x"}).Extension()
	check(f, err)
	f.Add(bare.Value)
	unordered, err := asn1.Marshal(struct {
		Version   int
		Name, UID string
		Groups    []string
		Extra     []struct {
			Key    string
			Values []string
		}
	}{1, "x", "", nil, []struct {
		Key    string
		Values []string
	}{{"b", nil}, {"a", nil}}})
	check(f, err)
	f.Add(unordered)
	ca := orbittest.New(f)
	cert := ca.Issue(f, orbit.Peer{Role: orbit.RoleViewer, User: alice}, time.Hour).Leaf
	index := -1
	for i := range cert.Extensions {
		if cert.Extensions[i].Id.Equal(extension.Id) {
			index = i
		}
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		c := *cert
		c.Extensions = append([]pkix.Extension(nil), cert.Extensions...)
		c.Extensions[index].Value = der
		p, err := orbit.PeerOf(&c)
		if err != nil {
			return
		}
		back, err := p.User.Extension()
		if err != nil || string(back.Value) != string(der) {
			t.Errorf("accepted %x, which is written as %x, %v", der, back.Value, err)
		}
	})
}
