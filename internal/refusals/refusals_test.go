package refusals

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestLog_OncePerPeerAndMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := New(slog.New(slog.NewTextHandler(&out, nil)))
		for i := range 100 {
			l.Add(fmt.Sprintf("10.0.0.1:%d", i+1), errors.New("bad certificate"))
		}
		l.Add("[fd00::1]:443", errors.New("no TLS"))
		time.Sleep(time.Minute)
		l.Add("10.0.0.1:7", errors.New("bad certificate"))
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		if len(lines) != 3 || l.Count() != 102 || !strings.Contains(lines[1], "peer=fd00::1") ||
			!strings.Contains(lines[1], "unlogged=99") {
			t.Errorf("%d refusals, logged:\n%s", l.Count(), out.String())
		}
	})
}

func TestLog_BoundsPeers(t *testing.T) {
	var out bytes.Buffer
	l := New(slog.New(slog.NewTextHandler(&out, nil)))
	for i := range 10_000 {
		l.Add(fmt.Sprintf("10.1.%d.%d:1", i/256, i%256), errors.New("x"))
	}
	if n := strings.Count(out.String(), "\n"); n != maxPeers || len(l.logged) != maxPeers || l.Count() != 10_000 {
		t.Errorf("%d lines, %d peers, %d refusals", n, len(l.logged), l.Count())
	}
}
