package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/orb8-dev/kubectl-orb8/e2e/workload/report"
)

// httpServer answers each request after the time that its parameter "delay" says, over HTTP/1.1 and HTTP/2.
func httpServer(ctx context.Context, flags *flag.FlagSet, args []string) error {
	listen := flags.String("listen", ":8080", "address and port")
	secure := flags.Bool("tls", false, "with TLS")
	if err := flags.Parse(args); err != nil {
		return err
	}
	server := &http.Server{Handler: http.HandlerFunc(answerLate), Protocols: protocols("http1", "http2"),
		ReadHeaderTimeout: time.Minute}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", *listen)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	printReport(report.Report{Kind: report.Listening, Local: addrPort(l.Addr())})
	if !*secure {
		err = server.Serve(l)
	} else if server.TLSConfig, err = selfSigned(); err == nil {
		server.TLSConfig.NextProtos = nil // those of the server
		err = server.ServeTLS(l, "", "")
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

func answerLate(w http.ResponseWriter, r *http.Request) {
	delay, err := time.ParseDuration(r.FormValue("delay"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	time.Sleep(delay)
	_, _ = io.WriteString(w, strings.Repeat("x", 1000)) // the client reports an error
}

// protocols are those of names, encrypted or not.
func protocols(names ...string) *http.Protocols {
	p := &http.Protocols{}
	p.SetHTTP1(slices.Contains(names, "http1"))
	p.SetHTTP2(slices.Contains(names, "http2"))
	p.SetUnencryptedHTTP2(slices.Contains(names, "http2"))
	return p
}

// httpClient sends requests on one connection, one after another, and reports how long the responses took.
func httpClient(ctx context.Context, flags *flag.FlagSet, args []string) error {
	var (
		to       = flags.String("to", "", "address and port")
		protocol = flags.String("protocol", "http1", "http1 or http2")
		secure   = flags.Bool("tls", false, "with TLS")
		delays   = flags.String("delays", "0s", "delays in the server, with commas between")
		rounds   = flags.Int("rounds", 1, "how often each delay is requested")
	)
	if err := flags.Parse(args); err != nil {
		return err
	}
	scheme := "http"
	if *secure {
		scheme = "https"
	}
	transport := &http.Transport{Protocols: protocols(*protocol), MaxConnsPerHost: 1,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} // the certificate is made anew each time
	defer transport.CloseIdleConnections()
	r := report.Report{Kind: report.Load, Side: "client", Protocol: "tcp", Start: time.Now()}
	var all []time.Duration
	for range *rounds {
		for delay := range strings.SplitSeq(*delays, ",") {
			took, err := get(ctx, transport, fmt.Sprintf("%s://%s/?delay=%s", scheme, *to, delay))
			if err != nil {
				return err
			}
			all = append(all, took)
		}
	}
	slices.Sort(all)
	r.End = time.Now()
	r.Performance = &report.Performance{Requests: uint64(len(all)), P50: quantile(all, 0.5), P90: quantile(all, 0.9),
		P99: quantile(all, 0.99), Max: quantile(all, 1)}
	printReport(r)
	return nil
}

// get returns the time from sending a request to the headers of its response.
func get(ctx context.Context, transport *http.Transport, url string) (time.Duration, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	sent := time.Now()
	response, err := transport.RoundTrip(request)
	if err != nil {
		return 0, err
	}
	took := time.Since(sent)
	_, err = io.Copy(io.Discard, response.Body)
	if response.StatusCode != http.StatusOK {
		err = errors.New(response.Status)
	}
	return took, errors.Join(err, response.Body.Close())
}
