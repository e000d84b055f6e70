package server

import (
	"context"
	"fmt"
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
		running, most, done := 0, 0, 0
		for range maxCallsOfUser {
			go func() {
				end, err := turns.take(t.Context(), "ann")
				if err != nil {
					t.Error(err)
					return
				}
				running++
				most = max(most, running)
				time.Sleep(time.Second)
				running--
				done++
				end()
			}()
			synctest.Wait()
		}
		if _, err := turns.take(t.Context(), "ann"); status.Code(err) != codes.ResourceExhausted {
			t.Errorf("one more than may wait: %v", err)
		}
		began := time.Now()
		end, err := turns.take(t.Context(), "bob")
		if err != nil || time.Since(began) > 0 {
			t.Errorf("another user waited %v: %v", time.Since(began), err)
		}
		end()
		time.Sleep(time.Minute)
		if most != maxQueriesOfUser || done != maxCallsOfUser {
			t.Errorf("%d ran at a time and %d in all, want %d and %d", most, done, maxQueriesOfUser, maxCallsOfUser)
		}
		if len(turns.of) != 0 || turns.queries != 0 {
			t.Errorf("%d users and %d queries are left", len(turns.of), turns.queries)
		}
	})
}

// A query that does not get its turn ends with a reason, or with its caller, and leaves nothing.
func TestTurns_WaitingEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := newTurns()
		var ends []func()
		for i := range maxQueries {
			end, err := turns.take(t.Context(), fmt.Sprint(i/maxQueriesOfUser))
			if err != nil {
				t.Fatal(err)
			}
			ends = append(ends, end)
		}
		for _, user := range []string{"0", "another"} {
			if _, err := turns.take(t.Context(), user); status.Code(err) != codes.ResourceExhausted {
				t.Errorf("user %s: %v", user, err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if _, err := turns.take(ctx, user); status.Code(err) != codes.DeadlineExceeded {
				t.Errorf("user %s, until the caller's deadline: %v", user, err)
			}
			cancel()
		}
		for _, end := range ends {
			end()
		}
		if len(turns.of) != 0 || turns.queries != 0 {
			t.Errorf("%d users and %d queries are left", len(turns.of), turns.queries)
		}
	})
}
