package syscalls

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/orb8-dev/kubectl-orb8/bpf"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// Flags and kinds of events.h and fd.h.
const (
	timed   = 1
	unread0 = 2

	fdFile   = 1
	fdPipe   = 2
	fdSocket = 3

	maxErrno = 4095
)

const headSize = int(unsafe.Offsetof(objectSyscallEvent{}.Text))

// decoder turns the kernel's struct syscall_event into an event.Event, one and the same each time. Text that it has
// seen before is the last string, so that what repeats itself costs no memory.
type decoder struct {
	clock *bpf.Clock
	table *table
	seen  map[string]string
	buf   []byte
	comm  [16]byte
	path  []byte

	ev       event.Event
	call     event.Syscall
	result   int64
	duration uint64
}

// maxSeen bounds the texts that are remembered: arguments with addresses in them are different each time.
const maxSeen = 16384

func newDecoder(clock *bpf.Clock, t *table) *decoder {
	d := &decoder{clock: clock, table: t, seen: make(map[string]string)}
	d.ev.Kind = &event.Event_Syscall{Syscall: &d.call}
	return d
}

// decode returns the event's cgroup and the event, which the next call overwrites.
func (d *decoder) decode(raw []byte) (uint64, *event.Event, error) {
	if len(raw) < headSize {
		return 0, nil, fmt.Errorf("decode system call: %d bytes, want %d", len(raw), headSize)
	}
	var e objectSyscallEvent
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&e)), headSize), raw)
	n, m := int(e.TextLen[0]), int(e.TextLen[1])
	if n+m > len(raw)-headSize {
		return 0, nil, fmt.Errorf("decode system call: %d bytes of text in %d", n+m, len(raw)-headSize)
	}
	if e.Phase < uint8(event.SyscallPhase_SYSCALL_PHASE_RETURNED) ||
		e.Phase > uint8(event.SyscallPhase_SYSCALL_PHASE_NO_RETURN) {
		return 0, nil, fmt.Errorf("decode system call: phase %d", e.Phase)
	}
	texts := [2][]byte{raw[headSize : headSize+n], raw[headSize+n : headSize+n+m]}

	k := d.table.of(e.Abi, e.Number)
	c := &d.call
	c.Phase = event.SyscallPhase(e.Phase)
	c.Pid, c.Tid = e.Pid, e.Tid
	d.comm = *(*[16]byte)(unsafe.Pointer(&e.Comm))
	c.Comm = bpf.Text(d.comm[:])
	c.Abi = k.abi
	c.Name = k.name
	if e.Abi == abiX32 {
		c.Abi, c.Name = "x32", ""
	}
	if c.Name == "" {
		d.buf = strconv.AppendInt(append(d.buf[:0], "syscall_"...), int64(e.Number), 10)
		c.Name = d.intern(d.buf)
	}
	c.Path = nil
	d.buf = d.buf[:0]
	for i, a := range k.signature {
		if i > 0 {
			d.buf = append(d.buf, ", "...)
		}
		if s := k.text[i]; s >= 0 {
			unread := e.Flags&(unread0<<s) != 0
			if a == path && s == 0 && !unread && e.Args[i] != 0 {
				d.path = append(d.path[:0], texts[s]...)
				c.Path = d.path
			}
			d.text(a, e.Args[i], texts[s], unread)
			continue
		}
		if a == openFlags && i+1 < len(k.signature) && k.signature[i+1] == octal &&
			e.Args[i]&(unix.O_CREAT|tmpFile) == 0 {
			// The mode that follows is not read by the kernel, and holds anything.
			d.argument(&e, k, a, i)
			break
		}
		d.argument(&e, k, a, i)
	}
	c.Args = d.intern(d.buf)
	d.outcome(&e)
	d.ev.Time = d.clock.Wall(e.TimeNs + e.DurationNs)
	return e.Cgroup, &d.ev, nil
}

// tmpFile is the bit of O_TMPFILE that O_DIRECTORY has not.
const tmpFile = unix.O_TMPFILE &^ unix.O_DIRECTORY

func (d *decoder) outcome(e *objectSyscallEvent) {
	c := &d.call
	c.Result, c.Errno, c.DurationNanos = nil, "", nil
	if c.Phase == event.SyscallPhase_SYSCALL_PHASE_RETURNED {
		d.result = e.Result
		c.Result = &d.result
		if e.Result < 0 && e.Result >= -maxErrno {
			c.Errno = errnoName(-e.Result)
		}
	}
	if e.Flags&timed != 0 && c.Phase != event.SyscallPhase_SYSCALL_PHASE_NO_RETURN {
		d.duration = e.DurationNs
		c.DurationNanos = &d.duration
	}
}

