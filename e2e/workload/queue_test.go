package main

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestQueue_AnswersAtTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer near.Close()
		served := make(chan error)
		go func() { served <- serveQueue(t.Context(), bufio.NewReader(far), far, 0) }()
		client := &queueClient{near, bufio.NewReader(near)}
		for _, tt := range []struct {
			command []string
			want    string
			takes   time.Duration
		}{
			{[]string{"BLPOP", "jobs", "60"}, "", time.Minute},
			{[]string{"BLPOP", "jobs", "0.5"}, "", 500 * time.Millisecond},
			{[]string{"GET", "key"}, "value", 0},
		} {
			start := time.Now()
			got, err := client.do(t.Context(), tt.command...)
			if err != nil || got != tt.want || time.Since(start) != tt.takes {
				t.Errorf("%v: %q, %v after %s, want %q after %s", tt.command, got, err, time.Since(start), tt.want,
					tt.takes)
			}
		}
		_, err := client.do(t.Context(), "FLUSHALL")
		if err == nil || !strings.Contains(err.Error(), "unknown command") {
			t.Errorf("FLUSHALL: %v, want an error", err)
		}
		near.Close()
		if err := <-served; err != io.EOF {
			t.Errorf("the server ended with %v", err)
		}
	})
}

func TestReadCommand_BoundsLengths(t *testing.T) {
	for _, bad := range []string{"", "*1\r\n", "*0\r\n", "*9\r\n", "*1\r\n$2000\r\n", "*1\r\n$-1\r\n", "*x\r\n",
		"GET\r\n"} {
		if got, err := readCommand(bufio.NewReader(strings.NewReader(bad))); err == nil {
			t.Errorf("%q gave %q, want an error", bad, got)
		}
	}
}
