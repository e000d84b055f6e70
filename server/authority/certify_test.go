package authority

import (
	"crypto/x509"
	"net"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/orb8-dev/kubectl-orb8/event/orbit"
	"github.com/orb8-dev/kubectl-orb8/event/orbit/orbittest"
)

func TestCertify(t *testing.T) {
	const account = "system:serviceaccount:orb8-system:orb8-agent"
	bound := func(node string) map[string]authenticationv1.ExtraValue {
		return map[string]authenticationv1.ExtraValue{extraPodName: {"orb8-agent-x"}, extraPodUID: {"u"},
			extraNodeName: {node}}
	}
	unbound := bound("n1")
	delete(unbound, extraPodUID)
	several := bound("n1")
	several[extraNodeName] = authenticationv1.ExtraValue{"n1", "n2"}
	key := orbittest.NewKey(t)
	request := orbittest.Request(t, &x509.CertificateRequest{}, key)
	hostile := orbittest.Request(t, &x509.CertificateRequest{DNSNames: []string{"orb8-server"}}, key)
	of := func(name string, extra map[string]authenticationv1.ExtraValue) authenticationv1.UserInfo {
		return authenticationv1.UserInfo{Username: name, Extra: extra}
	}
	good, server := of(account, bound("n1")), "system:serviceaccount:orb8-system:orb8-server"
	elsewhere := "system:serviceaccount:default:orb8-agent"
	for name, test := range map[string]struct {
		user     authenticationv1.UserInfo
		protocol uint32
		request  []byte
		want     codes.Code
		message  string
	}{
		"an agent":               {good, 1, request, codes.OK, ""},
		"the server's account":   {of(server, bound("n1")), 1, request, codes.PermissionDenied, "want " + account},
		"another namespace":      {of(elsewhere, bound("n1")), 1, request, codes.PermissionDenied, "want " + account},
		"a token without a pod":  {of(account, unbound), 1, request, codes.PermissionDenied, extraPodUID},
		"a token of two nodes":   {of(account, several), 1, request, codes.PermissionDenied, extraNodeName},
		"a node that is no name": {of(account, bound("N/1")), 1, request, codes.PermissionDenied, "DNS subdomain"},
		"a request with names":   {good, 1, hostile, codes.InvalidArgument, "alternative names"},
		"no request":             {good, 1, nil, codes.InvalidArgument, "certificate request"},
		"another protocol":       {good, 99, request, codes.FailedPrecondition, "server speaks 1 to 1"},
		"nobody":                 {of("", nil), 1, request, codes.Unauthenticated, "of no user"},
	} {
		client := fake.NewClientset()
		client.PrependReactor("create", "tokenreviews", func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, &authenticationv1.TokenReview{Status: authenticationv1.TokenReviewStatus{Authenticated: true,
				Audiences: []string{orbit.TokenAudience}, User: test.user}}, nil
		})
		a := open(t, client, Options{})
		ctx := peer.NewContext(t.Context(), &peer.Peer{Addr: &net.TCPAddr{IP: net.IP{10, 0, 0, 1}, Port: 7}})
		answer, err := a.Certify(ctx, &orbit.CertifyRequest{Protocol: test.protocol, Token: "a.b.c",
			Request: test.request})
		if status.Code(err) != test.want || err != nil && !strings.Contains(err.Error(), test.message) {
			t.Errorf("%s: %v, want %v %q", name, err, test.want, test.message)
		}
		if refused := a.Refusals(); (err != nil) != (refused == 1) {
			t.Errorf("%s: %d refusals", name, refused)
		}
		if err != nil {
			continue
		}
		cert, err := x509.ParseCertificate(answer.GetChain()[0])
		if err == nil && !slices.Equal(cert.DNSNames, []string{orbit.AgentDNS}) {
			t.Errorf("%s: names %q: Prometheus verifies %s", name, cert.DNSNames, orbit.AgentDNS)
		}
		if err != nil {
			t.Fatal(err)
		}
		p, err := published(t, client).Verify([]*x509.Certificate{cert}, x509.ExtKeyUsageServerAuth)
		if err != nil || p != agent1 || !key.PublicKey.Equal(cert.PublicKey) {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
		if life := cert.NotAfter.Sub(cert.NotBefore); life != orbit.AgentLife+orbit.Backdate {
			t.Errorf("life %v", life)
		}
	}
}
