package export

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/orb8-dev/kubectl-orb8/event/safe"
)

const (
	// maxAnswer limits an answer of a collector, bytes, maxText the text of it that is kept.
	maxAnswer = 64 << 10
	maxText   = 256
	// maxRetryAfter limits the pause that a collector may ask for.
	maxRetryAfter = 5 * time.Minute
)

// sendError is why a request was not accepted.
type sendError struct {
	text string
	// retry: the same request may be accepted later. patient: for as long as it takes, since the collector cannot be
	// reached, or has no room.
	retry, patient bool
	// after is the pause that the collector asks for; 0: none.
	after time.Duration
	// broken: the connection may be dead.
	broken bool
}

func (e *sendError) Error() string { return e.text }

// partialSuccess is the result of an accepted request.
type partialSuccess struct {
	rejected int64
	message  string
}

var errAnswer = errors.New("the collector's answer is not OTLP")

// Field numbers of ExportLogsServiceResponse and ExportLogsPartialSuccess, which are those of other signals, too.
const (
	responsePartial protowire.Number = 1
	partialRejected protowire.Number = 1
	partialMessage  protowire.Number = 2
)

// readResponse reads an ExportLogsServiceResponse.
func readResponse(b []byte) (p partialSuccess, err error) {
	err = eachField(b, func(number protowire.Number, typ protowire.Type, value []byte) error {
		if number != responsePartial || typ != protowire.BytesType {
			return nil
		}
		message, _ := protowire.ConsumeBytes(value)
		return eachField(message, func(number protowire.Number, typ protowire.Type, value []byte) error {
			switch {
			case number == partialRejected && typ == protowire.VarintType:
				v, _ := protowire.ConsumeVarint(value)
				p.rejected = int64(v)
			case number == partialMessage && typ == protowire.BytesType:
				text, _ := protowire.ConsumeBytes(value)
				p.message = shorten(string(text[:min(len(text), 4*maxText)]))
			}
			return nil
		})
	})
	return p, err
}

// eachField calls f with each field of a message, up to the first error.
func eachField(b []byte, f func(number protowire.Number, typ protowire.Type, value []byte) error) error {
	for len(b) > 0 {
		number, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return errAnswer
		}
		b = b[n:]
		if n = protowire.ConsumeFieldValue(number, typ, b); n < 0 {
			return errAnswer
		}
		if err := f(number, typ, b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// shorten makes a collector's text safe to print, and limits it.
func shorten(s string) string {
	s = safe.Text(s)
	if runes := []rune(s); len(runes) > maxText {
		s = string(runes[:maxText]) + "..."
	}
	return s
}

// Field numbers of google.rpc.Status, google.rpc.RetryInfo and google.protobuf.Duration.
const (
	statusMessage   protowire.Number = 2
	retryDelay      protowire.Number = 1
	durationSeconds protowire.Number = 1
	durationNanos   protowire.Number = 2
)

// retryInfoURL is the type of google.rpc.RetryInfo in details of a status.
const retryInfoURL = "type.googleapis.com/google.rpc.RetryInfo"

// readRetryInfo returns the pause of a google.rpc.RetryInfo, within maxRetryAfter.
func readRetryInfo(b []byte) time.Duration {
	delay := bytesField(b, retryDelay)
	seconds := int64(varintField(delay, durationSeconds))
	nanos := int64(int32(varintField(delay, durationNanos)))
	if seconds < 0 || nanos < 0 {
		return 0
	}
	return time.Duration(min(seconds, int64(maxRetryAfter/time.Second)))*time.Second +
		time.Duration(min(nanos, int64(time.Second)))
}

// grpcError judges the error of a call, by the OTLP specification.
func grpcError(err error) *sendError {
	s := status.Convert(err)
	e := &sendError{text: shorten(fmt.Sprintf("%v: %s", s.Code(), s.Message()))}
	throttled := false
	for _, detail := range s.Proto().GetDetails() {
		if detail.GetTypeUrl() == retryInfoURL {
			throttled, e.after = true, readRetryInfo(detail.GetValue())
		}
	}
	switch s.Code() {
	case codes.Unavailable:
		e.retry, e.patient = true, true
	case codes.Canceled, codes.DeadlineExceeded, codes.Aborted, codes.OutOfRange, codes.DataLoss:
		e.retry = true
	case codes.ResourceExhausted:
		e.retry, e.patient = throttled, throttled
	}
	e.broken = s.Code() == codes.DeadlineExceeded
	return e
}

// httpError judges an answer that is no success, by the OTLP specification.
func httpError(code int, header http.Header, body []byte, now time.Time) *sendError {
	e := &sendError{text: fmt.Sprintf("HTTP %d %s", code, http.StatusText(code))}
	if text := bytesField(body, statusMessage); len(text) > 0 && header.Get("Content-Type") == contentType {
		e.text += ": " + shorten(string(text[:min(len(text), 4*maxText)]))
	}
	switch code {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable,
		http.StatusGatewayTimeout:
		e.retry, e.patient = true, true
		e.after = retryAfter(header.Get("Retry-After"), now)
	}
	return e
}

// retryAfter reads the header Retry-After: seconds, or a date.
func retryAfter(value string, now time.Time) time.Duration {
	seconds, err := strconv.ParseUint(value, 10, 64)
	switch {
	case err == nil, errors.Is(err, strconv.ErrRange):
		return time.Duration(min(seconds, uint64(maxRetryAfter/time.Second))) * time.Second
	case value == "":
		return 0
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return max(0, min(at.Sub(now), maxRetryAfter))
}

// rejectedOf limits the number of rejected records to those that were sent.
func (p *partialSuccess) rejectedOf(sent int) int {
	return int(max(0, min(p.rejected, int64(min(sent, math.MaxInt32)))))
}
