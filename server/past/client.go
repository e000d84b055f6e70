package past

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/orb8-dev/kubectl-orb8/internal/credentials"
)

// transports keeps the connections to the store. The files are read for each request, so that a new token or
// certificate is used without a restart.
type transports struct {
	mu     sync.Mutex
	sum    [sha256.Size]byte
	client *http.Client
	header http.Header
}

// Files of Options.Credentials.
const (
	headersFile = "headers"
	tokenFile   = "token"
	caFile      = "ca.crt"
	certFile    = "tls.crt"
	keyFile     = "tls.key"
)

// get returns a client and the headers of requests. An error names the file, and holds nothing of its contents.
func (t *transports) get(o *Options) (*http.Client, http.Header, error) {
	texts := map[string][]byte{}
	sum := sha256.New()
	for _, name := range []string{headersFile, tokenFile, caFile, certFile, keyFile} {
		if o.Credentials == "" {
			break
		}
		text, err := credentials.Read(filepath.Join(o.Credentials, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, nil, err
		}
		texts[name] = text
		fmt.Fprintf(sum, "%s %d\n", name, len(text))
		sum.Write(text)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	var now [sha256.Size]byte
	sum.Sum(now[:0])
	if t.client != nil && now == t.sum {
		return t.client, t.header, nil
	}
	header, err := headersOf(texts[headersFile], texts[tokenFile])
	if err != nil {
		return nil, nil, err
	}
	config, err := tlsOf(texts[caFile], texts[certFile], texts[keyFile])
	if err != nil {
		return nil, nil, err
	}
	if t.client != nil {
		t.client.CloseIdleConnections()
	}
	t.sum, t.header = now, header
	t.client = &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, TLSClientConfig: config, MaxIdleConns: 4, IdleConnTimeout: time.Minute,
			TLSHandshakeTimeout: firstTimeout, MaxResponseHeaderBytes: 64 << 10, ForceAttemptHTTP2: true,
		},
		// Another server must not get the headers.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return t.client, t.header, nil
}

// headersOf reads a line "name: value" for each header. Empty lines and those that begin with # are ignored.
func headersOf(lines, token []byte) (http.Header, error) {
	header := http.Header{}
	number := 0
	for line := range bytes.Lines(lines) {
		number++
		text := strings.TrimSpace(string(line))
		if text == "" || text[0] == '#' {
			continue
		}
		name, value, ok := strings.Cut(text, ":")
		value = strings.TrimSpace(value)
		if !ok || name == "" || strings.ContainsFunc(name, func(r rune) bool { return !isNameRune(r) }) ||
			!credentials.IsPrintable(value) {
			return nil, fmt.Errorf(headersFile+": line %d: want \"name: value\" in printable ASCII", number)
		}
		header.Add(name, value)
	}
	if text := strings.TrimSpace(string(token)); text != "" {
		if !credentials.IsPrintable(text) {
			return nil, errors.New(tokenFile + ": want one token in printable ASCII")
		}
		header.Set("Authorization", "Bearer "+text)
	}
	return header, nil
}

func isNameRune(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_'
}

func tlsOf(ca, cert, key []byte) (*tls.Config, error) {
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(ca) > 0 {
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(ca) {
			return nil, fmt.Errorf("%s: no certificate in PEM", caFile)
		}
	}
	if len(cert)+len(key) > 0 {
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("%s with %s: %w", certFile, keyFile, err)
		}
		t.Certificates = []tls.Certificate{pair}
	}
	return t, nil
}

// errSlow is the cause of a request's end.
var errSlow = fmt.Errorf("it did not answer within %v", firstTimeout)

// query calls each with every row of an answer; the row is in r.row.
func (r *read) query(query string, g segment, each func() error) error {
	client, header, err := r.http.get(&r.o)
	if err != nil {
		return &storeError{"the server cannot read its credentials", err.Error()}
	}
	ctx, cancel := context.WithCancelCause(r.ctx)
	defer cancel(nil)
	// The time that each takes does not count: the client of the answer may be slow.
	late := time.AfterFunc(firstTimeout, func() { cancel(errSlow) })
	defer late.Stop()
	form := url.Values{"query": {query}, "extra_filters": {r.s.conditions(g)}, "allow_partial_response": {"0"}}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, r.base.String(), strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	request.Header = header.Clone()
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("User-Agent", r.o.UserAgent)
	answer, err := client.Do(request)
	if err != nil {
		return r.explain(ctx, err)
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(answer.Body, 512)) // the status says more
		return &storeError{fmt.Sprintf("it answers %d %s", answer.StatusCode, http.StatusText(answer.StatusCode)),
			printable(text)}
	}
	body := &meter{r: answer.Body, read: &r.bytes}
	lines := bufio.NewReaderSize(body, 64<<10)
	for {
		late.Reset(idleTimeout)
		err := r.row.next(lines)
		if !late.Stop() && err == nil {
			err = errSlow
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, errLong):
			r.report.Bad++
			continue
		case err != nil:
			return r.explain(ctx, err)
		}
		if r.lines++; r.lines > maxRows {
			return fmt.Errorf("it has more than %d rows for this: select a shorter time", maxRows)
		}
		if r.row.parse() != nil {
			r.report.Bad++
			continue
		}
		if err := each(); err != nil {
			return err
		}
	}
}

// meter limits the bytes of all answers together.
type meter struct {
	r    io.Reader
	read *int64
}

var errMuch = fmt.Errorf("it sends more than %d GiB: select a shorter time", maxBytes>>30)

func (m *meter) Read(b []byte) (n int, err error) {
	if *m.read >= maxBytes {
		return 0, errMuch
	}
	n, err = m.r.Read(b)
	*m.read += int64(n)
	return n, err
}

// explain returns the error of a request: that of the caller where it has ended it.
func (r *read) explain(ctx context.Context, err error) error {
	if cause := context.Cause(r.ctx); cause != nil {
		return cause
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	// Users learn no address of the store.
	return &storeError{"its answer was cut, or it is not reachable", err.Error()}
}

// storeError is an error for users, with details that are not for them.
type storeError struct{ text, detail string }

func (e *storeError) Error() string { return e.text }

// Detail returns all that is known of an error of Read, for a log.
func Detail(err error) string {
	var of *storeError
	if errors.As(err, &of) {
		return of.text + ": " + of.detail
	}
	return err.Error()
}

// printable is a text for an error.
func printable(text []byte) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return ' '
		}
		return r
	}, string(text))
}
