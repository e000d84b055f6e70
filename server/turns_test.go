package server

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Many queries of one user run a few at a time, all of them, and another user's does not wait for them.
func TestTurns_OneUserAfterAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := newTurns()
		var mu sync.Mutex
		running, most, done := 0, 0, 0
		for range maxCallsOfUser {
			go func() {
				end, err := turns.acquire(t.Context(), "ann", 1)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				running++
				most = max(most, running)
				mu.Unlock()
				time.Sleep(time.Second)
				mu.Lock()
				running--
				done++
				mu.Unlock()
				end()
			}()
			synctest.Wait()
		}
		if _, err := turns.acquire(t.Context(), "ann", 1); status.Code(err) != codes.ResourceExhausted {
			t.Errorf("one more than may wait: %v", err)
		}
		began := time.Now()
		end, err := turns.acquire(t.Context(), "bob", 1)
		if err != nil || time.Since(began) > 0 {
			t.Errorf("another user waited %v: %v", time.Since(began), err)
		}
		end()
		time.Sleep(time.Minute)
		mu.Lock()
		defer mu.Unlock()
		if most != maxQueriesOfUser || done != maxCallsOfUser {
			t.Errorf("%d ran at a time and %d in all, want %d and %d", most, done, maxQueriesOfUser, maxCallsOfUser)
		}
		checkNoTurns(t, turns)
	})
}

// A query that does not get its turn ends with a reason, or with its caller, and leaves nothing.
func TestTurns_WaitingEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := newTurns()
		var ends []func()
		for i := range maxQueries {
			end, err := turns.acquire(t.Context(), fmt.Sprint(i/maxQueriesOfUser), 1)
			if err != nil {
				t.Fatal(err)
			}
			ends = append(ends, end)
		}
		for _, user := range []string{"0", "another"} {
			if _, err := turns.acquire(t.Context(), user, 1); status.Code(err) != codes.ResourceExhausted {
				t.Errorf("user %s: %v", user, err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if _, err := turns.acquire(ctx, user, 1); status.Code(err) != codes.DeadlineExceeded {
				t.Errorf("user %s, until the caller's deadline: %v", user, err)
			}
			cancel()
		}
		for _, end := range ends {
			end()
		}
		checkNoTurns(t, turns)
	})
}

// Queries of many nodes run two at a time, one of each user. Ending a turn twice is ending it once.
func TestTurns_OfManyNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := newTurns()
		ended := map[string]func(){}
		for _, user := range []string{"ann", "bob"} {
			end, err := turns.acquire(t.Context(), user, 5*maxAsked)
			if err != nil {
				t.Fatal(err)
			}
			ended[user] = end
		}
		for _, user := range []string{"ann", "eve"} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if _, err := turns.acquire(ctx, user, 1); status.Code(err) != codes.DeadlineExceeded {
				t.Errorf("a third query, of %s: %v", user, err)
			}
			cancel()
		}
		ended["ann"]()
		ended["ann"]()
		for _, user := range []string{"ann", "eve"} {
			end, err := turns.acquire(t.Context(), user, maxAskedOfUser/2)
			if err != nil {
				t.Fatal(err)
			}
			defer end()
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := turns.acquire(ctx, "joe", 1); status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("a turn that was ended twice made room for another query: %v", err)
		}
		ended["bob"]()
	})
}

func checkNoTurns(t *testing.T, turns *turns) {
	t.Helper()
	turns.mu.Lock()
	defer turns.mu.Unlock()
	if len(turns.of) != 0 || turns.queries != 0 {
		t.Errorf("%d users and %d queries are left", len(turns.of), turns.queries)
	}
}
