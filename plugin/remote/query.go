package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/orb8-dev/kubectl-orb8/collect/losses"
	"github.com/orb8-dev/kubectl-orb8/event/orbit"
	"github.com/orb8-dev/kubectl-orb8/plugin/advice"
	"github.com/orb8-dev/kubectl-orb8/plugin/live"
)

// Covered is a consumer that gets the coverage of an answer: before the first event and before Close. An error ends the
// query.
type Covered interface {
	Cover(c *orbit.Coverage) error
}

// Form is the form of an answer.
type Form struct {
	// Flows asks for one event for each flow.
	Flows bool
	// AggregateBy are fields of flows: the answer has sums of flows. None: the flows.
	AggregateBy []string
}

// errNoSums is that of a server that would answer with flows instead of sums.
var errNoSums = errors.New("the servers are of a version that does not aggregate flows: kubectl orb8 upgrade " +
	"replaces them")

// Query shows events of the past. open is called once a server has answered.
func Query(
	ctx context.Context, dial Dial, request *orbit.QueryRequest, form Form, open func() (live.Consumer, error),
) (r *Result, err error) {
	conn, err := Ask(ctx, dial, func(conn Conn) (err error) {
		r, err = query(ctx, conn, request, form, open)
		return err
	})
	if err == nil {
		_ = conn.Close()
	}
	return r, err
}

func query(
	ctx context.Context, conn Conn, request *orbit.QueryRequest, form Form, open func() (live.Consumer, error),
) (*Result, error) {
	client := orbit.NewOrbitServiceClient(conn)
	var stream grpc.ServerStreamingClient[orbit.Answer]
	var err error
	if form.Flows {
		stream, err = client.QueryFlows(ctx, &orbit.QueryFlowsRequest{Query: request, AggregateBy: form.AggregateBy})
	} else {
		stream, err = client.QueryEvents(ctx, request)
	}
	if err != nil {
		return nil, err
	}
	r := &Result{}
	var lost losses.Tally
	var consumer live.Consumer
	for {
		answer, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			if consumer != nil && status.Code(err) == codes.Unauthenticated {
				err = errors.New(message(err)) // too late for another attempt
			}
			return nil, closeAfter(consumer, err)
		}
		if consumer == nil {
			if !slices.Equal(answer.GetAggregatedBy(), form.AggregateBy) {
				return nil, errNoSums
			}
			if consumer, err = open(); err != nil {
				return nil, err
			}
		}
		if c := answer.GetCoverage(); c != nil {
			r.Coverage = c
			if covered, ok := consumer.(Covered); ok {
				if err := covered.Cover(c); err != nil {
					return nil, err
				}
			}
		}
		for _, ev := range answer.GetEvents() {
			if ev.GetLost() != nil {
				lost.Add(losses.Of(ev))
			}
			if err := consumer.Show(ev); err != nil {
				return nil, closeAfter(consumer, err)
			}
		}
	}
	if consumer == nil || r.Coverage == nil {
		return nil, errors.New("the server's answer ended before it was whole")
	}
	if err := consumer.Close(); err != nil && !errors.Is(err, io.ErrClosedPipe) {
		return nil, fmt.Errorf("write output: %w", err)
	}
	r.Tally = advice.Tally{Events: consumer.Shown(), Losses: lost.All(), Nodes: len(r.Coverage.GetNodes()),
		Gaps: gapsOf(r.Coverage, time.Now())}
	for _, n := range r.Coverage.GetNodes() {
		if n.GetAnswer() == orbit.NodeAnswer_NODE_ANSWER_OK {
			r.Tally.Traced++
		}
	}
	return r, nil
}

// Result is what a query's answer covers.
type Result struct {
	Coverage *orbit.Coverage
	Tally    advice.Tally
}

// closeAfter closes the output after an error, which it returns: what a server says is not wrapped.
func closeAfter(c live.Consumer, err error) error {
	if c == nil {
		return err
	}
	if closeErr := c.Close(); closeErr != nil && !errors.Is(closeErr, io.ErrClosedPipe) {
		return errors.Join(err, closeErr)
	}
	return err
}
