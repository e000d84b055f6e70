package remote

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event/orbit"
)

// probeTimeout is how long nodes may take to answer a probe.
const probeTimeout = 1500 * time.Millisecond

// Probe returns what an answer would cover, once all nodes have answered or took too long.
func Probe(ctx context.Context, conn Conn, selection *orbit.Selection) (*orbit.Coverage, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	stream, err := orbit.NewOrbitServiceClient(conn).StreamEvents(ctx, &orbit.StreamRequest{
		Protocol: orbit.Protocol, Selection: selection})
	if err != nil {
		return nil, err
	}
	var last *orbit.Coverage
	for {
		answer, err := stream.Recv()
		switch {
		case err == nil:
		case last != nil && (ctx.Err() != nil || errors.Is(err, io.EOF)):
			return last, nil
		default:
			return nil, err
		}
		if c := answer.GetCoverage(); c != nil {
			last = c
			waiting := func(n *orbit.NodeCoverage) bool { return n.GetAnswer() == orbit.NodeAnswer_NODE_ANSWER_UNKNOWN }
			if len(c.GetNodes()) > 0 && !slices.ContainsFunc(c.GetNodes(), waiting) {
				return c, nil
			}
		}
	}
}
