// Package credentials reads what an agent or a server authenticates itself with to a store or a collector.
package credentials

import (
	"fmt"
	"io"
	"os"
)

// MaxFile limits a file of headers, of a token or of certificates, bytes.
const MaxFile = 1 << 20

// Read reads a file of at most 1 MiB. Its error names the file, and holds nothing of its contents.
func Read(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, MaxFile+1))
	if err == nil && len(text) > MaxFile {
		err = fmt.Errorf("%s: want at most %d bytes", name, MaxFile)
	}
	return text, err
}

// IsPrintable reports whether a value of a header is printable ASCII.
func IsPrintable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
