package server

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	// maxQueries is how many queries run at a time, maxQueriesOfUser how many of one user. Others wait for their turn:
	// agents decompress a query's history, and the server holds its answer, so that many at once would be refused for
	// want of memory, or end by their time-outs.
	maxQueries       = 16
	maxQueriesOfUser = 4
	// maxAsked limits the nodes that these ask together, maxAskedOfUser those that one user's ask: a query takes some
	// 30 KiB for each. One query of more nodes may run all the same.
	maxAsked       = 2000
	maxAskedOfUser = maxAsked / 2
)

// weightOf is the part of a number of nodes that a query takes, of which at most some queries run.
func weightOf(nodes, asked, queries int) int64 {
	return int64(min(max(nodes, asked/queries), maxAskedOfUser))
}

// turns lets a few queries run at a time, in the order in which they came.
type turns struct {
	all *semaphore.Weighted

	mu      sync.Mutex
	of      map[string]*userTurns
	queries int // those that run or wait
}

type userTurns struct {
	running *semaphore.Weighted
	queries int // those that run or wait
}

func newTurns() *turns {
	return &turns{all: semaphore.NewWeighted(maxAsked), of: map[string]*userTurns{}}
}

// acquire waits for the turn of a user's query, which asks some nodes. The caller calls end after it; further calls do
// nothing.
func (t *turns) acquire(ctx context.Context, user string, nodes int) (end func(), err error) {
	ofAll, ofUser := weightOf(nodes, maxAsked, maxQueries), weightOf(nodes, maxAskedOfUser, maxQueriesOfUser)
	u, err := t.enter(user)
	if err != nil {
		return nil, err
	}
	waiting, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	if err := u.running.Acquire(waiting, ofUser); err != nil {
		t.leave(user, u)
		return nil, busy(ctx, "other queries of yours")
	}
	if err := t.all.Acquire(waiting, ofAll); err != nil {
		u.running.Release(ofUser)
		t.leave(user, u)
		return nil, busy(ctx, "queries of other users")
	}
	return sync.OnceFunc(func() {
		t.all.Release(ofAll)
		u.running.Release(ofUser)
		t.leave(user, u)
	}), nil
}

// busy is the error of a query that waited in vain, or whose caller's ctx has ended.
func busy(ctx context.Context, behind string) error {
	if err := ctx.Err(); err != nil {
		return status.FromContextError(err).Err()
	}
	return status.Errorf(codes.ResourceExhausted, "this query has waited %v for %s at this server: try again later",
		queryTimeout, behind)
}

// enter counts a query, as admit does with requests that run.
func (t *turns) enter(user string) (*userTurns, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	u := t.of[user]
	switch {
	case t.queries >= maxCalls:
		return nil, status.Errorf(codes.ResourceExhausted, "%d queries wait at this server: try again later", t.queries)
	case u == nil:
		u = &userTurns{running: semaphore.NewWeighted(maxAskedOfUser)}
		t.of[user] = u
	case u.queries >= maxCallsOfUser:
		return nil, status.Errorf(codes.ResourceExhausted, "%d queries of yours wait at this server: end one",
			u.queries)
	}
	u.queries++
	t.queries++
	return u, nil
}

func (t *turns) leave(user string, u *userTurns) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.queries--
	if u.queries--; u.queries == 0 {
		delete(t.of, user)
	}
}