// text appends an argument that points to text.
func (d *decoder) text(a kind, pointer uint64, t []byte, unread bool) {
	switch {
	case pointer == 0:
		d.buf = append(d.buf, "NULL"...)
	case unread && len(t) == 0:
		d.buf = append(d.buf, '?')
	case a == sockaddr:
		d.buf = appendSockaddr(d.buf, t)
	default:
		d.buf = append(appendEscaped(append(d.buf, '"'), t), '"')
		if unread {
			d.buf = append(d.buf, "..."...)
		}
	}
}

// argument appends an argument that is a number.
func (d *decoder) argument(e *objectSyscallEvent, k *known, a kind, i int) {
	v, dst := e.Args[i], d.buf
	switch a {
	case number:
		dst = strconv.AppendInt(dst, int64(v), 10)
		if v>>32 == 0 && int32(v) < 0 || v > 1<<63 && int64(v) == int64(int32(v)) {
			dst = strconv.AppendInt(d.buf, int64(int32(v)), 10)
		}
	case unsigned:
		dst = strconv.AppendUint(dst, v, 10)
	case octal:
		dst = strconv.AppendUint(append(dst, '0'), v&0xffff, 8)
	case fd, dirFD:
		dst = appendFD(dst, e, int32(v), a == dirFD, k.fd == uint8(i))
	case openFlags:
		dst = appendName(dst, v&unix.O_ACCMODE, openModeWords)
		if v &^= unix.O_ACCMODE; v&0xffffffff != 0 {
			dst = appendFlags(append(dst, '|'), v&0xffffffff, openWords)
		}
	case fileFlags:
		dst = appendFlags(dst, v&0xffffffff, openWords)
	case protection:
		dst = appendFlags(dst, v, protectionWords)
	case mapFlags:
		dst = appendFlags(dst, v, mapWords)
	case signal:
		if s := unix.SignalName(unix.Signal(v)); s != "" && v < 65 {
			dst = append(dst, s...)
		} else {
			dst = strconv.AppendInt(dst, int64(int32(v)), 10)
		}
	case whence:
		dst = appendName(dst, v, whenceWords)
	case family:
		dst = appendName(dst, v, familyWords)
	case socketType:
		flags := v & (unix.SOCK_CLOEXEC | unix.SOCK_NONBLOCK)
		if base := v &^ flags; base != 0 || flags == 0 {
			dst = appendName(dst, base, socketTypeWords)
			if flags != 0 {
				dst = append(dst, '|')
			}
		}
		if flags != 0 {
			dst = appendFlags(dst, flags, socketFlagWords)
		}
	case messageFlags:
		dst = appendFlags(dst, v&0xffffffff, messageWords)
	case clock:
		dst = appendName(dst, v, clockWords)
	case futexOp:
		flags := v & (128 | 256)
		dst = appendName(dst, v&^flags, futexWords)
		if flags != 0 {
			dst = appendFlags(append(dst, '|'), flags, futexFlagWords)
		}
	case fcntlCommand:
		dst = appendName(dst, v, fcntlWords)
	case accessMode:
		dst = appendFlags(dst, v&0xffffffff, accessWords)
	case atFlags:
		dst = appendFlags(dst, v&0xffffffff, atWords)
	case accessFlags:
		dst = appendFlags(dst, v&0xffffffff, accessFlagWords)
	case unlinkFlags:
		dst = appendFlags(dst, v&0xffffffff, unlinkWords)
	case maskHow:
		dst = appendName(dst, v, maskWords)
	case epollOp:
		dst = appendName(dst, v, epollWords)
	case cloneFlags:
		dst = appendFlags(dst, v&^0xff, cloneWords)
		if s := unix.SignalName(unix.Signal(v & 0xff)); s != "" {
			dst = append(append(dst, '|'), s...)
		}
	case advice:
		dst = appendName(dst, v, adviceWords)
	default:
		if v == 0 {
			dst = append(dst, '0')
		} else {
			dst = appendHex(dst, v)
		}
	}
	d.buf = dst
}

