// Package access decides who may see what: it identifies the callers of a server, asks the API server what they may
// see, and withholds the rest of each event.
package access

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"k8s.io/client-go/kubernetes"

	"github.com/orb8-dev/kubectl-orb8/event/orbit"
	"github.com/orb8-dev/kubectl-orb8/internal/refusals"
	"github.com/orb8-dev/kubectl-orb8/server/tokens"
)

// Options are those of an Access.
type Options struct {
	Log *slog.Logger
}

// Access identifies callers and reviews what they may see. It is safe for concurrent use.
type Access struct {
	tokens   *tokens.Reviewer
	reviewer *reviewer
	refused  *refusals.Log
}

// New returns an Access that asks the API server behind client.
func New(client kubernetes.Interface, o Options) *Access {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Access{tokens: tokens.New(client), reviewer: newReviewer(client), refused: refusals.New(o.Log)}
}

// Refuse counts and logs a connection that was refused, as orbit.ServerCredentials reports it.
func (a *Access) Refuse(client net.Addr, reason error) { a.refused.Add(client.String(), reason) }

// Refusals is the number of connections and calls that were refused so far.
func (a *Access) Refusals() uint64 { return a.refused.Count() }

// Identify returns who makes a gRPC call: a viewer with a certificate, which the handshake has verified, else a service
// account with a token. Nothing else of a call counts. Errors are gRPC's.
func (a *Access) Identify(ctx context.Context) (*orbit.User, error) {
	address, user, err := a.identify(ctx)
	if err != nil && status.Code(err) != codes.Unavailable && ctx.Err() == nil {
		a.refused.Add(address, errors.New(status.Convert(err).Message()))
	}
	return user, err
}

func (a *Access) identify(ctx context.Context) (address string, _ *orbit.User, _ error) {
	address = orbit.ClientAddress(ctx)
	p, ok := peer.FromContext(ctx)
	if !ok {
		return address, nil, status.Error(codes.Unauthenticated, "no connection")
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return address, nil, status.Error(codes.Unauthenticated, "no TLS")
	}
	if certs := info.State.PeerCertificates; len(certs) > 0 {
		user, err := viewer(&info)
		return address, user, err
	}
	token, err := bearer(ctx)
	if err != nil {
		return address, nil, err
	}
	review, err := a.tokens.Review(ctx, address, token)
	if err != nil {
		return address, nil, err
	}
	return address, orbit.NewUser(review.Username, review.UID, review.Groups, review.Extra), nil
}

// viewer returns the user of a viewer's certificate. A connection may outlive it, but no new call does.
func viewer(info *credentials.TLSInfo) (*orbit.User, error) {
	cert := info.State.PeerCertificates[0]
	p, err := orbit.PeerOf(cert)
	if err == nil {
		err = orbit.Accept(orbit.RoleViewer)(p)
	}
	if err == nil && time.Now().After(cert.NotAfter) {
		err = fmt.Errorf("the certificate has expired at %s", cert.NotAfter.UTC().Format(time.RFC3339))
	}
	if err != nil {
		return nil, status.Error(codes.Unauthenticated, err.Error())
	}
	return p.User, nil
}

// bearer returns the token of a call.
func bearer(ctx context.Context) (string, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	values := md.Get("authorization")
	if len(values) != 1 {
		return "", status.Error(codes.Unauthenticated, "want a client certificate, or one header authorization: Bearer")
	}
	kind, token, ok := strings.Cut(values[0], " ")
	if !ok || !strings.EqualFold(kind, "bearer") {
		return "", status.Error(codes.Unauthenticated, "header authorization: want Bearer and a token")
	}
	return token, nil
}
