package event

import (
	"net/netip"
	"strconv"
)

// Ends is what an event with two ends has. All its methods may be called on a nil *Flow.
type Ends interface {
	GetProtocol() Protocol
	GetSrc() *Endpoint
	GetDst() *Endpoint
	GetObserved() Side
}

// EndsOf returns the ends of an event whose kind has two, those of no flow for others.
func EndsOf(ev *Event) Ends {
	switch k := ev.GetKind().(type) {
	case *Event_Tcp:
		return k.Tcp
	case *Event_Dns:
		return k.Dns
	case *Event_Drop:
		return k.Drop
	}
	return ev.GetFlow()
}

// prefixOf is what the headers of an end's columns begin with.
var prefixOf = map[string]string{"src": "SRC-", "dst": "DST-"}

// end is one end of an event: who it is, and in a flow what its kernel counted.
type end struct {
	*Endpoint
	counters *Counters // nil: not observed
}

// endField reads a field of an end. One of the functions is set.
type endField struct {
	of      func(*Event) end
	word    func(end) string // empty: null
	number  func(end) (n uint64, known bool)
	address func(end) []byte
	flag    func(end) bool // false: null
}

func (f *endField) value(e end) Value {
	switch {
	case f.word != nil:
		return String(f.word(e))
	case f.number != nil:
		if n, known := f.number(e); known {
			return Uint(n)
		}
	case f.address != nil:
		return Addr(f.address(e))
	case f.flag(e):
		return Flag(true)
	}
	return Value{}
}

// endColumn is a column of the end in the object called name.
func endColumn(name, field, header, doc string, typ Type, f endField) Column {
	return Column{
		Name: name + "." + field, Header: prefixOf[name] + header, Doc: doc, Type: typ, Outputs: InJSON, end: &f,
		Get: func(ev *Event) Value { return f.value(f.of(ev)) },
	}
}

// endpointColumns are the columns of who an end is, in the object called name.
func endpointColumns(name, what string, of func(*Event) end) []Column {
	text := func(field, header, doc string, get func(end) string) Column {
		return endColumn(name, field, header, doc+" of "+what+".", Text, endField{of: of, word: get})
	}
	number := func(field, header, doc string, get func(end) uint32) Column {
		return endColumn(name, field, header, doc+" of "+what+".", Number, endField{of: of,
			number: func(e end) (uint64, bool) {
				n := get(e)
				return uint64(n), n != 0
			}})
	}
	address := func(field, header, doc string, get func(end) []byte) Column {
		return endColumn(name, field, header, doc+" of "+what+".", Address, endField{of: of, address: get})
	}
	note := endColumn(name, "serviceNote", "SERVICE-NOTE", "What is to be known of service of "+what+
		": no-such-port: its address was dialled with a port that it does not have (servicePort); inferred: "+
		"socket-level load balancing hid its address, and no other Service has this backend; null otherwise.",
		Enum, endField{of: of, word: func(e end) string { return e.GetServiceNote().Word() }})
	note.Enum = serviceNotes[1:]
	return []Column{
		text("namespace", "NAMESPACE", "Namespace of the pod", end.GetNamespace),
		text("pod", "POD", "Pod", end.GetPod),
		text("container", "CONTAINER", "Container, where the end was observed,", end.GetContainer),
		text("workload", "WORKLOAD", `Controller that owns the pod ("deploy/web")`, end.GetWorkload),
		text("service", "SERVICE", "Service through which the other end reached the pod", end.GetService),
		text("serviceNamespace", "SERVICE-NAMESPACE", "Namespace of that Service", end.GetServiceNamespace),
		address("serviceAddress", "SERVICE-ADDRESS", "Address of that Service, where a packet to it was seen,",
			end.GetServiceAddress),
		number("servicePort", "SERVICE-PORT", "Port of that Service", end.GetServicePort),
		note,
		text("node", "NODE", "Node", end.GetNode),
		text("host", "HOST", "Name from reverse DNS, if enabled,", end.GetHost),
		address("address", "ADDRESS", "Address; the Service's where the backend is not known,", end.GetAddress),
		number("port", "PORT", "Port, for ICMP echo the identifier,", end.GetPort),
		number("pid", "PID", "Process id on its node", end.GetPid),
		text("comm", "COMM", "Command of the process", end.GetComm),
		endColumn(name, "redacted", "REDACTED", "true: all but address and port of "+what+
			" is withheld, since the viewer may not see it (persistent mode); null otherwise.", Bool,
			endField{of: of, flag: func(e end) bool { return e.GetRedacted() }}),
	}
}