// appendFD appends a file descriptor, with the file's name where it was read.
func appendFD(dst []byte, e *objectSyscallEvent, n int32, dir, named bool) []byte {
	if dir && n == unix.AT_FDCWD {
		return append(dst, "AT_FDCWD"...)
	}
	dst = strconv.AppendInt(dst, int64(n), 10)
	if !named || e.Fd.Kind == 0 {
		return dst
	}
	dst = append(dst, '<')
	name := unsafe.Slice((*byte)(unsafe.Pointer(&e.Fd.Name)), len(e.Fd.Name))
	switch e.Fd.Kind {
	case fdPipe:
		if name[0] == 0 {
			dst = strconv.AppendUint(append(dst, "pipe:["...), e.Fd.Inode, 10)
			dst = append(dst, ']')
			break
		}
		dst = appendFileName(dst, name)
	case fdSocket:
		dst = appendSocket(dst, e, name)
	default:
		dst = appendFileName(dst, name)
	}
	return append(dst, '>')
}

// appendFileName appends the name up to its closing zero; a name that fills the room for it may be cut.
func appendFileName(dst, name []byte) []byte {
	before := bpf.Text(name)
	dst = appendEscaped(dst, before)
	if len(before) == len(name)-1 {
		dst = append(dst, "..."...)
	}
	return dst
}

func appendSocket(dst []byte, e *objectSyscallEvent, ends []byte) []byte {
	size := 16
	switch e.Fd.Family {
	case unix.AF_INET:
		size = 4
	case unix.AF_INET6:
	default:
		word := appendName(nil, uint64(e.Fd.Family), familyWords)
		dst = append(dst, strings.ToLower(strings.TrimPrefix(string(word), "AF_"))...)
		dst = strconv.AppendUint(append(dst, ":["...), e.Fd.Inode, 10)
		return append(dst, ']')
	}
	switch e.Fd.Protocol {
	case unix.IPPROTO_TCP:
		dst = append(dst, "tcp "...)
	case unix.IPPROTO_UDP:
		dst = append(dst, "udp "...)
	default:
		dst = append(strconv.AppendUint(append(dst, "ip "...), uint64(e.Fd.Protocol), 10), ' ')
	}
	dst = appendAddrPort(dst, ends[:size], e.Fd.LocalPort)
	// In network order, as it lies in memory.
	if port := e.Fd.RemotePort>>8 | e.Fd.RemotePort<<8; port != 0 {
		dst = appendAddrPort(append(dst, "->"...), ends[16:16+size], port)
	}
	return dst
}

func appendAddrPort(dst, addr []byte, port uint16) []byte {
	a, _ := netip.AddrFromSlice(addr)
	return netip.AddrPortFrom(a.Unmap(), port).AppendTo(dst)
}

func appendSockaddr(dst, b []byte) []byte {
	if len(b) < 2 {
		return append(dst, '?')
	}
	switch f := binary.LittleEndian.Uint16(b); {
	case f == unix.AF_INET && len(b) >= 8:
		return appendAddrPort(dst, b[4:8], binary.BigEndian.Uint16(b[2:]))
	case f == unix.AF_INET6 && len(b) >= 24:
		return appendAddrPort(dst, b[8:24], binary.BigEndian.Uint16(b[2:]))
	case f == unix.AF_UNIX:
		dst = append(dst, "unix:\""...)
		name := b[2:]
		if len(name) > 0 && name[0] == 0 {
			// An abstract name, which may hold zeros.
			dst, name = append(dst, '@'), name[1:]
		} else {
			name = bpf.Text(name)
		}
		return append(appendEscaped(dst, name), '"')
	default:
		return appendName(dst, uint64(f), familyWords)
	}
}

// appendEscaped appends text exactly: bytes that are not valid UTF-8 as \xNN.
func appendEscaped(dst, t []byte) []byte {
	const digits = "0123456789abcdef"
	for len(t) > 0 {
		r, n := utf8.DecodeRune(t)
		switch {
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r == '\n':
			dst = append(dst, `\n`...)
		case r == '\t':
			dst = append(dst, `\t`...)
		case r == '\r':
			dst = append(dst, `\r`...)
		case r < ' ' || r == 0x7f || r == utf8.RuneError && n == 1:
			dst = append(dst, '\\', 'x', digits[t[0]>>4], digits[t[0]&15])
		default:
			dst = append(dst, t[:n]...)
		}
		t = t[n:]
	}
	return dst
}

// intern returns one string for equal texts.
func (d *decoder) intern(t []byte) string {
	if s, ok := d.seen[string(t)]; ok {
		return s
	}
	if len(d.seen) >= maxSeen {
		clear(d.seen)
	}
	s := string(t)
	d.seen[s] = s
	return s
}
