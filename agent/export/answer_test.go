package export

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/orb8-dev/kubectl-orb8/agent/export/request"
)

// response is an encoded ExportLogsServiceResponse.
func response(rejected uint64, message string) []byte {
	partial := protowire.AppendVarint(protowire.AppendTag(nil, partialRejected, protowire.VarintType), rejected)
	return request.AppendBytes(nil, responsePartial, request.AppendString(partial, partialMessage, message))
}

func TestReadResponse(t *testing.T) {
	for name, c := range map[string]struct {
		wire     []byte
		rejected int // of 10
		message  string
		wrong    bool
	}{
		"empty":            {nil, 0, "", false},
		"some":             {response(3, "too old"), 3, "too old", false},
		"a warning":        {response(0, "slow down"), 0, "slow down", false},
		"more than sent":   {response(1<<40, ""), 10, "", false},
		"negative":         {response(1<<63, ""), 0, "", false},
		"hostile":          {response(1, "\x1b[2J"), 1, `\x1b[2J`, false},
		"long":             {response(1, strings.Repeat("x", 1<<16)), 1, strings.Repeat("x", maxText) + "...", false},
		"garbage":          {[]byte{0xff, 0xff}, 0, "", true},
		"JSON":             {[]byte("{}"), 0, "", true},
		"an unknown field": {request.AppendString(nil, 9, "x"), 0, "", false},
	} {
		p, err := readResponse(c.wire)
		if (err != nil) != c.wrong || p.rejectedOf(10) != c.rejected || p.message != c.message {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 30, 8, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "0": 0, "7": 7 * time.Second, "100000": maxRetryAfter, "99999999999999999999999": maxRetryAfter,
		"-1": 0, "soon": 0, now.Add(time.Minute).Format(http.TimeFormat): time.Minute,
		now.Add(-time.Minute).Format(http.TimeFormat): 0, now.AddDate(1, 0, 0).Format(http.TimeFormat): maxRetryAfter,
	} {
		if got := retryAfter(value, now); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
}

func TestReadRetryInfo(t *testing.T) {
	for _, d := range []time.Duration{0, time.Millisecond, 90 * time.Second, 1000 * time.Hour, -time.Second} {
		wire, err := proto.Marshal(&errdetails.RetryInfo{RetryDelay: durationpb.New(d)})
		if err != nil {
			t.Fatal(err)
		}
		if got, want := readRetryInfo(wire), max(0, min(d, maxRetryAfter)); got != want {
			t.Errorf("%v: %v, want %v", d, got, want)
		}
	}
}

func TestHTTPError_ReadsTheStatus(t *testing.T) {
	body := request.AppendString(nil, statusMessage, "no such tenant\n")
	header := http.Header{"Content-Type": {contentType}}
	if e := httpError(400, header, body, time.Now()); e.retry || e.text != `HTTP 400 Bad Request: no such tenant\n` {
		t.Errorf("%+v", e)
	}
	if e := httpError(503, http.Header{"Retry-After": {"3"}}, []byte("busy"), time.Now()); !e.retry ||
		e.after != 3*time.Second || e.text != "HTTP 503 Service Unavailable" {
		t.Errorf("%+v", e)
	}
}

func FuzzAnswers(f *testing.F) {
	f.Add(response(3, "too old"), "7")
	f.Add([]byte("{}"), "Mon, 30 Nov 2026 08:00:00 GMT")
	f.Fuzz(func(t *testing.T, wire []byte, value string) {
		p, _ := readResponse(wire)
		if n := p.rejectedOf(10); n < 0 || n > 10 || len(p.message) > 8*maxText {
			t.Errorf("%+v", p)
		}
		if d := readRetryInfo(wire); d < 0 || d > maxRetryAfter+time.Second {
			t.Errorf("pause %v", d)
		}
		e := httpError(429, http.Header{"Content-Type": {contentType}, "Retry-After": {value}}, wire, time.Now())
		if e.after < 0 || e.after > maxRetryAfter || len(e.text) > 8*maxText {
			t.Errorf("%+v", e)
		}
	})
}