// The words of the enum by number; the first, none, is null.
var serviceNotes = []string{"", "no-such-port", "inferred"}

// Word is the note as JSON shows it; empty for none.
func (n ServiceNote) Word() string { return word(serviceNotes, int32(n)) }

// Mark is what a text has behind the Service and its port; empty for none.
func (n ServiceNote) Mark() string {
	switch n {
	case ServiceNote_SERVICE_NOTE_NO_SUCH_PORT:
		return " (no such port)"
	case ServiceNote_SERVICE_NOTE_INFERRED:
		return " (inferred)"
	}
	return ""
}

const arrow = "->"

// showSrc leaves the port away: that of a client says nothing to people.
func showSrc(dst []byte, ev *Event, v *View) []byte {
	src := EndsOf(ev).GetSrc()
	dst, _ = appendEnd(dst, src, v)
	return appendRedacted(dst, src)
}

// appendRedacted marks an end that is withheld: an address without a name means something else.
func appendRedacted(dst []byte, e *Endpoint) []byte {
	if e.GetRedacted() {
		dst = append(dst, " (redacted)"...)
	}
	return dst
}

// showDst shows the service with the port that was dialled and the pod behind it, else the pod with its port.
func showDst(dst []byte, ev *Event, v *View) []byte {
	return appendRedacted(appendDst(dst, ev, v), EndsOf(ev).GetDst())
}

func appendDst(dst []byte, ev *Event, v *View) []byte {
	ends := EndsOf(ev)
	e := ends.GetDst()
	if e.GetService() != "" {
		dst = appendName(dst, e.GetServiceNamespace(), e.GetService(), v)
		dst = append(appendPort(dst, e.GetServicePort()), e.GetServiceNote().Mark()...)
		if e.GetPod() == "" {
			return dst
		}
		dst, _ = appendEnd(append(dst, arrow...), e, v)
		return dst
	}
	dst, bare := appendEnd(dst, e, v)
	if p := ends.GetProtocol(); p != Protocol_PROTOCOL_TCP && p != Protocol_PROTOCOL_UDP {
		return dst
	}
	if bare && len(e.GetAddress()) == 16 {
		return appendAddrPort(dst[:len(dst)-len(Addr(e.GetAddress()).Append(nil))], e)
	}
	return appendPort(dst, e.GetPort())
}

// appendEnd appends the best name of an end: pod, host, node, else address; bare says that it is the address.
func appendEnd(dst []byte, e *Endpoint, v *View) (_ []byte, bare bool) {
	switch {
	case e.GetPod() != "":
		return appendName(dst, e.GetNamespace(), e.GetPod(), v), false
	case e.GetHost() != "":
		return append(dst, e.GetHost()...), false
	case e.GetNode() != "":
		return append(append(dst, "node/"...), e.GetNode()...), false
	}
	return Addr(e.GetAddress()).Append(dst), true
}

func appendName(dst []byte, namespace, name string, v *View) []byte {
	if namespace != "" && namespace != v.Namespace {
		dst = append(append(dst, namespace...), '/')
	}
	return append(dst, name...)
}

func appendPort(dst []byte, port uint32) []byte {
	if port == 0 {
		return dst
	}
	return strconv.AppendUint(append(dst, ':'), uint64(port), 10)
}

func appendAddrPort(dst []byte, e *Endpoint) []byte {
	a := Addr(e.GetAddress())
	if a.IsNull() {
		return dst
	}
	if e.GetPort() == 0 {
		return a.Append(dst)
	}
	return netip.AddrPortFrom(a.Addr(), uint16(e.GetPort())).AppendTo(dst)
}

func appendPair(dst []byte, src, to string) []byte {
	dst = append(dst, src...)
	if to != "" {
		dst = append(append(dst, arrow...), to...)
	}
	return dst
}
