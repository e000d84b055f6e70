package authority

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	authenticationv1 "k8s.io/api/authentication/v1"

	"github.com/orb8-dev/kubectl-orb8/event/orbit"
)

// What the API server reports of a token that is bound to a pod, since Kubernetes 1.30.
const (
	extraPodName  = "authentication.kubernetes.io/pod-name"
	extraPodUID   = "authentication.kubernetes.io/pod-uid"
	extraNodeName = "authentication.kubernetes.io/node-name"
)

// Certify issues the certificate of an agent. The token proves which pod asks and which node it is on; of the request
// only the key is used. Errors are gRPC's.
func (a *Authority) Certify(ctx context.Context, r *orbit.CertifyRequest) (*orbit.CertifyAnswer, error) {
	answer, err := a.certify(ctx, r)
	switch status.Code(err) {
	case codes.OK, codes.Unavailable, codes.Internal, codes.Canceled, codes.DeadlineExceeded: // not the caller's fault
	default:
		a.refused.Add(orbit.ClientAddress(ctx), errors.New(status.Convert(err).Message()))
	}
	return answer, err
}

func (a *Authority) certify(ctx context.Context, r *orbit.CertifyRequest) (*orbit.CertifyAnswer, error) {
	if p := r.GetProtocol(); p < orbit.MinProtocol || p > orbit.Protocol {
		return nil, status.Errorf(codes.FailedPrecondition, "protocol %d: this server speaks %d to %d", p,
			orbit.MinProtocol, orbit.Protocol)
	}
	key, err := orbit.ParseRequest(r.GetRequest())
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	user, err := a.tokens.Review(ctx, orbit.ClientAddress(ctx), r.GetToken())
	if err != nil {
		return nil, err
	}
	node, err := a.agentNode(user)
	if err != nil {
		return nil, status.Error(codes.PermissionDenied, err.Error())
	}
	chain, err := a.Sign(orbit.Peer{Role: orbit.RoleAgent, Node: node}, key, orbit.AgentLife)
	if err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	a.o.Log.Info("issued the certificate of an agent", "node", node, "pod", user.Extra[extraPodName][0], "expires",
		chain[0].NotAfter)
	return &orbit.CertifyAnswer{Chain: raw(chain)}, nil
}

// agentNode returns the node of the agent that a token is of.
func (a *Authority) agentNode(user *authenticationv1.UserInfo) (string, error) {
	if want := "system:serviceaccount:" + a.o.Namespace + ":orb8-agent"; user.Username != want {
		return "", fmt.Errorf("the token is of %s, want %s", user.Username, want)
	}
	for _, key := range []string{extraPodName, extraPodUID, extraNodeName} {
		if values := user.Extra[key]; len(values) != 1 || values[0] == "" {
			return "", fmt.Errorf("the token has no %s: it is bound to no pod, or Kubernetes is older than 1.30", key)
		}
	}
	node := user.Extra[extraNodeName][0]
	return node, orbit.CheckNode(node)
}

func raw(chain []*x509.Certificate) (all [][]byte) {
	for _, c := range chain {
		all = append(all, c.Raw)
	}
	return all
}
