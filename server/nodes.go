package server

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/orb8-dev/kubectl-orb8/event/orbit"
)

// statusTimeout is how long an agent may take to describe itself.
const statusTimeout = 2 * time.Second

// parallelStatuses is how many requests for a status run at a time.
const parallelStatuses = 32

// Nodes implements orbit.OrbitServiceServer.
func (s *Service) Nodes(ctx context.Context, r *orbit.NodesRequest) (*orbit.NodesAnswer, error) {
	c, err := s.open(ctx, r.GetProtocol(), &orbit.Selection{Kinds: []string{"resources"}}, nil)
	if err != nil {
		return nil, err
	}
	defer c.close()
	if !c.view.All("resources") {
		return nil, status.Error(codes.PermissionDenied,
			"the state of nodes needs the right to get resources.orb8.dev in all namespaces")
	}
	all, _ := s.agents.all()
	answer := &orbit.NodesAnswer{Nodes: make([]*orbit.Node, len(all)), ServerVersion: s.version,
		Time: uint64(time.Now().UnixNano())}
	own, authority := s.expiry()
	answer.ServerCertificateExpiry, answer.AuthorityExpiry = uint64(own.UnixNano()), uint64(authority.UnixNano())
	var asking sync.WaitGroup
	free := make(chan struct{}, parallelStatuses)
	for i, g := range all {
		asking.Go(func() {
			free <- struct{}{}
			defer func() { <-free }()
			answer.Nodes[i] = g.describe(ctx)
		})
	}
	asking.Wait()
	return answer, nil
}

// describe asks an agent for its state.
func (g *agent) describe(ctx context.Context) *orbit.Node {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	n := &orbit.Node{Coverage: &orbit.NodeCoverage{Node: g.node}}
	var p peer.Peer
	asked := time.Now()
	got, err := g.client.Status(ctx, &orbit.AgentStatusRequest{Protocol: orbit.Protocol}, grpc.Peer(&p))
	if err == nil {
		err = g.check(got.GetHello())
	}
	if err != nil {
		n.Coverage.Answer, n.Coverage.Message = explain(err)
		return n
	}
	answered := time.Now()
	h := got.GetHello()
	n.Status = got
	n.Coverage.Answer, n.Coverage.Reach, n.Coverage.Kinds = orbit.NodeAnswer_NODE_ANSWER_OK, h.GetReach(), h.GetKinds()
	n.Coverage.Lost = got.GetLost()
	n.ClockSkew = int64(h.GetTime()) - asked.Add(answered.Sub(asked)/2).UnixNano()
	if info, ok := p.AuthInfo.(credentials.TLSInfo); ok && len(info.State.PeerCertificates) > 0 {
		n.CertificateExpiry = uint64(info.State.PeerCertificates[0].NotAfter.UnixNano())
	}
	return n
}
