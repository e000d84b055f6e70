package session

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
)

func handshake(t *testing.T, server, client *tls.Config) (serverErr, clientErr error) {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	done := make(chan error, 1)
	go func() {
		s := tls.Server(a, server)
		err := s.Handshake()
		if err == nil {
			_, err = io.WriteString(s, "x")
		}
		a.Close()
		done <- err
	}()
	c := tls.Client(b, client)
	clientErr = c.Handshake()
	if clientErr == nil {
		// TLS 1.3: the client's handshake ends before the server has judged the client's certificate.
		_, clientErr = io.ReadFull(c, make([]byte, 1))
	}
	b.Close()
	return <-done, clientErr
}

func identity(t *testing.T) *Identity {
	t.Helper()
	id, err := NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestOnlyThePinnedKeysShakeHands(t *testing.T) {
	server, client, stranger := identity(t), identity(t), identity(t)
	if s, c := handshake(t, server.ServerTLS(client.PublicKey()), client.ClientTLS(server.PublicKey())); s != nil ||
		c != nil {
		t.Errorf("both pinned: server %v, client %v", s, c)
	}
	s, c := handshake(t, server.ServerTLS(client.PublicKey()), stranger.ClientTLS(server.PublicKey()))
	if !errors.Is(s, ErrPeerKey) || c == nil {
		t.Errorf("a strange client: server %v, client %v", s, c)
	}
	_, c = handshake(t, stranger.ServerTLS(client.PublicKey()), client.ClientTLS(server.PublicKey()))
	if !errors.Is(c, ErrPeerKey) {
		t.Errorf("a strange server: client %v", c)
	}
	none := client.ClientTLS(server.PublicKey())
	none.Certificates = nil
	if s, _ := handshake(t, server.ServerTLS(client.PublicKey()), none); s == nil {
		t.Error("a client without a certificate was let in")
	}
}

func TestReadyLineIsReadBack(t *testing.T) {
	id := identity(t)
	want := Ready{Protocol: Protocol, Version: "v1.2.3", Key: id.PublicKey().String(), Instance: 1<<63 + 5}
	got, key, ok, err := ParseReady(want.Line() + "\r\n")
	if err != nil || !ok || got != want || key != id.PublicKey() {
		t.Fatalf("got %+v, %v, %v, %v", got, key, ok, err)
	}
	if _, _, ok, err := ParseReady("loaded 5 programs"); ok || err != nil {
		t.Errorf("another line: ok %v, err %v", ok, err)
	}
	for _, line := range []string{"orb8-ready {", `orb8-ready {"key":"abc"}`, `orb8-ready {"key":"` +
		strings.Repeat("*", 43) + `"}`} {
		if _, _, ok, err := ParseReady(line); !ok || err == nil {
			t.Errorf("%s: ok %v, err %v", line, ok, err)
		}
	}
}

func FuzzParseReady(f *testing.F) {
	f.Add(Ready{Protocol: 1, Version: "v", Key: PublicKey{}.String()}.Line())
	f.Add("orb8-ready {}")
	f.Fuzz(func(t *testing.T, line string) {
		r, key, ok, err := ParseReady(line)
		if ok && err == nil && r.Key != key.String() {
			t.Fatalf("%q parsed to another key", line)
		}
	})
}

func TestCompressorKeepsEveryByteAndCapsBlocks(t *testing.T) {
	c := newS2()
	for range 3 { // the second round reuses pooled coders
		want := bytes.Repeat([]byte("namespace/pod-with-a-name "), 40_000)
		var wire bytes.Buffer
		w, err := c.Compress(&wire)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(want); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if wire.Len() > len(want)/10 {
			t.Errorf("compressed %d bytes to %d", len(want), wire.Len())
		}
		r, err := c.Decompress(&wire)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("read back %d bytes, %v", len(got), err)
		}
	}
	var packer Packer
	for _, want := range []string{"short", strings.Repeat("namespace/pod-with-a-name ", 40_000), "x"} {
		packed := bytes.Clone(packer.Pack([]byte(want)))
		var wire bytes.Buffer
		w, err := c.Compress(&wire)
		if err == nil {
			_, err = w.Write(packed)
		}
		if err == nil {
			err = w.Close()
		}
		if err != nil || !bytes.Equal(wire.Bytes(), packed) {
			t.Fatalf("a packed message of %d bytes is sent as %d: %v", len(packed), wire.Len(), err)
		}
		r, err := c.Decompress(&wire)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || string(got) != want {
			t.Fatalf("read back %d bytes of %d, %v", len(got), len(want), err)
		}
		if got, err := Unpack(packed); err != nil || string(got) != want {
			t.Fatalf("unpacked %d bytes of %d, %v", len(got), len(want), err)
		}
	}
	r, _ := c.Decompress(strings.NewReader("not compressed at all"))
	if _, err := io.ReadAll(r); err == nil {
		t.Error("garbage was accepted")
	}
}
