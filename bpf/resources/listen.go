package resources

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// overflows is the counter of /proc/PID/net/netstat, by its group and its name.
var overflowsGroup, overflowsName = []byte("TcpExt:"), []byte("ListenOverflows")

// listenReader reads how often the accept queue of a listener in the network of a container had no room.
type listenReader struct {
	proc string
	// node is the inode of the file in the node's own network, 0 where that is not known. Each network namespace has
	// files of its own.
	node uint64
	// column is where the counter was in its group the last time, so that its name need not be searched for.
	column int
	buf    []byte
}

func newListenReader(proc string) listenReader {
	l := listenReader{proc: proc}
	var stat syscall.Stat_t
	if err := syscall.Stat(filepath.Join(proc, "1", "net", "netstat"), &stat); err == nil {
		l.node = stat.Ino
	}
	return l
}

// read returns the counter of the network of the first process in a cgroup's directory; nil where there is none, where
// it is in the node's network, or where it ends meanwhile.
func (l *listenReader) read(dir string) *uint64 {
	if l.node == 0 {
		return nil
	}
	pid, ok := firstProcess(filepath.Join(dir, "cgroup.procs"))
	if !ok {
		return nil
	}
	f, err := os.Open(fmt.Sprintf("%s/%d/net/netstat", l.proc, pid))
	if err != nil {
		return nil
	}
	defer f.Close()
	var stat syscall.Stat_t
	if err := syscall.Fstat(int(f.Fd()), &stat); err != nil || stat.Ino == l.node {
		return nil
	}
	if l.buf == nil {
		l.buf = make([]byte, maxFile)
	}
	n, err := io.ReadFull(f, l.buf)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return l.parse(l.buf[:n])
}

// firstProcess reads the first process of a list. A container decides how long that is, so no more is read.
func firstProcess(file string) (pid uint64, ok bool) {
	f, err := os.Open(file)
	if err != nil {
		return 0, false
	}
	defer f.Close()
	var line [16]byte
	n, err := f.Read(line[:])
	if err != nil {
		return 0, false
	}
	first, _, whole := bytes.Cut(line[:n], []byte{'\n'})
	pid, err = strconv.ParseUint(string(first), 10, 32)
	return pid, whole && err == nil && pid != 0 // 0: of another PID namespace
}

// parse finds the counter. A group is a line of names and a line of as many numbers, both after the group's own name.
func (l *listenReader) parse(text []byte) *uint64 {
	names, rest, ok := group(text)
	if !ok {
		return nil
	}
	values, _, ok := group(rest)
	if !ok {
		return nil
	}
	if !bytes.Equal(field(names, l.column), overflowsName) {
		l.column = 0
		for name := range bytes.FieldsSeq(names) {
			if bytes.Equal(name, overflowsName) {
				break
			}
			l.column++
		}
	}
	n, err := strconv.ParseUint(string(field(values, l.column)), 10, 64)
	if err != nil {
		return nil
	}
	return &n
}

// group returns the first line of the group, without its name, and what follows that line.
func group(text []byte) (line, rest []byte, ok bool) {
	for len(text) > 0 {
		line, text, _ = bytes.Cut(text, []byte{'\n'})
		if line, ok = bytes.CutPrefix(line, overflowsGroup); ok {
			return line, text, true
		}
	}
	return nil, nil, false
}

// field returns a field of a line, from 0 on; nil where there are not so many.
func field(line []byte, n int) []byte {
	for f := range bytes.FieldsSeq(line) {
		if n == 0 {
			return f
		}
		n--
	}
	return nil
}
