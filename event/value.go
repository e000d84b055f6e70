package event

import (
	"cmp"
	"encoding/binary"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// ValueKind is the type of a Value.
type ValueKind uint8

const (
	// Null is the kind of a Value that is not known: null in JSON, "n/a" in tables, null in filters. Never zero.
	Null ValueKind = iota
	// StringValue holds text, which may come from strangers.
	StringValue
	// UintValue holds a count or an amount.
	UintValue
	// TimeValue holds ns since the Unix epoch.
	TimeValue
	// AddrValue holds an IPv4 or IPv6 address.
	AddrValue
	// BoolValue holds true or false.
	BoolValue
	// IntValue holds a number that may be negative.
	IntValue
	// FloatValue holds a number with decimals.
	FloatValue
)

// Value is what a column holds for one event. It is a union that is passed by value and costs no allocation; its zero
// value is Null.
type Value struct {
	kind  ValueKind
	is4   bool
	num   uint64 // the number, or the high half of an address
	low   uint64 // the low half of an address
	bytes string
}

// String makes a Value of text; empty text is Null, because protobuf does not distinguish empty from absent.
func String(s string) Value {
	if s == "" {
		return Value{}
	}
	return Value{kind: StringValue, bytes: s}
}

// Uint makes a Value of a number, which may be 0.
func Uint(n uint64) Value { return Value{kind: UintValue, num: n} }

// Int makes a Value of a number that may be negative.
func Int(n int64) Value { return Value{kind: IntValue, num: uint64(n)} }

// Float makes a Value of a number with decimals, of which three are kept: what is measured is not known better. What is
// no number is Null.
func Float(f float64) Value {
	f = math.Round(f*1000) / 1000
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return Value{}
	}
	return Value{kind: FloatValue, num: math.Float64bits(f)}
}

// NonZero makes a Value of a number where 0 stands for unknown.
func NonZero(n uint64) Value {
	if n == 0 {
		return Value{}
	}
	return Uint(n)
}

// Optional makes a Value of a number that may be absent.
func Optional[T uint32 | uint64](n *T) Value {
	if n == nil {
		return Value{}
	}
	return Uint(uint64(*n))
}

// Time makes a Value of a time in ns since the Unix epoch; 0 is Null.
func Time(ns uint64) Value {
	if ns == 0 {
		return Value{}
	}
	return Value{kind: TimeValue, num: ns}
}

// Addr makes a Value of the 4 or 16 bytes of an address; any other length is Null.
func Addr(b []byte) Value {
	switch len(b) {
	case 4:
		return Value{kind: AddrValue, is4: true, low: uint64(binary.BigEndian.Uint32(b))}
	case 16:
		return Value{kind: AddrValue, num: binary.BigEndian.Uint64(b), low: binary.BigEndian.Uint64(b[8:])}
	}
	return Value{}
}

// Flag makes a Value of true or false.
func Flag(b bool) Value {
	v := Value{kind: BoolValue}
	if b {
		v.num = 1
	}
	return v
}

// Kind is the type of v.
func (v Value) Kind() ValueKind { return v.kind }

// IsNull reports whether v is unknown.
func (v Value) IsNull() bool { return v.kind == Null }

// Str is the text of a StringValue.
func (v Value) Str() string { return v.bytes }

// Uint is the number of a UintValue, or the ns of a TimeValue.
func (v Value) Uint() uint64 { return v.num }

// Bool is what a BoolValue holds.
func (v Value) Bool() bool { return v.num != 0 }

// Int is the number of an IntValue.
func (v Value) Int() int64 { return int64(v.num) }

// Float is the number of a FloatValue.
func (v Value) Float() float64 { return math.Float64frombits(v.num) }

// Time is the time of a TimeValue, in UTC.
func (v Value) Time() time.Time { return time.Unix(0, int64(v.num)).UTC() }

// Addr is the address of an AddrValue.
func (v Value) Addr() netip.Addr {
	if v.is4 {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], uint32(v.low))
		return netip.AddrFrom4(b)
	}
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], v.num)
	binary.BigEndian.PutUint64(b[8:], v.low)
	return netip.AddrFrom16(b)
}

// Append appends the exact, plain form of v: text as it is, whole numbers, RFC 3339 with nanoseconds, addresses, true
// and false. Null appends nothing. The text is not made safe for a terminal; see package safe.
func (v Value) Append(dst []byte) []byte {
	switch v.kind {
	case StringValue:
		return append(dst, v.bytes...)
	case UintValue:
		return strconv.AppendUint(dst, v.num, 10)
	case IntValue:
		return strconv.AppendInt(dst, v.Int(), 10)
	case FloatValue:
		return strconv.AppendFloat(dst, v.Float(), 'f', -1, 64)
	case TimeValue:
		return appendTime(dst, v.num)
	case AddrValue:
		return v.Addr().AppendTo(dst)
	case BoolValue:
		return strconv.AppendBool(dst, v.Bool())
	}
	return dst
}

// String is the plain form of v, "n/a" for Null.
func (v Value) String() string {
	if v.kind == Null {
		return NotAvailable
	}
	return string(v.Append(nil))
}

// NotAvailable is the cell of an unknown value.
const NotAvailable = "n/a"

// Compare orders values of one column: text by byte, numbers and times by size, IPv4 before IPv6, false before true.
// Null comes last.
func (v Value) Compare(w Value) int {
	if v.kind != w.kind {
		switch {
		case v.kind == Null:
			return 1
		case w.kind == Null:
			return -1
		}
		return cmp.Compare(v.kind, w.kind)
	}
	switch v.kind {
	case StringValue:
		return strings.Compare(v.bytes, w.bytes)
	case AddrValue:
		return v.Addr().Compare(w.Addr())
	case IntValue:
		return cmp.Compare(v.Int(), w.Int())
	case FloatValue:
		return cmp.Compare(v.Float(), w.Float())
	}
	return cmp.Compare(v.num, w.num)
}
