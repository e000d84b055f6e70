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
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"
)

// maxFile limits a file of headers, of a token or of certificates, bytes.
const maxFile = 1 << 20

// transports keeps the connections to the store. The files are read for each request, so that a new token or
// certificate is used without a restart.
type transports struct {
	mu     sync.Mutex
	sum    [sha256.Size]byte
	client *http.Client
	header http.Header
}

// get returns a client and the headers of requests. An error names the option and the file, and holds no contents.
func (t *transports) get(o *Options) (*http.Client, http.Header, error) {
	var texts [5][]byte
	sum := sha256.New()
	for i, f := range []struct{ option, name string }{{"headers file", o.HeadersFile}, {"token file", o.TokenFile},
		{"CA file", o.CAFile}, {"certificate file", o.CertFile}, {"key file", o.KeyFile}} {
		if f.name == "" {
			continue
		}
		text, err := readFile(f.name)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", f.option, err)
		}
		texts[i] = text
		fmt.Fprintf(sum, "%d %d\n", i, len(text))
		sum.Write(text)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	var now [sha256.Size]byte
	sum.Sum(now[:0])
	if t.client != nil && now == t.sum {
		return t.client, t.header, nil
	}
	header, err := headersOf(texts[0], texts[1])
	if err != nil {
		return nil, nil, err
	}
	config, err := tlsOf(o, texts[2], texts[3], texts[4])
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

func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("%s: want at most %d bytes", name, maxFile)
	}
	return text, err
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
			!isPrintable(value) {
			return nil, fmt.Errorf("headers file: line %d: want \"name: value\" in printable ASCII", number)
		}
		header.Add(name, value)
	}
	if text := strings.TrimSpace(string(token)); text != "" {
		if !isPrintable(text) {
			return nil, errors.New("token file: want one token in printable ASCII")
		}
		header.Set("Authorization", "Bearer "+text)
	}
	return header, nil
}

func isNameRune(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_'
}

func isPrintable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}

func tlsOf(o *Options, ca, cert, key []byte) (*tls.Config, error) {
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.CAFile != "" {
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(ca) {
			return nil, fmt.Errorf("CA file: %s: no certificate in PEM", o.CAFile)
		}
	}
	if o.CertFile != "" || o.KeyFile != "" {
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("certificate file: %s with key file %s: %w", o.CertFile, o.KeyFile, err)
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
		return err
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
		return fmt.Errorf("it answers %s: %s", answer.Status, printable(text))
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
	var failed *url.Error
	if errors.As(err, &failed) {
		err = failed.Err // its URL is of no use to users
	}
	return err
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
