package mcp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

func TestCall_TimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var cleaned atomic.Bool
		h := connect(t, Config{}, nil, observe(time.Second, &cleaned))
		defer h.close()
		began := time.Now()
		r, a := h.call(context.Background(), "trace", `{"kinds":["network"],"seconds":20}`)
		if took, want := time.Since(began), 20*time.Second+startTime+time.Second; took != want || !cleaned.Load() {
			t.Errorf("it took %v, want %v; cleaned up: %t", took, want, cleaned.Load())
		}
		if !r.IsError || len(a.Rows) != 1 || len(a.Cut) != 1 || a.Cut[0].Limit != cutTime {
			t.Errorf("answer %+v", a)
		}
	})
}

func TestCall_CutsACleanUpShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var cleaned atomic.Bool
		h := connect(t, Config{}, nil, observe(time.Hour, &cleaned))
		defer h.close()
		began := time.Now()
		h.call(context.Background(), "trace", `{"kinds":["network"],"seconds":20}`)
		if took, want := time.Since(began), 20*time.Second+startTime+cleanUpTime; took != want || cleaned.Load() {
			t.Errorf("it took %v, want %v", took, want)
		}
	})
}

func TestCall_CancelInterrupts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var cleaned atomic.Bool
		h := connect(t, Config{}, nil, observe(time.Second, &cleaned))
		defer h.close()
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		_, err := h.client.CallTool(ctx, &sdk.CallToolParams{Name: "trace",
			Arguments: json.RawMessage(`{"kinds":["network"],"seconds":60}`)})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		time.Sleep(2 * time.Second)
		if !cleaned.Load() {
			t.Error("the command goes on")
		}
	})
}

func TestCalls_TakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var running, most atomic.Int32
		h := connect(t, Config{}, nil, func(context.Context, *Command) Outcome {
			most.Store(max(most.Load(), running.Add(1)))
			time.Sleep(time.Second)
			running.Add(-1)
			return Outcome{}
		})
		defer h.close()
		began := time.Now()
		var calls sync.WaitGroup
		var busy atomic.Int32
		for range maxWaiting + 3 {
			calls.Go(func() {
				if r, a := h.call(context.Background(), "status", `{}`); r.IsError && *a.Error == errBusy.Error() {
					busy.Add(1)
				}
			})
		}
		calls.Wait()
		if most.Load() != 1 || time.Since(began) != (maxWaiting+1)*time.Second || busy.Load() != 2 {
			t.Errorf("%d at a time, in %v, %d refused", most.Load(), time.Since(began), busy.Load())
		}
	})
}

func TestCall_ReportsProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var reports []string
		var mu sync.Mutex
		h := connect(t, Config{}, &sdk.ClientOptions{
			ProgressNotificationHandler: func(_ context.Context, r *sdk.ProgressNotificationClientRequest) {
				mu.Lock()
				defer mu.Unlock()
				reports = append(reports, fmt.Sprintf("%v %s", r.Params.Progress, r.Params.Message))
			},
		}, func(context.Context, *Command) Outcome {
			time.Sleep(12 * time.Second)
			return Outcome{}
		})
		defer h.close()
		params := &sdk.CallToolParams{Name: "trace", Arguments: json.RawMessage(`{"kinds":["network"]}`)}
		params.SetProgressToken("x")
		if _, err := h.client.CallTool(context.Background(), params); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if len(reports) != 2 || !strings.HasPrefix(reports[1], "10 10s since the call, to observe for 10s") {
			t.Errorf("reports %q", reports)
		}
	})
}
